"""An authority and what it has signed, made by openssl."""
import os
import subprocess

HERE = ("DNS:localhost", "IP:127.0.0.1")

_KINDS = {
    "rsa": ("rsa:2048",),
    "p256": ("ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "ed25519": ("ed25519",),
}


class Authority:
    """Makes an authority in the folder; `cert` is what trusts it."""

    def __init__(self, folder, name):
        self.folder = folder
        self.cert = os.path.join(folder, name + ".pem")
        self.key = os.path.join(folder, name + ".key")
        _openssl("req", "-x509", *_new_key("rsa"), "-days", "100", "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.cert)

    def issue(self, name, names=HERE, kind="rsa"):
        """A certificate for these names, by default for this machine, and its key: two files."""
        base = os.path.join(self.folder, name)
        with open(base + ".ext", "w") as file:
            file.write(f"subjectAltName={','.join(names)}\nbasicConstraints=CA:FALSE\n")
        subject = "/CN=" + names[0].partition(":")[2]
        _openssl("req", *_new_key(kind), "-subj", subject, "-keyout", base + ".key", "-out", base + ".csr")
        _openssl("x509", "-req", "-days", "99", "-in", base + ".csr", "-CA", self.cert, "-CAkey", self.key,
                 "-CAcreateserial", "-extfile", base + ".ext", "-out", base + ".pem")
        return base + ".pem", base + ".key"


def _new_key(kind):
    return ("-newkey", *_KINDS[kind], "-nodes")


def _openssl(*arguments):
    done = subprocess.run(["openssl", *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    if done.returncode:
        raise SystemExit(f"openssl {arguments[0]}: {done.stderr.decode(errors='replace')}")
