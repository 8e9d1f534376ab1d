#!/usr/bin/env python3
"""Real clients under TLS: handshakes, passwords, and messages compared octet for octet.

handshakes  openssl s_client: versions, suites, groups, names, kinds of keys, tickets, client certificates
load        tls-load: many handshakes at once, each kind that it knows
injection   nothing that was said in the clear is left under TLS
submission  swaks, curl, smtplib, msmtp and nodemailer, over STARTTLS and from the first octet, with each
            mechanism that they have, right and wrong
testssl     testssl.sh finds nothing above LOW but what scan.py says

What is not installed is skipped, loudly. Exit status 1: something was not as expected.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # leave nothing in the repository

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path += [os.path.join(ROOT, "tests", "peers"), os.path.join(ROOT, "tests", "clients")]

import injection
import load
import mailers
import openssl
import scan
import submission
from certificates import Authority
from mailers import MAILERS


class Skipped(Exception):
    """The program is not there."""


class Run:
    def __init__(self, arguments, folder):
        self.arguments, self.folder = arguments, folder
        self.authority = Authority(folder, "authority")
        self.passed, self.failed, self.skipped = 0, 0, 0

    def check(self, name, function, *arguments):
        try:
            function(*arguments)
            print(f"ok      {name}", flush=True)
            self.passed += 1
        except Exception as error:  # of a program, the network or the comparison: all are results
            print(f"FAILED  {name}: {type(error).__name__}: {error}", flush=True)
            self.failed += 1

    def skip(self, name, why):
        print(f"SKIPPED: {name}: {why}", flush=True)
        self.skipped += 1

    def group(self, name, function):
        """Runs the checks of a group; its server must end well."""
        failed = self.failed
        try:
            server = function()
        except Skipped as why:
            self.skip(name, why)
            return
        except Exception as error:
            print(f"FAILED  {name}: {type(error).__name__}: {error}", flush=True)
            self.failed += 1
            return
        if (status := server.stop()) != 0:
            print(f"FAILED  {name}: smtpd ended with {status}", flush=True)
            self.failed += 1
        if self.failed > failed:
            print("the server's last words:", server.said(), sep="\n")

    def handshakes(self):
        server, clients = openssl.start(self.arguments.smtpd, os.path.join(self.folder, "handshakes"), self.authority)
        client = openssl.Client(server, self.authority.cert)
        families = {"version": openssl.VERSIONS, "cipher": openssl.CIPHERS, "group": openssl.GROUPS, "name": openssl.NAMES,
                    "key": openssl.KEYS, "client": clients}
        for family, cases in families.items():
            for name, listener, options, expected in cases:
                self.check(f"{family} {name}", client.case, listener, options, expected)
        for listener in ("smtps", "offer"):
            for version in ("-tls1_2", "-tls1_3"):
                self.check(f"ticket {listener} {version[1:]}", openssl.resumption, client, listener, version, self.folder)
        name, listener, options, expected = openssl.HYBRID
        if openssl.has_hybrid():
            self.check(f"group {name}", client.case, listener, options, expected)
        else:
            self.skip(f"group {name}", "this openssl has no X25519MLKEM768")
        return server

    def load(self):
        server, _ = openssl.start(self.arguments.smtpd, os.path.join(self.folder, "load"), self.authority)
        for name, options in load.CASES.items():
            self.check(f"load {name}", load.run, self.arguments.tls_load, server.ports, options)
        return server

    def injection(self):
        server, _ = openssl.start(self.arguments.smtpd, os.path.join(self.folder, "injection"), self.authority)
        ca, port = self.authority.cert, server.ports["offer"]
        for name, parts in injection.CUTS.items():
            self.check(f"injection {name}", injection.thrown_away, port, ca, parts)
        self.check("injection ClientHello in the same packet", injection.hello_in_the_same_packet, port, ca)
        for name, parts in injection.LATER.items():
            self.check(f"injection {name}", injection.later_in_the_clear, port, ca, parts)
        self.check("injection transaction", injection.transaction_is_forgotten, port, ca)
        self.check("injection required", injection.nothing_in_the_clear, server.ports["require"], ca)
        self.check("injection trace field", injection.name_of_the_secured_session, server, ca, port)
        if server.mail.count("victim@localhost"):
            raise AssertionError("a message of the clear session was delivered")
        return server

    def submission(self):
        folder, ca = os.path.join(self.folder, "submission"), self.authority.cert
        server = submission.start(self.arguments.smtpd, self.arguments.smtpctl, folder, self.authority)
        self.check("submission no password in the clear", injection.no_password_in_the_clear, server.ports["submission"], ca)
        strangers = iter(range(submission.STRANGERS))
        for name, mailer in MAILERS.items():
            if not mailer.is_there():
                self.skip(f"submission {name}", "it is not installed")
                continue
            mail = submission.Mail(server, name, ca, folder)
            for listener in ("submission", "submissions"):
                for message in mailer.messages:
                    self.check(f"{listener} {name} {message}", mail.arrives, listener, mailer.mechanisms[0], message)
            for mechanism in mailer.mechanisms:
                listener = "scram" if mechanism.startswith("SCRAM") else "submission"
                self.check(f"{listener} {name} {mechanism}", mail.arrives, listener, mechanism, "plain")
                nth = next(strangers)
                self.check(f"{listener} {name} {mechanism}, wrong", mail.is_refused, listener, mechanism, f"wrong{nth}",
                           submission.WRONG, f"127.0.1.{nth + 1}")
            for mechanism in mailer.others:
                self.check(f"submission {name} not {mechanism}", mail.is_refused, "submission", mechanism)
        self.check("submission log", submission.log_has_no_password, server)
        return server

    def testssl(self):
        if not shutil.which("testssl"):
            raise Skipped("it is not installed")
        folder = os.path.join(self.folder, "testssl")
        server = submission.start(self.arguments.smtpd, self.arguments.smtpctl, folder, self.authority)
        try:
            findings = scan.run(server.ports["submission"], self.authority.cert, folder)
        except subprocess.TimeoutExpired:
            self.skip("testssl", f"it has not come to an end in {scan.TIME} seconds")
        else:
            self.check("testssl", scan.check, findings)
        return server


def main():
    target = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "debug")
    groups = ("handshakes", "load", "injection", "submission", "testssl")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smtpd", default=os.path.join(target, "smtpd"), help="the program (default %(default)s)")
    parser.add_argument("--smtpctl", default=os.path.join(target, "smtpctl"), help="likewise (default %(default)s)")
    parser.add_argument("--nodemailer", metavar="FOLDER", help="where npm has put nodemailer")
    parser.add_argument("--tls-load", default=os.path.join(target, "tls-load"), help="likewise (default %(default)s)")
    parser.add_argument("group", nargs="*", help="some of: " + " ".join(groups))
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.group if name not in groups]:
        parser.error(f"no group {unknown[0]}")
    mailers.nodemailer.folder = arguments.nodemailer
    with tempfile.TemporaryDirectory(prefix="hermes-secured-") as folder:
        run = Run(arguments, folder)
        for name in arguments.group or groups:
            run.group(name, getattr(run, name))
    print(f"secured: {run.passed} passed, {run.failed} failed, {run.skipped} skipped")
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
