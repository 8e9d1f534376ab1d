"""openssl s_client against each listener: a table of what it says, and what must come of it.

A case is a name, a listener, options of s_client, and what must be in its output: regular
expressions, and one that begins with `!` must not be there.
"""
import os
import re
import subprocess

from certificates import Authority
from listening import Server, pki

# Options to speak what OpenSSL itself no longer wants to.
WEAK = ("-cipher", "ALL:@SECLEVEL=0")
WORKS = r"221 2\.0\.0 Bye"  # perhaps in the middle of what s_client itself says
REFUSED = r"!221 2\.0\.0"
TOO_OLD = r"alert (protocol version|handshake failure)"

VERSIONS = [
    ("starttls in 1.3", "offer", ("-tls1_3",), (r"^New, TLSv1.3, ", WORKS)),
    ("starttls in 1.2", "offer", ("-tls1_2",), (r"^New, TLSv1.2, ", WORKS)),
    ("smtps in 1.3", "smtps", ("-tls1_3",), (r"^New, TLSv1.3, ", WORKS)),
    ("smtps in 1.2", "smtps", ("-tls1_2",), (r"^New, TLSv1.2, ", WORKS)),
    ("no 1.1", "smtps", ("-tls1_1", *WEAK), (TOO_OLD, REFUSED)),
    ("no 1.0", "smtps", ("-tls1", *WEAK), (TOO_OLD, REFUSED)),
    ("no 1.1 by starttls", "offer", ("-tls1_1", *WEAK), (TOO_OLD, REFUSED)),
    ("only 1.3: 1.3", "only13", ("-tls1_3",), (WORKS,)),
    ("only 1.3: not 1.2", "only13", ("-tls1_2",), (r"alert protocol version", REFUSED)),
    ("only 1.2: 1.2", "only12", ("-tls1_2",), (WORKS,)),
    ("only 1.2: not 1.3", "only12", ("-tls1_3",), (r"alert protocol version", REFUSED)),
    # who falls back to 1.2 is told that 1.3 would have done (RFC 8446 section 4.1.3), and does not go on
    ("no fallback", "smtps", ("-tls1_2", "-fallback_scsv"), (r"inappropriate fallback", REFUSED)),
]

CIPHERS = [
    *((name, "smtps", ("-tls1_3", "-ciphersuites", name), (rf"^New, TLSv1.3, Cipher is {name}$", WORKS))
      for name in ("TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256")),
    *((name, "smtps", ("-tls1_2", "-cipher", name), (rf"^New, TLSv1.2, Cipher is {name}$", WORKS))
      for name in ("ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-CHACHA20-POLY1305",
                   "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256")),
    *((f"no {name}", "smtps", ("-tls1_2", "-cipher", f"{name}:@SECLEVEL=0"), (r"alert handshake failure", REFUSED))
      for name in ("AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES256-SHA384", "DHE-RSA-AES256-GCM-SHA384",
                   "ADH-AES256-GCM-SHA384", "eNULL")),
    ("one suite: that one", "suite", ("-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384"), (WORKS,)),
    ("one suite: no other", "suite", ("-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"),
     (r"alert handshake failure", REFUSED)),
]

GROUPS = [
    ("x25519", "smtps", ("-groups", "X25519"), (r"^Server Temp Key: X25519", WORKS)),
    ("p-256", "smtps", ("-groups", "P-256"), (r"^Server Temp Key: ECDH, prime256v1", WORKS)),
    ("p-384", "smtps", ("-groups", "P-384"), (r"^Server Temp Key: ECDH, secp384r1", WORKS)),
    # the first guess is one that the server does not have: it asks for another (RFC 8446 section 4.1.4)
    ("another guess", "smtps", ("-groups", "P-521:P-256"), (r"^Server Temp Key: ECDH, prime256v1", WORKS)),
    ("no p-521", "smtps", ("-groups", "P-521"), (r"alert handshake failure", REFUSED)),
]
HYBRID = ("hybrid", "smtps", ("-groups", "X25519MLKEM768"), (r"X25519MLKEM768", WORKS))

SUBJECT = r"^subject=.*CN *= *{}$"
NAMES = [
    ("no name", "smtps", ("-noservername",), (SUBJECT.format("localhost"), WORKS)),
    ("its name", "smtps", ("-servername", "localhost"), (SUBJECT.format("localhost"), WORKS)),
    ("another name", "smtps", ("-servername", "other.example"), (SUBJECT.format("other.example"), WORKS)),
    ("in capitals", "smtps", ("-servername", "OTHER.Example"), (SUBJECT.format("other.example"), WORKS)),
    ("another name by starttls", "offer", ("-servername", "other.example"), (SUBJECT.format("other.example"), WORKS)),
    ("wildcard", "smtps", ("-servername", "a.wild.example"), (SUBJECT.format(r"\*.wild.example"), WORKS)),
    ("wildcard, two labels", "smtps", ("-servername", "a.b.wild.example"), (SUBJECT.format("localhost"), WORKS)),
    ("wildcard, no label", "smtps", ("-servername", "wild.example"), (SUBJECT.format("localhost"), WORKS)),
    ("unknown name", "smtps", ("-servername", "unknown.example"), (SUBJECT.format("localhost"), WORKS)),
]

