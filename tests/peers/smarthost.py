"""The smarthost of a provider, played by aiosmtpd: STARTTLS, then a password by one mechanism only.

As a module: starts that in a process of its own. As a program (PORT MECHANISM CERT KEY FOLDER): is that;
what arrives is written to FOLDER, a file N-MECHANISM for each message.
"""
import importlib.util
import os
import subprocess
import sys
import time

from process import Process, free_port

LABEL, USER, PASSWORD = "provider", "joe@example.org", "correct: horse, battery"


def is_there(folder):
    return importlib.util.find_spec("aiosmtpd") is not None or (
        folder is not None and os.path.isdir(os.path.join(folder, "aiosmtpd")))


def make_secrets(smtpctl, folder):
    """A map with the password, by our own makemap."""
    text = os.path.join(folder, "secrets")
    with open(text, "w") as file:
        file.write(f"{LABEL} {USER}:{PASSWORD}\n")
    os.chmod(text, 0o600)
    makemap = os.path.join(folder, "makemap")
    os.symlink(os.path.abspath(smtpctl), makemap)
    done = subprocess.run([makemap, text], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    if done.returncode:
        raise AssertionError(f"makemap ended with {done.returncode}: {done.stderr.decode(errors='replace')}")
    return text + ".db"


class Smarthost(Process):
    def __init__(self, aiosmtpd, folder, mechanism, identity):
        self.messages = os.path.join(folder, "smarthost-" + mechanism)
        os.mkdir(self.messages)
        self.count = 0
        environment = dict(os.environ)
        if aiosmtpd:
            environment["PYTHONPATH"] = aiosmtpd
        port = free_port()
        super().__init__("aiosmtpd", [sys.executable, "-B", os.path.abspath(__file__), str(port), mechanism, *identity, self.messages],
                         port, os.path.join(folder, f"smarthost-{mechanism}.log"), env=environment)

    def next(self, seconds):
        """The mechanism and the octets of the next message."""
        end = time.monotonic() + seconds
        prefix = f"{self.count}-"
        while not (names := [name for name in os.listdir(self.messages) if name.startswith(prefix) and not name.endswith("~")]):
            if time.monotonic() > end:
                raise TimeoutError(f"nothing at the smarthost after {seconds} s")
            time.sleep(0.02)
        self.count += 1
        with open(os.path.join(self.messages, names[0]), "rb") as file:
            return names[0].removeprefix(prefix), file.read()


def main():
    import asyncio
    import signal
    import ssl

    from aiosmtpd.smtp import SMTP, AuthResult

    port, mechanism, cert, key, folder = sys.argv[1:]
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)

    def authenticate(server, session, envelope, used, data):
        right = (used, data.login, data.password) == (mechanism, USER.encode(), PASSWORD.encode())
        return AuthResult(success=right, auth_data=used)

    class Handler:
        count = 0

        async def handle_DATA(self, server, session, envelope):
            path = os.path.join(folder, f"{self.count}-{session.auth_data}")
            with open(path + "~", "wb") as file:
                file.write(envelope.original_content)
            os.rename(path + "~", path)
            self.count += 1
            return "250 2.0.0 kept"

    handler = Handler()
    others = {"PLAIN", "LOGIN"} - {mechanism}

    def session():
        return SMTP(handler, hostname="localhost", tls_context=context, require_starttls=True, auth_required=True,
                    authenticator=authenticate, auth_exclude_mechanism=others, data_size_limit=2**26)

    async def serve():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(session, "127.0.0.1", int(port))
        ended = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, ended.set)
        await ended.wait()
        server.close()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
