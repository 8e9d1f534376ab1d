"""A server that keeps the octets of each message: the end of the line.

STARTTLS and AUTH are not its business. Nothing is taken away but the dots of RFC 5321 section 4.5.2.
"""
import queue
import socketserver
import threading

EHLO = b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 0\r\n"
REPLIES = {b"HELO": b"250 sink.test\r\n", b"MAIL": b"250 2.1.0 ok\r\n", b"RCPT": b"250 2.1.5 ok\r\n",
           b"RSET": b"250 2.0.0 ok\r\n", b"NOOP": b"250 2.0.0 ok\r\n"}


class _Session(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"220 sink.test ESMTP\r\n")
        while line := self.rfile.readline():
            verb = line[:4].strip().upper()
            if verb == b"QUIT":
                self.wfile.write(b"221 2.0.0 bye\r\n")
                return
            if verb == b"EHLO":
                self.wfile.write(EHLO)
            elif verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                self.server.messages.put(self.content())
                self.wfile.write(b"250 2.0.0 kept\r\n")
            else:
                self.wfile.write(REPLIES.get(verb, b"500 5.5.1 what?\r\n"))

    def content(self):
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            if not line:
                raise ConnectionError("the mail data has no end")
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)


class Sink(socketserver.ThreadingTCPServer):
    daemon_threads = True
    name = "sink"

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Session)
        self.port = self.server_address[1]
        self.messages = queue.Queue()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def next(self, seconds):
        """The next message; None when there is none for so long."""
        try:
            return self.messages.get(timeout=seconds)
        except queue.Empty:
            return None

    @staticmethod
    def said():
        return ""

    def stop(self):
        self.shutdown()
        self.server_close()
