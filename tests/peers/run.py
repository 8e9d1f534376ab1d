#!/usr/bin/env python3
"""Our smtpd as a relay into other servers: what arrives must be what was sent, octet for octet.

chain       smtplib, and Postfix's smtp-source, through two of our own servers into a sink
postfix, opensmtpd, exim
            smtplib through ours into that server's Maildir
smarthost   smtplib through ours into aiosmtpd, which demands a password: PLAIN, and LOGIN

Between two servers there is STARTTLS everywhere, with a certificate that is verified. Compared is what
follows the trace fields that the servers add in front. A check whose other side is not there is skipped,
loudly; setup.sh makes the chroots with Debian's servers. Exit status 1: something differed.
"""
import argparse
import os
import smtplib
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # leave nothing in the repository

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.append(os.path.join(ROOT, "tests", "clients"))  # its messages, and its recorder

import smarthost
from certificates import Authority
from messages import SENDER
from ours import Relay
from peers import ARRIVE, PEERS, RECIPIENT
from recorder import Recorder
from relayed import EIGHT_BIT, MESSAGES
from sink import Sink

TRACE = (b"return-path", b"delivered-to", b"x-original-to", b"envelope-to", b"delivery-date", b"received")


class Skipped(Exception):
    """The other side is not there."""


class Lost(Exception):
    """A message did not arrive."""


class Run:
    def __init__(self, arguments, folder):
        self.arguments, self.folder = arguments, folder
        self.authority = Authority(folder, "authority")
        self.identity = self.authority.issue("server")
        self.passed, self.failed, self.skipped = 0, 0, 0

    def relay(self, name, port, **more):
        more = {"ca": self.authority.cert, "url": f"smtp+tls://localhost:{port}", **more}
        return Relay(self.arguments.smtpd, os.path.join(self.folder, name), **more)

    def check(self, name, function, *arguments):
        try:
            function(*arguments)
            print(f"ok      {name}", flush=True)
            self.passed += 1
        except Exception as error:  # of a server, the network or the comparison: all are results
            print(f"FAILED  {name}: {type(error).__name__}: {error}", flush=True)
            self.failed += 1
            if isinstance(error, TimeoutError):
                raise Lost from error  # the next message would be waited for as long

    def group(self, name, function):
        failed = self.failed
        servers = []
        try:
            function(servers)
        except Skipped as why:
            print(f"SKIPPED: {name}: {why}", flush=True)
            self.skipped += 1
        except Lost:
            print(f"FAILED  {name}: the rest of it is left out", flush=True)
        except Exception as error:
            print(f"FAILED  {name}: {type(error).__name__}: {error}", flush=True)
            self.failed += 1
        for server in reversed(servers):  # who sends ends before who receives
            if (status := server.stop()) != 0 and isinstance(server, Relay):
                print(f"FAILED  {name}: {server.name} ended with {status}", flush=True)
                self.failed += 1
        if self.failed > failed:
            for server in servers:
                print(f"the last words of {server.name}:", server.said(), sep="\n")

    def chain(self, servers):
        sink = Sink()
        servers.append(sink)
        last = self.relay("last", sink.port, url=f"smtp://127.0.0.1:{sink.port}", identity=self.identity)
        servers.append(last)
        first = self.relay("first", last.port)
        servers.append(first)

        def arrives(send, name):
            sent = send(first.port, name)
            octets = sink.next(ARRIVE)
            if octets is None:
                raise TimeoutError(f"nothing in the sink after {ARRIVE} s")
            compare(octets, sent, name, received=2)
            if octets.count(b" with ESMTPS ") != 1:
                raise AssertionError(f"the fields Received do not tell of TLS: {octets[:600]!r}")

        for name in MESSAGES:
            self.check(f"chain smtplib {name}", arrives, smtplib_sends, name)
        self.check("chain certificate of somebody else", self.doubts, "ours", last.port, lambda: sink.next(0) is not None, servers)

        if not PEERS["postfix"].is_there(self.arguments.roots):
            raise Skipped("with smtp-source: no Postfix in " + self.arguments.roots)
        source = SmtpSource(os.path.join(self.arguments.roots, "postfix"))
        for name in MESSAGES:
            self.check(f"chain smtp-source {name}", arrives, source.sends, name)

    def doubts(self, name, port, has_any, servers):
        """A server whose certificate is of an authority that we do not trust gets nothing."""
        other = Authority(self.folder, name + "-other")
        relay = self.relay("doubts-" + name, port, ca=other.cert)
        servers.append(relay)
        smtplib_sends(relay.port, "plain")
        end = time.monotonic() + ARRIVE
        while 'result="TempFail"' not in relay.said():
            if time.monotonic() > end:
                raise AssertionError("the log has no failed attempt")
            time.sleep(0.05)
        if has_any():
            raise AssertionError("it was sent nevertheless")

    def peer(self, name):
        def into(servers):
            if not PEERS[name].is_there(self.arguments.roots):
                raise Skipped(f"not in {self.arguments.roots}")
            peer = PEERS[name](self.arguments.roots, self.identity)
            servers.append(peer)
            relay = self.relay("to-" + name, peer.port)
            servers.append(relay)

            def arrives(message):
                sent = smtplib_sends(relay.port, message)
                compare(peer.take(), sent.replace(b"\r\n", b"\n"), message, received=2)

            for message in MESSAGES:
                self.check(f"{name} {message}", arrives, message)
            self.check(f"{name} certificate of somebody else", self.doubts, name, peer.port, peer.has_any, servers)

        return into

    def smarthost(self, servers):
        if not smarthost.is_there(self.arguments.aiosmtpd):
            raise Skipped("aiosmtpd is not installed")
        secrets = smarthost.make_secrets(self.arguments.smtpctl, self.folder)
        for mechanism in ("PLAIN", "LOGIN"):
            host = smarthost.Smarthost(self.arguments.aiosmtpd, self.folder, mechanism, self.identity)
            servers.append(host)
            relay = self.relay("to-smarthost-" + mechanism, host.port, url=f"smtp+tls://{smarthost.LABEL}@localhost:{host.port}",
                               options="auth <secrets>", more=f"table secrets db:{secrets}")
            servers.append(relay)

            def arrives(message):
                sent = smtplib_sends(relay.port, message)
                how, octets = host.next(ARRIVE)
                if how != mechanism:
                    raise AssertionError(f"authenticated by {how}")
                compare(octets, sent, message, received=1)

            for message in MESSAGES:
                self.check(f"smarthost {mechanism} {message}", arrives, message)


