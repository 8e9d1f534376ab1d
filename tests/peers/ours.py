"""Our smtpd as a relay, with a folder, a port and a configuration of its own."""
import os

from process import Process, free_port

CONFIG = """\
queue directory {folder}/spool
control socket {folder}/smtpd.sock
daemon user root
ca "tests" cert "{ca}"
{more}
listen on 127.0.0.1 port {port}
action "out" relay host {url} ca "tests" {options}
match from any for any action "out"
"""


class Relay(Process):
    """Relays all mail to the URL. It offers no STARTTLS itself, which our server cannot yet."""

    def __init__(self, smtpd, folder, url, ca, options="", more=""):
        os.mkdir(folder)
        port = free_port()
        config = os.path.join(folder, "smtpd.conf")
        with open(config, "w") as file:
            file.write(CONFIG.format(folder=folder, ca=ca, more=more, port=port, url=url, options=options))
        super().__init__("smtpd", [smtpd, "-d", "-f", config], port, os.path.join(folder, "log"))
