"""Our smtpd as a relay, with a folder, a port and a configuration of its own."""
import os

from process import Process, free_port

CONFIG = """\
queue directory {folder}/spool
control socket {folder}/smtpd.sock
daemon user root
ca "tests" cert "{ca}"
{more}
listen on 127.0.0.1 port {port} {tls}
action "out" relay host {url} ca "tests" {options}
match from any for any action "out"
"""


class Relay(Process):
    """Relays all mail to the URL. With an identity, a certificate and its key, it demands STARTTLS."""

    def __init__(self, smtpd, folder, url, ca, options="", more="", identity=None):
        os.mkdir(folder)
        port = free_port()
        tls = ""
        if identity:
            tls = 'tls-require pki "own"'
            more += 'pki "own" cert "{}" key "{}"'.format(*identity)
        config = os.path.join(folder, "smtpd.conf")
        with open(config, "w") as file:
            file.write(CONFIG.format(folder=folder, ca=ca, more=more, port=port, tls=tls, url=url, options=options))
        super().__init__("smtpd", [smtpd, "-d", "-f", config], port, os.path.join(folder, "log"))
