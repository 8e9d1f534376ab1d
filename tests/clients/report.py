#!/usr/bin/env python3
"""What Python's email package makes of a delivery status notification, a fact a line.

Reads a message from standard input. Exit status 1: it is not a report as RFC 3464, RFC 6522
and RFC 6533 want it, or the package had something to complain about.
"""
import sys
from email import message_from_bytes, policy
from email.utils import parsedate_to_datetime

STATUS = ("message/delivery-status", "message/global-delivery-status")
RECIPIENT = (
    "Original-Recipient", "Final-Recipient", "Action", "Status", "Remote-MTA", "Diagnostic-Code",
    "Last-Attempt-Date", "Will-Retry-Until",
)
ORIGINAL = ("text/rfc822-headers", "message/rfc822", "message/global-headers", "message/global")


def check(holds, what):
    if not holds:
        sys.exit(f"report.py: {what}")


def groups(part):
    """The groups of fields: one about the message, one about each recipient."""
    payload = part.get_payload()
    if part.get_content_type() == STATUS[0]:
        return payload
    # The package does not know the type of RFC 6533: for it this is one message.
    octets = part.as_bytes(policy=policy.SMTP).split(b"\r\n\r\n", 1)[1]
    blocks = octets.strip(b"\r\n").split(b"\r\n\r\n")
    return [message_from_bytes(block + b"\r\n\r\n") for block in blocks]


def fields(group):
    """Names and values; the package keeps octets above 127 as lone surrogates."""
    for name, value in group.raw_items():
        yield name, value.encode("ascii", "surrogateescape").decode("utf-8")


def main():
    octets = sys.stdin.buffer.read()
    report = message_from_bytes(octets, policy=policy.SMTP)
    for part in report.walk():
        check(not part.defects, f"{part.get_content_type()}: {part.defects}")
    check(report.get_content_type() == "multipart/report", report.get_content_type())
    check(report.get_param("report-type") == "delivery-status", "report-type")
    check(report["Auto-Submitted"] == "auto-replied", "Auto-Submitted")
    for field in ("From", "To", "Subject", "Date", "Message-ID", "MIME-Version"):
        check(len(report.get_all(field, [])) == 1, f"not one {field}")
    check(report["Date"].datetime is not None, "Date")
    parts = report.get_payload()
    check(2 <= len(parts) <= 3, f"{len(parts)} parts")
    check(parts[0].get_content_type() == "text/plain", parts[0].get_content_type())
    check(parts[1].get_content_type() in STATUS, parts[1].get_content_type())
    for name in ("To", "Subject"):
        print(f"{name}={report[name]}")
    print(f"Status-Type={parts[1].get_content_type()}")
    about, *recipients = groups(parts[1])
    check(about["Reporting-MTA"] and about["Arrival-Date"], "the fields about the message")
    check(recipients, "no recipient")
    for group in (about, *recipients):
        for name, value in fields(group):
            if name.endswith(("-Date", "-Until")):
                check(parsedate_to_datetime(value) is not None, name)
            print(f"{name}={value}")
    for group in recipients:
        for field in ("Final-Recipient", "Action", "Status"):
            check(len(group.get_all(field, [])) == 1, f"not one {field}")
        known = dict(fields(group))
        for field in known:
            check(field in RECIPIENT, f"a field {field} about a recipient")
        # RFC 3464 section 2.3.5: no other server is named that had no part in it.
        quoted = known.get("Diagnostic-Code", "").startswith("smtp;")
        check(("Remote-MTA" in known) == quoted, "Remote-MTA")
    if len(parts) == 3:
        kind = parts[2].get_content_type()
        check(kind in ORIGINAL, kind)
        payload = parts[2].get_payload()
        original = payload[0] if isinstance(payload, list) else message_from_bytes(payload.encode("utf-8", "surrogateescape"))
        print(f"Original-Type={kind}")
        print(f"Original-Subject={original['Subject']}")


main()
