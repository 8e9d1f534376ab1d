"""A submission server with two tables of users, and what each program of `mailers` must come to there."""
import base64
import os
import re
import subprocess

from listening import Server, pki
from mailers import MAILERS, Refused, Submission
from messages import MESSAGES

USER, PASSWORD, WRONG = "ann", "correct-horse", "wrong-horse"
# Each wrong password is somebody else's and comes from somewhere else: who fails again waits longer.
STRANGERS = 40


def start(smtpd, smtpctl, folder, authority):
    os.mkdir(folder)
    users = [USER, *(f"wrong{nth}" for nth in range(STRANGERS))]
    hashed, scram = (credential(smtpctl, option) for option in ([], ["--scram"]))
    lines = [
        pki("localhost", authority.issue("submission")),
        pki("localhost-p256", authority.issue("submission-p256", kind="p256")),
        table(folder, "users", users, hashed),
        table(folder, "scram", users, scram),
    ]
    shown = 'pki "localhost" pki "localhost-p256"'
    return Server(smtpd, os.path.join(folder, "server"), lines, {
        "submission": f"tls-require auth <users> {shown}",
        "submissions": f"smtps auth <users> {shown}",
        "scram": f"tls-require auth <scram> {shown}",
    })


def credential(smtpctl, option):
    """What a table stores of the password."""
    done = subprocess.run([smtpctl, "encrypt", *option], input=PASSWORD.encode() + b"\n", capture_output=True, timeout=60, check=True)
    return done.stdout.decode().strip()


def table(folder, name, users, stored):
    path = os.path.join(folder, name)
    with open(path, "w") as file:
        file.writelines(f"{user} {stored}\n" for user in users)
    os.chmod(path, 0o600)
    return f'table "{name}" file:{path}'


class Mail:
    """Sends by one program; what each call sends has a recipient of its own."""

    def __init__(self, server, name, ca, folder):
        self.server, self.name, self.mailer, self.ca, self.folder = server, name, MAILERS[name], ca, folder
        self.sent = 0

    def to(self, listener, mechanism, user=USER, password=PASSWORD, source="127.0.0.1"):
        self.sent += 1
        return Submission(self.server.ports[listener], listener == "submissions", self.ca, user, password, mechanism,
                          f"{self.name}-{self.sent}@localhost", source)

    def arrives(self, listener, mechanism, message):
        to = self.to(listener, mechanism)
        self.mailer.send(to, MESSAGES[message], self.folder)
        received, octets = self.server.mail.take(to.recipient)
        if not re.search(r"with ESMTPSA id ", received):
            raise AssertionError(f"the field Received does not tell of TLS and AUTH: {received}")
        sent = MESSAGES[message].replace(b"\r\n", b"\n")
        if octets != sent:
            at = next((i for i, (a, b) in enumerate(zip(octets, sent)) if a != b), min(len(octets), len(sent)))
            raise AssertionError(f"{len(octets)} octets arrived, {len(sent)} were sent, first difference at {at}: "
                                 f"{octets[max(at - 10, 0):at + 60]!r}, not {sent[max(at - 10, 0):at + 60]!r}")

    def is_refused(self, listener, mechanism, user=USER, password=PASSWORD, source="127.0.0.1"):
        to = self.to(listener, mechanism, user, password, source)
        try:
            self.mailer.send(to, MESSAGES["plain"], self.folder)
        except Refused:
            pass
        else:
            raise AssertionError("it was sent nevertheless")
        if self.server.mail.count(to.recipient):
            raise AssertionError("it was delivered nevertheless")


def log_has_no_password(server):
    with open(server.log, "rb") as file:
        log = file.read()
    if log.count(b" result=ok") < len(MAILERS):
        raise AssertionError("the log does not tell who has authenticated")
    plain = f"\0{USER}\0{PASSWORD}".encode()
    for secret in (PASSWORD.encode(), WRONG.encode(), base64.b64encode(PASSWORD.encode()), base64.b64encode(plain)):
        if secret.rstrip(b"=") in log:
            raise AssertionError(f"{secret!r} is in the log")
