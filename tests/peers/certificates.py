"""An authority and certificates for localhost, made by openssl."""
import os
import subprocess

_EXTENSIONS = "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n"


class Authority:
    """Makes an authority in the folder; `cert` is what trusts it."""

    def __init__(self, folder, name):
        self.folder = folder
        self.cert = os.path.join(folder, name + ".pem")
        self.key = os.path.join(folder, name + ".key")
        _openssl("req", "-x509", *_NEW_KEY, "-days", "2", "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.cert)

    def issue(self, name):
        """A certificate for localhost and its key: two files."""
        base = os.path.join(self.folder, name)
        with open(base + ".ext", "w") as file:
            file.write(_EXTENSIONS)
        _openssl("req", *_NEW_KEY, "-subj", "/CN=localhost", "-keyout", base + ".key", "-out", base + ".csr")
        _openssl("x509", "-req", "-days", "2", "-in", base + ".csr", "-CA", self.cert, "-CAkey", self.key,
                 "-CAcreateserial", "-extfile", base + ".ext", "-out", base + ".pem")
        return base + ".pem", base + ".key"


_NEW_KEY = ("-newkey", "rsa:2048", "-nodes")


def _openssl(*arguments):
    done = subprocess.run(["openssl", *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    if done.returncode:
        raise SystemExit(f"openssl {arguments[0]}: {done.stderr.decode(errors='replace')}")
