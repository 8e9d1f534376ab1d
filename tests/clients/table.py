#!/usr/bin/env python3
"""The other side of the table protocol 0.1, well behaved or not.

table.py MODE LOG: writes each question to LOG and answers as MODE says. Whatever a mode does, it
does to keys that begin with its name; all other keys are answered well. When a key is to be
fetched, it is MODE.
"""

import subprocess
import sys

ALIASES = {"team": "ann, bob", "bad": "a b"}


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def misbehave(operation, ident):
    result = f"{operation}-result|{ident}|"
    mode = sys.argv[1]
    if mode == "silent":
        child = subprocess.Popen(["sleep", "600"])
        with open(sys.argv[2] + ".children", "a") as log:
            log.write(f"{child.pid}\n")
        child.wait()
    elif mode == "dies":
        sys.exit(0)
    elif mode == "garbage":
        say("no | protocol at all \x7f")
    elif mode == "stale":
        say(f"{operation}-result|ffffffff|found|eve")
    elif mode == "twice":
        say(result + "not-found")
        say(result + "found|eve")
    elif mode == "error":
        say(result + "error|no disk")
    elif mode == "endless":
        while True:
            sys.stdout.write("x" * 65536)


def main():
    handshake = [sys.stdin.readline().rstrip("\n").split("|") for _ in range(4)]
    assert [line[1] for line in handshake] == ["smtpd-version", "protocol", "tablename", "ready"]
    with open(sys.argv[2], "a") as log:
        log.write(f"start {handshake[2][2]}\n")
    say("register|alias")
    say("register|domain")
    say("register|relayhost")
    say("register|ready")
    for line in sys.stdin:
        line = line.rstrip("\n")
        with open(sys.argv[2], "a") as log:
            log.write(line + "\n")
        table, version, _, _, operation, service, ident, *key = line.split("|", 7)
        assert (table, version, len(key)) == ("table", "0.1", operation != "fetch")
        key = "".join(key)
        if operation == "fetch":
            say(f"fetch-result|{ident}|found|{sys.argv[1]}")
        elif key.startswith(sys.argv[1]):
            misbehave(operation, ident)
        elif operation == "check":
            known = key in ("a.example", "b.example")
            say(f"check-result|{ident}|" + ("found" if known else "not-found"))
        elif key in ALIASES:
            say(f"lookup-result|{ident}|found|{ALIASES[key]}")
        else:
            say(f"lookup-result|{ident}|not-found")


main()
