"""Our smtpd with a listener for each way of TLS, on free ports and a folder of its own."""
import os

from maildir import Maildirs
from process import Process, free_port

START = """\
queue directory {folder}/spool
control socket {folder}/smtpd.sock
daemon user root
"""

END = """\
action "local" maildir {folder}/mail/%{{dest.user:lowercase}} userbase any
match from any for domain "localhost" action "local"
"""


class Server(Process):
    """`listeners` are options of `listen`, by the names that `ports` then knows; `lines` stand before."""

    def __init__(self, smtpd, folder, lines, listeners, end=""):
        os.mkdir(folder)
        self.ports = {name: free_port() for name in ("clear", *listeners)}
        listeners = {"clear": "", **listeners}
        text = [START.format(folder=folder), *lines]
        text += [f"listen on 127.0.0.1 port {self.ports[name]} {options}" for name, options in listeners.items()]
        text += [END.format(folder=folder), end]
        config = os.path.join(folder, "smtpd.conf")
        with open(config, "w") as file:
            file.write("\n".join(text))
        self.mail = Maildirs(os.path.join(folder, "mail"))
        super().__init__("smtpd", [smtpd, "-d", "-f", config], self.ports["clear"], os.path.join(folder, "log"))


def pki(name, identity):
    """The line for a certificate and its key."""
    cert, key = identity
    return f'pki "{name}" cert "{cert}" key "{key}"'
