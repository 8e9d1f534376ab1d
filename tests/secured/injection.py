"""What is said in the clear and what is left of it under TLS: nothing (RFC 3207 sections 4.2 and 5).

Commands behind STARTTLS in the same packet are thrown away, however the packets are cut; the name of
the clear session's EHLO, its transaction and its attempts to log in are forgotten.
"""
import base64
import socket
import ssl
import time

PLAIN = b"AUTH PLAIN " + base64.b64encode(b"\0ann\0secret") + b"\r\n"
EVIL = b"EHLO evil.test\r\nMAIL FROM:<evil@evil.test>\r\nRCPT TO:<victim@localhost>\r\nDATA\r\nSubject: evil\r\n\r\n.\r\n"
PAUSE = 0.05  # seconds between the parts of what is cut
SILENCE = 1.0  # seconds in which an answer would have come


class Session:
    def __init__(self, port, ca):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.context = ssl.create_default_context(cafile=ca)
        self.rest = b""
        self.expect("220")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *parts):
        for nth, part in enumerate(parts):
            if nth:
                time.sleep(PAUSE)
            self.socket.sendall(part)

    def reply(self):
        """The next reply, all its lines."""
        lines = []
        while True:
            while b"\r\n" not in self.rest:
                octets = self.socket.recv(4096)
                if not octets:
                    raise AssertionError(f"closed behind {lines} {self.rest!r}")
                self.rest += octets
            line, _, self.rest = self.rest.partition(b"\r\n")
            lines.append(line.decode())
            if line[3:4] != b"-":
                return "\n".join(lines)

    def expect(self, code):
        reply = self.reply()
        if not reply.startswith(code):
            raise AssertionError(f"{reply!r} where {code} was expected")
        return reply

    def say(self, line, code):
        self.send(line.encode() + b"\r\n")
        return self.expect(code)

    def secure(self):
        if self.rest:
            raise AssertionError(f"{self.rest!r} before the handshake")
        self.socket = self.context.wrap_socket(self.socket, server_hostname="localhost")

    def silent(self):
        """Nothing comes, not even of TLS."""
        self.socket.settimeout(SILENCE)
        try:
            octets = self.socket.recv(4096)
        except TimeoutError:
            octets = b""
        if octets + self.rest:
            raise AssertionError(f"{octets!r}, unasked")

    def is_new(self):
        """Under TLS the session knows nothing, and then works."""
        self.silent()
        self.socket.settimeout(30)
        self.say("MAIL FROM:<a@client.test>", "503")
        self.say("RCPT TO:<victim@localhost>", "503")
        self.say("DATA", "503")
        greeting = self.say("EHLO secure.test", "250")
        if "secure.test" not in greeting.partition("\n")[0] or "STARTTLS" in greeting:
            raise AssertionError(greeting)
        self.say("RCPT TO:<victim@localhost>", "503")
        self.say("DATA", "503")


# What is sent at once behind EHLO, in parts with a pause between them.
CUTS = {
    "one packet": (b"STARTTLS\r\n" + EVIL,),
    "half a command": (b"STARTTLS\r\nMAIL FR",),
    "a lone line end": (b"STARTTLS\r\n\r\n",),
    "a password": (b"STARTTLS\r\nEHLO evil.test\r\n" + PLAIN,),
    "STARTTLS twice": (b"STARTTLS\r\nSTARTTLS\r\n",),
    "cut inside STARTTLS": (b"START", b"TLS\r\n" + EVIL),
    "cut inside its line end": (b"STARTTLS\r", b"\n" + EVIL),
    "octet by octet": tuple(bytes([octet]) for octet in b"STARTTLS\r") + (b"\n" + EVIL,),
    "in a pipeline": (b"NOOP\r\nSTARTTLS\r\n" + EVIL,),
}


def thrown_away(port, ca, parts):
    with Session(port, ca) as session:
        session.say("EHLO clear.test", "250")
        session.send(*parts)
        if parts[0].startswith(b"NOOP"):
            session.expect("250")
        session.expect("220")
        session.secure()
        session.is_new()
        session.say("QUIT", "221")


def hello_in_the_same_packet(port, ca):
    """A ClientHello behind STARTTLS is thrown away as well: who sends it waits in vain."""
    with Session(port, ca) as session:
        session.say("EHLO clear.test", "250")
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = session.context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        session.send(b"STARTTLS\r\n" + outgoing.read())
        session.expect("220")
        session.silent()


# What is no TLS, in place of a handshake: behind the reply, and so much that it cannot be in one packet.
LATER = {"behind the reply": (b"STARTTLS\r\n", EVIL), "64 KiB": (b"STARTTLS\r\n" + b"NOOP\r\n" * 10923,)}


def later_in_the_clear(port, ca, parts):
    """The session ends, and nothing is answered."""
    with Session(port, ca) as session:
        session.say("EHLO clear.test", "250")
        session.send(*parts)
        session.expect("220")
        octets = session.rest
        try:
            while more := session.socket.recv(4096):
                octets += more
        except ConnectionResetError:
            pass
        if any(code in octets for code in (b"250", b"354", b"503")):
            raise AssertionError(f"{octets!r}")


def transaction_is_forgotten(port, ca):
    with Session(port, ca) as session:
        session.say("EHLO clear.test", "250")
        session.say("MAIL FROM:<clear@client.test>", "250")
        session.say("RCPT TO:<victim@localhost>", "250")
        session.say("STARTTLS", "503")
        session.say("RSET", "250")
        session.say("STARTTLS", "220")
        session.secure()
        session.is_new()
        session.say("QUIT", "221")


def nothing_in_the_clear(port, ca):
    """Where TLS is required."""
    with Session(port, ca) as session:
        session.say("EHLO clear.test", "250")
        session.say("MAIL FROM:<clear@client.test>", "530")
        session.say("STARTTLS", "220")
        session.secure()
        session.say("EHLO secure.test", "250")
        session.say("MAIL FROM:<a@client.test>", "250")
        session.say("QUIT", "221")


def name_of_the_secured_session(server, ca, port):
    """The trace field has the name said under TLS, and says that it was ESMTPS (RFC 3848)."""
    with Session(port, ca) as session:
        session.say("EHLO clear.test", "250")
        session.send(b"STARTTLS\r\nEHLO evil.test\r\n")
        session.expect("220")
        session.secure()
        session.say("EHLO secure.test", "250")
        session.say("MAIL FROM:<a@client.test>", "250")
        session.say("RCPT TO:<traced@localhost>", "250")
        session.say("DATA", "354")
        session.send(b"Subject: traced\r\n\r\ntext\r\n.\r\n")
        session.expect("250")
        session.say("QUIT", "221")
    received, _ = server.mail.take("traced@localhost")
    if "secure.test" not in received or "ESMTPS" not in received or "evil" in received or "clear" in received:
        raise AssertionError(received)


def no_password_in_the_clear(port, ca):
    """Neither offered nor taken, from this very machine either; and nothing of it counts under TLS."""
    with Session(port, ca) as session:
        if "AUTH" in session.say("EHLO clear.test", "250"):
            raise AssertionError("AUTH is offered")
        session.send(PLAIN)
        if not session.reply().startswith("5"):
            raise AssertionError("AUTH is taken")
        session.say("STARTTLS", "220")
        session.secure()
        if "AUTH" not in session.say("EHLO secure.test", "250"):
            raise AssertionError("AUTH is not offered under TLS")
        reply = session.say("MAIL FROM:<a@client.test>", "5")
        if not reply.startswith(("530", "550")):
            raise AssertionError(reply)
        session.say("QUIT", "221")
