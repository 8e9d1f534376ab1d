"""The clients: each sends one message with one program, and tells what it has sent.

A client is a function of (port, recipient, name, scratch folder); it returns the octets
that it sent, and raises when the program failed.
"""
import os
import shutil
import smtplib
import subprocess

from messages import BODIES, MESSAGES, SENDER
from recorder import Recorder

TIME = 60  # seconds for one program
SERVER = "127.0.0.1"


def call(command, **more):
    done = subprocess.run(command, capture_output=True, timeout=TIME, **{"stdin": subprocess.DEVNULL, **more})
    if done.returncode:
        said = (done.stdout + done.stderr)[-2000:].decode(errors="replace")
        raise AssertionError(f"{command[0]} ended with {done.returncode}:\n{said}")


def written(octets, name, scratch):
    path = os.path.join(scratch, name + ".eml")
    with open(path, "wb") as file:
        file.write(octets)
    return path


def swaks(port, recipient, name, scratch):
    """swaks ends the last line itself and takes a last line with a dot away: what it sent is recorded."""
    recorder = Recorder(port)
    call(["swaks", "--server", SERVER, "--port", str(recorder.port), "--helo", "client.test", "--from", SENDER,
          "--to", recipient, "--data", "@" + written(MESSAGES[name], name, scratch)])
    return recorder.message()


def curl(port, recipient, name, scratch):
    call(["curl", "-sS", "--url", f"smtp://{SERVER}:{port}/client.test", "--mail-from", SENDER,
          "--mail-rcpt", recipient, "--upload-file", written(MESSAGES[name], name, scratch)])
    return MESSAGES[name]


def python(port, recipient, name, scratch):
    options = ["BODY=8BITMIME"] if name in ("utf8", "octets") else []
    with smtplib.SMTP(SERVER, port, local_hostname="client.test", timeout=TIME) as session:
        session.sendmail(SENDER, [recipient], MESSAGES[name], mail_options=options)
    return MESSAGES[name]


def s_nail(port, recipient, name, scratch):
    """s-nail makes the header and chooses the encoding, so what it sent is recorded."""
    recorder = Recorder(port)
    settings = [f"mta=smtp://{SERVER}:{recorder.port}", "v15-compat", "smtp-auth=none", f"from={SENDER}",
                "hostname=client.test", "ttycharset=utf-8", "sendcharsets=utf-8", "sendwait"]
    command = ["s-nail", "-n"]
    for setting in settings:
        command += ["-S", setting]
    environment = {**os.environ, "HOME": scratch, "MAILRC": os.devnull, "LC_ALL": "C.UTF-8"}
    call(command + ["-s", name, recipient], input=BODIES[name].replace(b"\r\n", b"\n"), stdin=None,
         env=environment)
    return recorder.message()


# name: (how to send, the program needed, messages that it cannot send as they are)
CLIENTS = {
    "swaks": (swaks, "swaks", set()),
    "curl": (curl, "curl", set()),
    "python": (python, None, set()),
    "s-nail": (s_nail, "s-nail", {"octets"}),  # wants text in a character set
}


def missing(client):
    program = CLIENTS[client][1]
    return program is not None and shutil.which(program) is None
