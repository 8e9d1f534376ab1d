"""The messages that the clients send, each complete, as octets with CR LF line ends.

They have Date and Message-ID and whole addresses, so that a server which completes a
submission (RFC 6409 section 8) has nothing to complete: what is stored below the trace
fields must be what was sent.
"""

SENDER = "sender@client.test"


def header(subject, *more):
    fields = [
        f"From: Sender <{SENDER}>",
        "To: <reader@localhost.test>",
        f"Subject: {subject}",
        "Date: Tue, 24 Nov 2026 10:00:00 +0100",
        f"Message-ID: <{subject}@client.test>",
        *more,
        "",
        "",
    ]
    return "\r\n".join(fields).encode()


def lines(*text):
    return b"".join(line + b"\r\n" for line in text)


EIGHT_BIT = ("MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit")

BODIES = {
    "plain": lines(b"It works."),
    "empty": b"",
    # a first line, lone dots and doubled ones (RFC 5321 section 4.5.2)
    "dots": lines(b".", b"..", b"...", b".hidden", b"a.b", b".", b"", b".", b"last"),
    "dotlast": lines(b"text", b"", b"."),
    "blanks": lines(b"", b"", b" leading", b"trailing \t ", b"\ttab", b"", b""),
    "utf8": lines("Grüße, 手紙, письмо".encode()),
    "octets": lines(bytes(range(0x80, 0x100)), bytes(c for c in range(1, 0x20) if c not in b"\r\n")),
    # the longest line of RFC 5321 section 4.5.3.1.6, and one far beyond it
    "long": lines(b"x" * 998, b"." + b"y" * 20000, b"end"),
    "mebibyte": b"".join(b"%08d " % i + b"z" * 67 + b"\r\n" for i in range(2**20 // 78 + 1)),
}

MESSAGES = {
    name: header(name, *(EIGHT_BIT if max(body, default=0) > 0x7F else ())) + body for name, body in BODIES.items()
}
