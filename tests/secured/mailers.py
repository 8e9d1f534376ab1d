"""Programs that submit mail: each sends one message under TLS with a user's password.

A mailer is a function of a `Submission`, the octets to send, and a folder for what it needs; it raises
when the program says that it failed.
"""
import json
import os
import shutil
import smtplib
import ssl
import subprocess
from dataclasses import dataclass

from messages import SENDER

TIME = 60  # seconds for one program
HERE = os.path.dirname(os.path.abspath(__file__))


class Refused(Exception):
    """The program says that the mail was not taken."""


@dataclass
class Submission:
    port: int
    immediate: bool  # TLS from the first octet
    ca: str
    user: str
    password: str
    mechanism: str
    recipient: str
    source: str = "127.0.0.1"


def call(command, octets=None, **more):
    given = {"stdin": subprocess.DEVNULL} if octets is None else {"input": octets}
    done = subprocess.run(command, capture_output=True, timeout=TIME, **given, **more)
    if done.returncode:
        said = (done.stdout + done.stderr)[-2000:].decode(errors="replace")
        raise Refused(f"{command[0]} ended with {done.returncode}:\n{said}")


def written(octets, folder):
    path = os.path.join(folder, "message.eml")
    with open(path, "wb") as file:
        file.write(octets)
    return path


def swaks(to, octets, folder):
    """It ends the last line itself."""
    call(["swaks", "--server", "localhost", "-4", "--port", str(to.port), "--tlsc" if to.immediate else "--tls", "--tls-verify",
          "--tls-ca-path", to.ca, "--local-interface", to.source, "--auth", to.mechanism, "--auth-user", to.user,
          "--auth-password", to.password, "--helo", "client.test", "--from", SENDER, "--to", to.recipient,
          "--data", "@" + written(octets.removesuffix(b"\r\n"), folder)])


def curl(to, octets, folder):
    call(["curl", "-sS", "--ipv4", "--url", f"smtp{'s' if to.immediate else ''}://localhost:{to.port}/client.test", "--ssl-reqd",
          "--cacert", to.ca, "--interface", to.source, "--user", f"{to.user}:{to.password}", "--login-options",
          f"AUTH={to.mechanism}", "--mail-from", SENDER, "--mail-rcpt", to.recipient, "--upload-file", written(octets, folder)])


def python(to, octets, folder):
    context = ssl.create_default_context(cafile=to.ca)
    common = {"host": "localhost", "port": to.port, "local_hostname": "client.test", "timeout": TIME, "source_address": (to.source, 0)}
    try:
        with smtplib.SMTP_SSL(**common, context=context) if to.immediate else smtplib.SMTP(**common) as session:
            if not to.immediate:
                session.starttls(context=context)
            session.ehlo()
            session.user, session.password = to.user, to.password
            session.auth(to.mechanism, getattr(session, "auth_" + to.mechanism.lower().replace("-", "_")))
            session.sendmail(SENDER, [to.recipient], octets, mail_options=["BODY=8BITMIME"])
    except smtplib.SMTPException as error:
        raise Refused(error) from error


def msmtp(to, octets, folder):
    """It takes text with the line ends of this system."""
    call(["msmtp", "--host=localhost", f"--port={to.port}", "--tls=on", f"--tls-starttls={'off' if to.immediate else 'on'}",
          f"--tls-trust-file={to.ca}", f"--source-ip={to.source}", f"--auth={to.mechanism.lower()}", f"--user={to.user}",
          f"--passwordeval=echo {to.password}", "--domain=client.test", f"--from={SENDER}", "--set-from-header=off",
          "--set-date-header=off", "--", to.recipient], octets.replace(b"\r\n", b"\n"))


def nodemailer(to, octets, folder):
    options = {
        "host": "localhost", "port": to.port, "secure": to.immediate, "requireTLS": not to.immediate, "name": "client.test",
        "localAddress": to.source, "authMethod": to.mechanism, "auth": {"user": to.user, "pass": to.password},
    }
    call(["node", os.path.join(HERE, "nodemailer.cjs"), nodemailer.folder, json.dumps(options), to.ca, SENDER, to.recipient,
          written(octets, folder)])


nodemailer.folder = None  # where npm has put it


@dataclass
class Mailer:
    send: callable
    program: str | None
    mechanisms: tuple  # that it has and the server should have
    others: tuple  # that it has and the server has not
    messages: tuple  # that it sends as they are given

    def is_there(self):
        return (self.program is None or shutil.which(self.program)) and (self.send is not nodemailer or nodemailer.folder)


ALL = ("plain", "empty", "dots", "dotlast", "blanks", "utf8", "octets", "mebibyte")

# swaks takes away a last line with a dot, and puts an empty one behind a header alone
OF_SWAKS = tuple(name for name in ALL if name not in ("dotlast", "empty"))

MAILERS = {
    "swaks": Mailer(swaks, "swaks", ("PLAIN", "LOGIN"), ("CRAM-MD5", "CRAM-SHA1", "DIGEST-MD5", "NTLM"), OF_SWAKS),
    "curl": Mailer(curl, "curl", ("PLAIN", "LOGIN"), ("CRAM-MD5", "NTLM"), ALL),
    "python": Mailer(python, None, ("PLAIN", "LOGIN"), ("CRAM-MD5",), ALL),
    "msmtp": Mailer(msmtp, "msmtp", ("PLAIN", "LOGIN", "SCRAM-SHA-256"), ("SCRAM-SHA-1", "CRAM-MD5", "DIGEST-MD5", "NTLM"), ALL),
    "nodemailer": Mailer(nodemailer, "node", ("PLAIN", "LOGIN"), ("CRAM-MD5",), ALL),
}
