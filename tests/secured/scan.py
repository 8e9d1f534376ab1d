"""testssl.sh on a submission port: its findings, and those that are accepted, with the reason."""
import json
import os
import subprocess

TIME = 300  # seconds for the whole scan, on a loaded machine

SERIOUS = ("MEDIUM", "HIGH", "CRITICAL", "WARN", "FATAL")

# Findings above LOW that stay, by their id, and why.
ACCEPTED = {
    "cipher_order": "every suite is authenticated encryption with forward secrecy, so the client, which knows its own "
                    "processor, chooses",
    "cert_revocation": "about the certificate of this test, which nobody can revoke",
    "sessionresumption_ticket": "the scanner could not find out; openssl's client resumes in the group handshakes",
    "engine_problem": "about the scanner's own openssl",
}


def run(port, ca, folder):
    """All findings: (id, severity, what it says)."""
    path = os.path.join(folder, "testssl.json")
    done = subprocess.run(
        ["testssl", "--quiet", "--color", "0", "--warnings", "off", "--ip", "127.0.0.1", "--add-ca", ca, "--jsonfile", path,
         # Protocols, ciphers, forward secrecy, order, certificate, attacks: not the list of who could connect.
         "-p", "-s", "-f", "-P", "-S", "-U", "-t", "smtp", f"localhost:{port}"],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=TIME, text=True, errors="replace")
    if not os.path.exists(path):
        raise AssertionError(f"testssl ended with {done.returncode}: {(done.stdout + done.stderr)[-1000:]}")
    with open(path) as file:
        return [(found["id"].partition(" ")[0], found["severity"], found["finding"]) for found in json.load(file)]


def check(findings):
    # That it has come to the end, and spoken TLS.
    names = {name for name, _, _ in findings}
    if missing := {"TLS1_3", "heartbleed", "BEAST", "RC4"} - names:
        raise AssertionError(f"no finding about {missing}")
    if not names & {"FS", "PFS"}:  # its name has changed with version 3.2
        raise AssertionError("no finding about forward secrecy")
    wrong = [finding for finding in findings if finding[1] in SERIOUS and finding[0] not in ACCEPTED]
    if wrong:
        raise AssertionError("\n".join(": ".join(finding) for finding in wrong))
