"""A relay of octets that remembers what a client sent: for clients that write their own header."""
import socket
import threading


class Recorder:
    """Listens on a port of its own for one session, and passes it on to the server."""

    def __init__(self, server_port):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.sent = bytearray()
        self.thread = threading.Thread(target=self.relay, args=(server_port,), daemon=True)
        self.thread.start()

    def relay(self, server_port):
        client, _ = self.listener.accept()
        with client, socket.create_connection(("127.0.0.1", server_port)) as server:
            back = threading.Thread(target=self.pump, args=(server, client, None), daemon=True)
            back.start()
            self.pump(client, server, self.sent)
            back.join()

    @staticmethod
    def pump(source, target, record):
        try:
            while octets := source.recv(65536):
                if record is not None:
                    record += octets
                target.sendall(octets)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # one side has hung up: the client's own exit status tells whether that was early

    def message(self):
        """The mail data of the session, dots taken off (RFC 5321 section 4.5.2)."""
        self.listener.close()
        self.thread.join(timeout=30)
        _, _, rest = bytes(self.sent).partition(b"DATA\r\n")
        data, end, _ = (b"\r\n" + rest).partition(b"\r\n.\r\n")
        if not end:
            raise AssertionError("the client sent no complete mail data")
        return (data + b"\r\n").replace(b"\r\n.", b"\r\n")[2:]
