"""The messages that are relayed: those of tests/clients, and a bare header.

Their lines have 998 octets at most (RFC 5321 section 4.5.3.1.6); what becomes of longer ones is each
server's own affair.
"""
import messages

EIGHT_BIT = ("utf8", "octets")  # sent with BODY=8BITMIME

MESSAGES = {
    **messages.MESSAGES,
    "long": messages.header("long") + messages.lines(b"x" * 998, b"." + b"y" * 996, b"." + b"z" * 997, b"end"),
    # no empty line behind the header, which RFC 5322 section 2.1 allows
    "bare": messages.header("bare")[:-2],
}