def smtplib_sends(port, name):
    options = ["BODY=8BITMIME"] if name in EIGHT_BIT else []
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.test", timeout=60) as session:
        session.sendmail(SENDER, [RECIPIENT], MESSAGES[name], mail_options=options)
    return MESSAGES[name]


class SmtpSource:
    """Postfix's. It adds an empty line to a file, so what it sent is recorded."""

    def __init__(self, root):
        self.root = root

    def sends(self, port, name):
        recorder = Recorder(port)
        path = os.path.join("tmp", f"hermes-{os.getpid()}.eml")
        inside = os.path.join(self.root, path)
        with open(inside, "wb") as file:
            file.write(MESSAGES[name].replace(b"\r\n", b"\n"))
        try:
            done = subprocess.run(
                ["chroot", self.root, "/usr/sbin/smtp-source", "-4", "-M", "client.test", "-f", SENDER, "-t", RECIPIENT,
                 "-F", "/" + path, f"inet:127.0.0.1:{recorder.port}"],
                stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        finally:
            os.remove(inside)
        if done.returncode:
            raise AssertionError(f"smtp-source ended with {done.returncode}: {done.stderr.decode(errors='replace')}")
        return recorder.message()


def split(octets):
    """The trace fields in front, as (name, field), and the rest."""
    lines, fields, at = octets.splitlines(keepends=True), [], 0
    for line in lines:
        if fields and line[:1] in b" \t" and line.strip():
            fields[-1][1].append(line)
        elif (name := line.partition(b":")[0].lower()) in TRACE:
            fields.append((name, [line]))
        else:
            break
        at += len(line)
    return fields, octets[at:]


def compare(octets, sent, name, received):
    """That these octets are trace fields, with so many of Received, and then what was sent."""
    fields, rest = split(octets)
    count = sum(1 for field, _ in fields if field == b"received")
    if count != received:
        raise AssertionError(f"{count} fields Received, not {received}: {octets[:600]!r}")
    if name == "bare" and rest in (sent + b"\n", sent + b"\r\n"):
        return  # a server may write the empty line that ends a header
    if rest != sent:
        at = next((i for i, (a, b) in enumerate(zip(rest, sent)) if a != b), min(len(rest), len(sent)))
        raise AssertionError(f"{len(rest)} octets arrived, {len(sent)} were sent, first difference at {at}: "
                             f"{rest[max(at - 10, 0):at + 60]!r}, not {sent[max(at - 10, 0):at + 60]!r}")


def main():
    target = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "debug")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smtpd", default=os.path.join(target, "smtpd"), help="the program (default %(default)s)")
    parser.add_argument("--smtpctl", default=os.path.join(target, "smtpctl"), help="likewise (default %(default)s)")
    parser.add_argument("--roots", default="/opt/peers", help="chroots postfix, opensmtpd, exim (default %(default)s)")
    parser.add_argument("--aiosmtpd", metavar="FOLDER", help="where pip has put aiosmtpd, if Python does not know")
    parser.add_argument("check", nargs="*", help="some of: " + " ".join(("chain", *PEERS, "smarthost")))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hermes-peers-") as folder:
        run = Run(arguments, folder)
        groups = {"chain": run.chain, **{name: run.peer(name) for name in PEERS}, "smarthost": run.smarthost}
        if unknown := [name for name in arguments.check if name not in groups]:
            parser.error(f"no check {unknown[0]}")
        for name in arguments.check or groups:
            run.group(name, groups[name])
    print(f"peers: {run.passed} passed, {run.failed} failed, {run.skipped} skipped")
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
