"""What has been delivered."""
import os
import re
import time

ARRIVE = 30  # seconds until a message is in the Maildir

# what delivery and reception put in front, in this order (smtpd.conf(5); RFC 5321 section 4.4)
ADDED = re.compile(
    rb"Return-Path: <(?P<sender>[^\n]*)>\n"
    rb"Delivered-To: (?P<recipient>[^\n]*)\n"
    rb"Received: (?P<received>[^\n]*\n(?:[ \t][^\n]*\n)+)"
)


class Maildirs:
    def __init__(self, folder):
        self.folder = folder

    def count(self, recipient):
        return len(self._names(recipient))

    def take(self, recipient):
        """The one message of the recipient: its field Received, and what follows it."""
        end = time.monotonic() + ARRIVE
        while not (names := self._names(recipient)):
            if time.monotonic() > end:
                raise AssertionError(f"nothing for {recipient} after {ARRIVE} s")
            time.sleep(0.01)
        if len(names) > 1:
            raise AssertionError(f"{len(names)} messages for {recipient}")
        with open(os.path.join(self._new(recipient), names[0]), "rb") as file:
            octets = file.read()
        added = ADDED.match(octets)
        if not added:
            raise AssertionError(f"unexpected fields in front: {octets[:400]!r}")
        return added["received"].decode(), octets[added.end():]

    def _new(self, recipient):
        return os.path.join(self.folder, recipient.partition("@")[0], "new")

    def _names(self, recipient):
        new = self._new(recipient)
        return os.listdir(new) if os.path.isdir(new) else []
