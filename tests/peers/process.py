"""A server as a child process: started until its banner is there, and ended."""
import os
import signal
import socket
import subprocess
import time

START = 30  # seconds until the banner
END = 20  # seconds from SIGTERM to the end


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class Process:
    """Runs the command in a process group of its own; what it says goes to a file LOG."""

    def __init__(self, name, command, port, log, **more):
        self.name, self.port, self.log = name, port, log
        with open(log, "ab") as file:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                                            start_new_session=True, **more)
        if not self._banner():
            self.stop()
            raise AssertionError(f"{name} does not start:\n{self.said()}")

    def said(self):
        with open(self.log, errors="replace") as log:
            return log.read()[-4000:]

    def _banner(self):
        end = time.monotonic() + START
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=10) as probe:
                    if probe.recv(512).startswith(b"220"):
                        probe.sendall(b"QUIT\r\n")
                        probe.recv(512)
                        return self.process.poll() is None
            except OSError:
                pass
            time.sleep(0.05)
        return False

    def stop(self):
        """SIGTERM, and the end of the whole group; the exit status."""
        status = self.process.poll()
        if status is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                status = self.process.wait(timeout=END)
            except subprocess.TimeoutExpired:
                status = f"not ended {END} s after SIGTERM"
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        return status
