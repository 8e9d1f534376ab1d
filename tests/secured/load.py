"""The load generator of tests/bench/tls: each kind of handshake that it knows, on several threads.

It fails when a session does, when one is resumed that should not be, or the other way round.
"""
import json
import subprocess

COUNT = 64

CASES = {
    "full": ("full", "offer"),
    "resumed": ("resumed", "offer"),
    "full in 1.2": ("full", "offer", "--tls12"),
    "resumed in 1.2": ("resumed", "offer", "--tls12"),
    "hybrid group": ("full", "offer", "--group", "hybrid"),
    "smtps": ("full", "smtps", "--smtps"),
    "smtps resumed": ("resumed", "smtps", "--smtps"),
    "not encrypted": ("plain", "offer"),
}


def run(program, ports, options):
    mode, listener, *more = options
    done = subprocess.run([program, mode, "--to", f"127.0.0.1:{ports[listener]}", "--count", str(COUNT), *more],
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=120, text=True)
    if done.returncode:
        raise AssertionError(done.stderr.strip())
    if json.loads(done.stdout)["count"] != COUNT:
        raise AssertionError(done.stdout)