# One name, three kinds of keys: shown is the first that the client can use.
KEYS = [
    *((f"{kind} in 1.3", "smtps", ("-tls1_3", "-sigalgs", offered), (rf"Peer signature type: (?i:{said})$", WORKS))
      for kind, offered, said in (("rsa", "rsa_pss_rsae_sha256", "RSA-PSS"), ("p256", "ecdsa_secp256r1_sha256", "ECDSA"),
                                  ("ed25519", "ed25519", "Ed25519"), ("first", "ed25519:rsa_pss_rsae_sha256", "RSA-PSS"))),
    ("rsa in 1.2", "smtps", ("-tls1_2", "-cipher", "aRSA"), (r"^New, TLSv1.2, Cipher is ECDHE-RSA", WORKS)),
    ("p256 in 1.2", "smtps", ("-tls1_2", "-cipher", "aECDSA"), (r"^New, TLSv1.2, Cipher is ECDHE-ECDSA", WORKS)),
    ("no key for it", "smtps", ("-tls1_3", "-sigalgs", "ecdsa_secp521r1_sha512"), (r"alert handshake failure", REFUSED)),
]


def clients(good, stranger):
    show = lambda identity: ("-cert", identity[0], "-key", identity[1])
    asked, unasked = r"^Acceptable client certificate CA names|^Requested Signature Algorithms", r"^No client certificate CA names sent"
    cases = []
    for listener in ("verify", "verify-starttls"):
        for version in ("-tls1_2", "-tls1_3"):
            said = f"{listener} {version[1:]}"
            cases += [
                (f"{said}: good", listener, (version, *show(good)), (asked, WORKS)),
                (f"{said}: a stranger's", listener, (version, *show(stranger)), (r"alert (unknown ca|bad certificate|certificate unknown)", REFUSED)),
                (f"{said}: none", listener, (version,), (r"alert (certificate required|handshake failure|bad certificate)", REFUSED)),
            ]
    cases.append(("not asked for", "smtps", show(stranger), (unasked, WORKS)))
    return cases


class Client:
    """Runs s_client."""

    def __init__(self, server, ca):
        self.server, self.ca = server, ca

    def session(self, listener, options):
        """A session that ends at once: all that was said."""
        begin = () if listener in IMMEDIATE else ("-starttls", "smtp", "-name", "client.test")
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{self.server.ports[listener]}", "-crlf", "-ign_eof",
             "-CAfile", self.ca, *begin, *options],
            input=b"QUIT\n", capture_output=True, timeout=60)
        return (done.stdout + done.stderr).decode(errors="replace").replace("\r", "")

    def case(self, listener, options, expected):
        said = self.session(listener, options)
        for pattern in expected:
            wanted = not pattern.startswith("!")
            if wanted != bool(re.search(pattern.removeprefix("!"), said, re.MULTILINE)):
                raise AssertionError(f"{pattern!r} does not hold of:\n{said}")


IMMEDIATE = {"smtps", "verify", "only13", "only12", "suite"}


def start(smtpd, folder, authority):
    """A server with all these listeners, and the cases of clients with certificates."""
    os.mkdir(folder)
    clients_authority = Authority(folder, "clients")
    identities = {
        "localhost": authority.issue("localhost"),
        "localhost-p256": authority.issue("localhost-p256", kind="p256"),
        "localhost-ed25519": authority.issue("localhost-ed25519", kind="ed25519"),
        "other": authority.issue("other", ("DNS:other.example",), "p256"),
        "wild": authority.issue("wild", ("DNS:*.wild.example",)),
    }
    shown = " ".join(f'pki "{name}"' for name in identities)
    one = 'pki "localhost"'
    lines = [pki(name, identity) for name, identity in identities.items()]
    lines.append(f'ca "clients" cert "{clients_authority.cert}"')
    server = Server(smtpd, os.path.join(folder, "server"), lines, {
        "offer": f"tls {shown}",
        "require": f"tls-require {one}",
        "smtps": f"smtps {shown}",
        "verify": f'smtps verify {one} ca "clients"',
        "verify-starttls": f'tls-require verify {one} ca "clients"',
        "only13": f'smtps {one} protocols "TLSv1.3"',
        "only12": f'smtps {one} protocols "TLSv1.2"',
        "suite": f'smtps {one} ciphers "ECDHE-RSA-AES256-GCM-SHA384"',
    })
    good = clients_authority.issue("good", ("DNS:client.test",))
    stranger = authority.issue("stranger", ("DNS:client.test",))
    return server, clients(good, stranger)


def resumption(client, listener, version, folder):
    """A second session goes on with the ticket of the first."""
    ticket = os.path.join(folder, f"ticket{version}")
    client.case(listener, (version, "-sess_out", ticket), (r"^New, ", WORKS))
    client.case(listener, (version, "-sess_in", ticket), (r"^Reused, ", WORKS))


def has_hybrid():
    done = subprocess.run(["openssl", "list", "-tls-groups"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    return b"X25519MLKEM768" in done.stdout
