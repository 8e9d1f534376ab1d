#!/usr/bin/env python3
"""Real clients against the real server: each message must be in the Maildir as it was sent.

Starts smtpd with etc/quickstart.conf on a free port and a temporary folder, has swaks, curl,
Python's smtplib and s-nail deliver the messages of messages.py, and compares each stored file
octet for octet with what was sent, below Return-Path, Delivered-To and Received. A client
that is not installed is skipped, loudly. Exit status 1: something differed.
"""
import argparse
import os
import sys
import tempfile

sys.dont_write_bytecode = True  # leave nothing in the repository

from clients import CLIENTS, missing
from messages import MESSAGES, SENDER
from server import Server

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def difference(stored, expected):
    """Where two messages part, in a line."""
    at = next((i for i, (a, b) in enumerate(zip(stored, expected)) if a != b), min(len(stored), len(expected)))
    return (f"stored {len(stored)} octets, expected {len(expected)}, first difference at {at}: "
            f"{stored[at - 10 if at > 10 else 0:at + 40]!r}, not {expected[at - 10 if at > 10 else 0:at + 40]!r}")


def deliver(server, client, name, scratch):
    recipient = f"{client}-{name}@localhost"
    sent = CLIENTS[client][0](server.port, recipient, name, scratch)
    added, stored = server.stored(recipient)
    if added != (SENDER, recipient, recipient):
        raise AssertionError(f"added fields name {added}")
    expected = sent.replace(b"\r\n", b"\n")
    if stored != expected:
        raise AssertionError(difference(stored, expected))


def main():
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smtpd", default=os.path.join(target, "debug", "smtpd"), help="the program (default %(default)s)")
    parser.add_argument("--config", default=os.path.join(ROOT, "etc", "quickstart.conf"), help="its configuration")
    parser.add_argument("client", nargs="*", help="some of: " + " ".join(CLIENTS))
    arguments = parser.parse_args()
    clients = arguments.client or list(CLIENTS)
    if unknown := [client for client in clients if client not in CLIENTS]:
        parser.error(f"no client {unknown[0]}")

    passed, failed, skipped = 0, 0, 0
    with tempfile.TemporaryDirectory(prefix="hermes-clients-") as folder:
        server = Server(arguments.smtpd, arguments.config, folder)
        try:
            for client in clients:
                if missing(client):
                    print(f"SKIPPED: {client} is not installed", flush=True)
                    skipped += 1
                    continue
                for name in MESSAGES:
                    if name in CLIENTS[client][2]:
                        continue
                    try:
                        deliver(server, client, name, folder)
                        print(f"ok      {client} {name}", flush=True)
                        passed += 1
                    except Exception as error:  # of a program, the network or the comparison: all are results
                        print(f"FAILED  {client} {name}: {error}", flush=True)
                        failed += 1
        finally:
            status = server.stop()
        if status == 0:
            passed += 1
        else:
            print(f"FAILED  smtpd: exit status {status}")
            failed += 1
        if failed:
            print("the server's last words:", server.said()[-4000:], sep="\n")
    print(f"clients: {passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
