"""A running smtpd with the quickstart configuration, on a free port and a folder of its own."""
import os
import re
import signal
import socket
import subprocess
import time

START = 20  # seconds until the banner
ARRIVE = 30  # seconds until a message is in the Maildir

# what delivery puts in front, in this order (smtpd.conf(5); RFC 5321 section 4.4)
ADDED = re.compile(
    rb"Return-Path: <(?P<sender>[^\n]*)>\n"
    rb"Delivered-To: (?P<recipient>[^\n]*)\n"
    rb"Received: from [^\n]+\n"
    rb"\tby [^\n]+ with E?SMTP id [0-9a-f]{8}\n"
    rb"\tfor <(?P<for>[^\n]*)>;\n"
    rb"\t[^\n]+\n"
)


class Server:
    def __init__(self, smtpd, config, folder):
        self.folder = folder
        self.log = os.path.join(folder, "log")
        for _ in range(10):  # another process may take the free port before smtpd does
            with socket.create_server(("127.0.0.1", 0)) as probe:
                self.port = probe.getsockname()[1]
            with open(self.log, "wb") as log:
                self.process = subprocess.Popen(
                    [smtpd, "-d", "-f", config, "-D", f"port={self.port}", "-D", f"dir={folder}"],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            if self.banner():
                return
            self.process.kill()
            self.process.wait()
            if "cannot bind" not in self.said():
                break
        raise SystemExit(f"smtpd does not start:\n{self.said()}")

    def said(self):
        with open(self.log, errors="replace") as log:
            return log.read()

    def banner(self):
        end = time.monotonic() + START
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=5) as probe:
                    if probe.recv(512).startswith(b"220 "):
                        probe.sendall(b"QUIT\r\n")
                        probe.recv(512)
                        return self.process.poll() is None
            except OSError:
                time.sleep(0.02)
        return False

    def stored(self, recipient):
        """The one message of the recipient: (sender, recipient) of the fields added, and the rest."""
        new = os.path.join(self.folder, "mail", recipient.partition("@")[0], "new")
        end = time.monotonic() + ARRIVE
        while not (names := os.listdir(new) if os.path.isdir(new) else []):
            if time.monotonic() > end:
                raise AssertionError(f"nothing in {new} after {ARRIVE} s")
            time.sleep(0.01)
        if len(names) > 1:
            raise AssertionError(f"{len(names)} messages in {new}")
        with open(os.path.join(new, names[0]), "rb") as file:
            octets = file.read()
        added = ADDED.match(octets)
        if not added:
            raise AssertionError(f"unexpected fields in front: {octets[:400]!r}")
        return (added["sender"].decode(), added["recipient"].decode(), added["for"].decode()), octets[added.end():]

    def stop(self):
        """SIGTERM; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                return self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                return "not ended 20 s after SIGTERM"
        return f"{self.process.returncode}, before it was told to end"
