"""Postfix, OpenSMTPD and Exim, each in a chroot with Debian's package (setup.sh), on a port of loopback.

The chroots are ours: configuration and mailbox in them are overwritten. Each demands STARTTLS, with the
certificate it is given, and delivers mail for mail@peer.test as the user `mail` into a Maildir.
"""
import os
import re
import shutil
import subprocess
import time

from process import Process, free_port

RECIPIENT = "mail@peer.test"
HOME = "hermes-peers"  # below the chroot
ARRIVE = 30  # seconds until a message is in the Maildir
MAIL = 8  # uid and gid of Debian's user mail


class Peer(Process):
    """What the three have in common. A subclass has `program`, and `configure`, which says what to run."""

    @classmethod
    def is_there(cls, roots):
        return os.path.exists(os.path.join(roots, cls.folder, cls.program))

    def __init__(self, roots, identity):
        self.root = os.path.join(roots, self.folder)
        home = os.path.join(self.root, HOME)
        shutil.rmtree(home, ignore_errors=True)
        self.maildir = os.path.join(home, "Maildir")
        for folder in (home, self.maildir, *(os.path.join(self.maildir, name) for name in ("cur", "new", "tmp"))):
            os.mkdir(folder, 0o755)
            os.chown(folder, MAIL, MAIL)
        for source, name in zip(identity, ("cert.pem", "key.pem")):
            shutil.copy(source, os.path.join(home, name))
        self.key = os.path.join(home, "key.pem")
        os.chmod(self.key, 0o600)
        port = free_port()
        command = self.configure(port)
        super().__init__(self.folder, ["chroot", self.root, *command], port, os.path.join(home, "log"), cwd="/")

    def write(self, path, text):
        with open(os.path.join(self.root, path), "w") as file:
            file.write(text)

    def empty(self, queue):
        """Removes the files of a queue: what an earlier run has left would come in between."""
        for folder, _, names in os.walk(os.path.join(self.root, queue)):
            for name in names:
                os.remove(os.path.join(folder, name))

    def has_any(self):
        return bool(os.listdir(os.path.join(self.maildir, "new")))

    def take(self):
        """The one message in the Maildir, which is taken away."""
        new = os.path.join(self.maildir, "new")
        end = time.monotonic() + ARRIVE
        while not (names := os.listdir(new)):
            if time.monotonic() > end:
                raise TimeoutError(f"nothing in the Maildir after {ARRIVE} s")
            time.sleep(0.02)
        if len(names) > 1:
            raise AssertionError(f"{len(names)} messages in the Maildir")
        path = os.path.join(new, names[0])
        with open(path, "rb") as file:
            octets = file.read()
        os.remove(path)
        return octets


class Postfix(Peer):
    folder, program = "postfix", "usr/sbin/postfix"
    CONFIG = f"""\
compatibility_level = 3.6
myhostname = localhost
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
# Or it would complete the header of mail from this machine.
local_header_rewrite_clients =
virtual_mailbox_domains = peer.test
virtual_mailbox_base = /
virtual_mailbox_maps = static:{HOME}/Maildir/
virtual_uid_maps = static:{MAIL}
virtual_gid_maps = static:{MAIL}
virtual_minimum_uid = {MAIL}
smtpd_tls_cert_file = /{HOME}/cert.pem
smtpd_tls_key_file = /{HOME}/key.pem
smtpd_tls_security_level = encrypt
maillog_file = /var/log/postfix.log
"""

    def configure(self, port):
        self.write("etc/postfix/main.cf", self.CONFIG)
        with open(os.path.join(self.root, "etc/postfix/master.cf.proto")) as file:
            services = file.read()
        services = re.sub(r"(?m)^smtp +inet .*$", f"127.0.0.1:{port} inet n - n - - smtpd", services)
        # Its own chroot, within ours, would lack libraries and hosts.
        services = re.sub(r"(?m)^(\w\S* +\S+ +\S+ +\S+ +)y ", r"\1n ", services)
        self.write("etc/postfix/master.cf", services)
        for queue in ("incoming", "active", "deferred"):
            self.empty("var/spool/postfix/" + queue)
        return ["/usr/sbin/postfix", "start-fg"]

    def stop(self):
        # The master has a session of its own; what was started is a shell that waits for it.
        subprocess.run(["chroot", self.root, "/usr/sbin/postfix", "stop"], stdin=subprocess.DEVNULL,
                       capture_output=True, timeout=60)
        return super().stop()


class OpenSmtpd(Peer):
    folder, program = "opensmtpd", "usr/sbin/smtpd"
    CONFIG = f"""\
pki localhost cert "/{HOME}/cert.pem"
pki localhost key "/{HOME}/key.pem"
listen on 127.0.0.1 port %d tls-require pki localhost hostname localhost
action "local" maildir "/{HOME}/Maildir"
match from any for domain "peer.test" action "local"
"""

    def configure(self, port):
        self.write("etc/smtpd.conf", self.CONFIG % port)
        self.empty("var/spool/smtpd/queue")
        # It does not start without authorities, though it verifies nobody here.
        authorities = os.path.join(self.root, "etc/ssl/certs/ca-certificates.crt")
        os.makedirs(os.path.dirname(authorities), exist_ok=True)
        shutil.copy(os.path.join(self.root, HOME, "cert.pem"), authorities)
        return ["/usr/sbin/smtpd", "-d", "-f", "/etc/smtpd.conf"]


class Exim(Peer):
    folder, program = "exim", "usr/sbin/exim4"
    CONFIG = f"""\
primary_hostname = localhost
daemon_smtp_ports = %d
local_interfaces = 127.0.0.1
host_lookup =
rfc1413_query_timeout = 0s
message_size_limit = 100M
tls_advertise_hosts = *
tls_certificate = /{HOME}/cert.pem
tls_privatekey = /{HOME}/key.pem
acl_smtp_rcpt = rcpt
acl_smtp_data = data

begin acl
rcpt:
  accept domains = peer.test
         encrypted = *
data:
  accept

begin routers
local:
  driver = accept
  transport = maildir

begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = /{HOME}/Maildir
  user = mail
  group = mail
  delivery_date_add
  envelope_to_add
  return_path_add
"""

    def configure(self, port):
        os.chmod(self.key, 0o644)  # read by the user Debian-exim
        self.write("etc/exim4/exim4.conf", self.CONFIG % port)
        self.empty("var/spool/exim4/input")
        return ["/usr/sbin/exim4", "-bdf", "-q1m"]


PEERS = {peer.folder: peer for peer in (Postfix, OpenSmtpd, Exim)}
