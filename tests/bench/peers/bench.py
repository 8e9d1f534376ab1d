#!/usr/bin/env python3
"""Measure SMTP servers side by side on the same work.

Each server is described by one TOML file (see peers/*.toml and
product.toml.example).  Every measurement starts the server freshly on a wiped
queue, runs the work, and stops it again by the ids of its own processes; the
servers take turns inside each repetition, so drift of the machine hits all of
them.  Traffic is loopback only and every count is bounded.

Needs: python3 >= 3.11, smtp-source and smtp-sink (from the postfix package),
strace for `syscalls` and `fsync`, rustc for the latency tool, and cargo and openssl
for `handshake`.  Run as root.

Figures go to a JSON-lines file; `table` prints medians and ratios from it.
"""
import argparse, ctypes, json, os, re, resource, shlex, signal, socket, ssl, statistics
import subprocess, sys, tempfile, threading, time, tomllib

HERE = os.path.dirname(os.path.abspath(__file__))
CLK = os.sysconf("SC_CLK_TCK")


def log(*a):
    print(time.strftime("%H:%M:%S"), *a, file=sys.stderr, flush=True)


# ---------------------------------------------------------------- processes

def subreaper():
    """Orphans of the servers come to us, so that they stay findable."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def proc_table():
    t = {}
    for d in os.listdir("/proc"):
        if d.isdigit():
            try:
                s = open(f"/proc/{d}/stat").read()
            except OSError:
                continue
            r = s[s.rindex(")") + 2:].split()
            t[int(d)] = (int(r[1]), r[0], sum(map(int, r[11:15])))  # ppid, state, ticks
    return t


class Group:
    """The processes of one server: a cpuacct cgroup, cgroup v2, or a walk of /proc."""

    def __init__(self, name):
        self.kind, self.dir, self.root = "proc", None, None
        for kind, base in (("v1", "/sys/fs/cgroup/cpuacct"), ("v2", "/sys/fs/cgroup")):
            probe = "cpuacct.usage" if kind == "v1" else "cgroup.controllers"
            if os.path.exists(os.path.join(base, probe)):
                d = os.path.join(base, f"smtpbench-{os.getpid()}-{name}")
                try:
                    os.mkdir(d)
                    self.kind, self.dir = kind, d
                    break
                except OSError:
                    pass
        self.foreign = {p for p, v in proc_table().items() if v[0] == os.getpid()}

    def enter(self):
        if self.dir:
            with open(self.dir + "/cgroup.procs", "w") as f:
                f.write(str(os.getpid()))

    def pids(self):
        if self.dir:
            out = []
            for p in open(self.dir + "/cgroup.procs").read().split():
                try:
                    if open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()[0] != "Z":
                        out.append(int(p))
                except OSError:
                    pass
            return out
        t, me = proc_table(), os.getpid()
        keep = {self.root} if self.root in t else set()
        keep |= {p for p, v in t.items() if v[0] == me and p not in self.foreign and p not in GENERATORS}
        grew = True
        while grew:
            more = {p for p, v in t.items() if v[0] in keep} - keep
            keep |= more
            grew = bool(more)
        return [p for p in keep if p in t and t[p][1] != "Z"]

    def cpu(self):
        """CPU seconds (user + system) of the group so far."""
        if self.kind == "v1":
            return int(open(self.dir + "/cpuacct.usage").read()) / 1e9
        if self.kind == "v2":
            return int(re.search(r"usage_usec (\d+)", open(self.dir + "/cpu.stat").read())[1]) / 1e6
        t = proc_table()
        return sum(t[p][2] for p in self.pids() if p in t) / CLK

    def memory(self):
        """(PSS, RSS, private) in KiB over the group, and the number of processes."""
        pss = rss = priv = 0
        ps = self.pids()
        for p in ps:
            try:
                s = open(f"/proc/{p}/smaps_rollup").read()
            except OSError:
                continue
            g = lambda k: int(re.search(rf"^{k}:\s+(\d+)", s, re.M)[1])
            pss += g("Pss"); rss += g("Rss"); priv += g("Private_Clean") + g("Private_Dirty")
        return pss, rss, priv, len(ps)

    def reap(self):
        """Collect adopted orphans; never our own children that Popen waits for."""
        for p, v in proc_table().items():
            if v[0] == os.getpid() and v[1] == "Z" and p not in GENERATORS and p not in self.foreign:
                try:
                    os.waitpid(p, os.WNOHANG)
                except OSError:
                    pass

    def close(self):
        if self.dir:
            for _ in range(50):
                try:
                    os.rmdir(self.dir)
                    return
                except OSError:
                    self.reap()
                    time.sleep(0.02)


GENERATORS = {}  # our own children, by id


def popen(cmd, **kw):
    p = subprocess.Popen(cmd, **kw)
    GENERATORS[p.pid] = p
    return p


def sh(cmd, check=True, quiet=True):
    p = popen(cmd, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True)
    out, _ = p.communicate()
    GENERATORS.pop(p.pid, None)
    if check and p.returncode:
        raise RuntimeError(f"{cmd!r} exited {p.returncode}: {out[-400:]}")
    return out


class Server:
    def __init__(self, path, variables):
        self.s = tomllib.load(open(path, "rb"))
        self.name = self.s["name"]
        self.v = {**{k: str(v) for k, v in self.s.items() if isinstance(v, (str, int))}, **variables,
                  "here": os.path.dirname(os.path.abspath(path))}
        self.port = int(self.s["port"])
        self.group = self.proc = None

    def get(self, key, default=None):
        v = self.s.get(key, default)
        if not isinstance(v, str):
            return v
        for _ in range(3):
            v = re.sub(r"\{(\w+)\}", lambda m: self.v.get(m[1], m[0]), v)
        return v

    def hook(self, key):
        c = self.get(key)
        if c:
            sh(c)

    def start(self, mode="plain", wipe=True, limit=60):
        """Start and wait for the banner; returns seconds from spawn to '220'."""
        if wipe:
            self.hook("wipe")
            # What was removed is discarded by the file system's next commit, seconds later,
            # and holds up the syncs of whoever is measured then.
            os.sync()
        self.hook("pre")
        self.hook("pre_" + mode)
        if port_open(self.port):
            raise RuntimeError(f"{self.name}: something listens on {self.port} already")
        self.group = Group(self.name)
        t0 = time.perf_counter()
        self.proc = popen(shlex.split(self.get("start")), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=open(f"/tmp/smtpbench-{self.name}.err", "wb"), start_new_session=True,
                          preexec_fn=self.group.enter)
        self.group.root = self.proc.pid
        while True:
            try:
                c = socket.create_connection(("127.0.0.1", self.port), timeout=10)
                if c.recv(200)[:3] == b"220":
                    t1 = time.perf_counter()
                    c.sendall(b"QUIT\r\n"); c.recv(200); c.close()
                    break
            except OSError:
                pass
            if time.perf_counter() - t0 > limit:
                self.stop()
                raise RuntimeError(f"{self.name}: no banner; see /tmp/smtpbench-{self.name}.err")
            time.sleep(0.001)
        self.hook("post_" + mode)
        return t1 - t0

    def stop(self):
        if not self.group:
            return
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
        end = time.time() + 3
        while True:
            self.proc.poll()
            self.group.reap()
            ps = self.group.pids()
            if not ps:
                break
            if time.time() > end - 2.5:
                for p in ps:
                    try:
                        os.kill(p, signal.SIGKILL if time.time() > end else signal.SIGTERM)
                    except OSError:
                        pass
            time.sleep(0.02)
        self.proc.wait()
        GENERATORS.pop(self.proc.pid, None)
        self.group.close()
        self.group = self.proc = None


def port_open(port):
    """Does anything listen on 127.0.0.1:port?  Read from /proc, so nothing sees a connection."""
    want = f":{port:04X}"
    for f in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            for l in open(f):
                w = l.split()
                if w[3] == "0A" and w[1].endswith(want):
                    return True
        except OSError:
            pass
    return False


def wait_port(port, limit=5):
    end = time.time() + limit
    while not port_open(port):
        if time.time() > end:
            raise RuntimeError(f"nothing listens on {port}")
        time.sleep(0.01)


# ---------------------------------------------------------------- generators

def source(srv, n, m, size, rcpt, persist=False, limit=300):
    """smtp-source; returns seconds.  Raises if the server refused anything."""
    cmd = [A.source, "-s", str(n), "-m", str(m), "-l", str(size), "-f", "bench@client.test", "-t", rcpt]
    if persist:
        cmd.insert(1, "-d")
    t0 = time.perf_counter()
    p = popen(cmd + [f"127.0.0.1:{srv.port}"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        _, err = p.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        p.kill(); p.communicate()
        raise RuntimeError(f"{srv.name}: smtp-source ran past {limit} s")
    finally:
        GENERATORS.pop(p.pid, None)
    t1 = time.perf_counter()
    if p.returncode:
        raise RuntimeError(f"{srv.name}: smtp-source exited {p.returncode}: {err.decode()[-300:]}")
    return t1 - t0


def count_files(d):
    try:
        return sum(1 for _ in os.scandir(d))
    except OSError:
        return 0


def load_tool():
    exe = os.path.join(A.bin, "smtpload")
    src = os.path.join(HERE, "tools", "smtpload.rs")
    if not os.path.exists(exe) or os.path.getmtime(exe) < os.path.getmtime(src):
        os.makedirs(A.bin, exist_ok=True)
        subprocess.run(["rustc", "--edition", "2021", "-O", src, "-o", exe], check=True)
    return exe


def smtpload(*args, limit=300):
    p = popen([load_tool(), *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        out, err = p.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        p.kill(); p.communicate()
        raise RuntimeError("smtpload ran too long")
    finally:
        GENERATORS.pop(p.pid, None)
    if not out.strip():
        raise RuntimeError("smtpload: " + err[-300:])
    return json.loads(out)


def tls_tool():
    """tls-load, of this repository if no other is named."""
    if A.tls_load:
        return A.tls_load
    root = os.path.join(HERE, "..", "..", "..")
    subprocess.run(["cargo", "build", "--release", "-q", "-p", "smtpd-tests", "--bin", "tls-load"], cwd=root, check=True)
    return os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(root, "target")), "release", "tls-load")


def tls_load(tool, what, cpu=None, *args, limit=300):
    """Its figures, and the CPU seconds that cpu() went up by in the meantime.

    The tool first makes what is not to be counted, tickets for one, and then waits for a line.
    """
    wait = ["--wait"] if cpu else []
    p = popen([tool, what, *wait, *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        if cpu:
            p.stdout.readline()
            c0 = cpu()
        out, err = p.communicate("\n" if cpu else None, timeout=limit)
        spent = cpu() - c0 if cpu else None
    except subprocess.TimeoutExpired:
        p.kill(); p.communicate()
        raise RuntimeError("tls-load ran too long")
    finally:
        GENERATORS.pop(p.pid, None)
    if p.returncode:
        raise RuntimeError(err.strip()[-300:])
    return json.loads(out), spent


KEYS = {"rsa2048": ["rsa:2048"], "p256": ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]}


def make_key(kind, folder):
    """A key of that kind and a certificate of its own: two files of the folder."""
    cert, key = os.path.join(folder, kind + ".pem"), os.path.join(folder, kind + ".key")
    subprocess.run(["openssl", "req", "-x509", "-nodes", "-newkey", *KEYS[kind], "-days", "2", "-subj", "/CN=mx.bench.test", "-keyout", key, "-out", cert],
                   check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return cert, key


def install_key(srv, cert, key):
    """Puts both where the server reads them; a file that is there keeps owner and mode."""
    folder = srv.get("tls_dir")
    os.makedirs(folder, exist_ok=True)
    for path, name, mode in ((cert, "cert.pem", 0o644), (key, "key.pem", 0o600)):
        with open(path, "rb") as f, open(os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as g:
            g.write(f.read())


# ---------------------------------------------------------------- measurements

def record(what, srv, point, **fig):
    row = {"what": what, "server": srv if isinstance(srv, str) else srv.name, "point": point, **fig}
    with open(A.out, "a") as f:
        f.write(json.dumps(row) + "\n")
    log(what, row["server"], point, " ".join(f"{k}={v:.6g}" if isinstance(v, float) else f"{k}={v}" for k, v in fig.items() if not isinstance(v, dict)))


def each(servers, points, mode, fn):
    for rep in range(A.runs):
        for pt in points:
            for srv in servers:
                try:
                    srv.start(mode)
                    fn(srv, pt)
                except Exception as e:  # one server's failure is a result, not the end
                    record("error", srv, str(pt), error=str(e)[:300])
                finally:
                    srv.stop()


def parse_points(text, fields):
    """'10x1024x2000,50x1024x2000' -> [(10,1024,2000),...]"""
    out = []
    for w in text.split(","):
        t = tuple(int(x) for x in w.split("x"))
        if len(t) != fields:
            sys.exit(f"point {w!r}: want {fields} numbers joined by x")
        out.append(t)
    return out


def m_accept(servers):
    pts = parse_points(A.points, 3)

    def one(srv, pt):
        n, size, m = pt
        rcpt = srv.get("hold_rcpt")
        if not rcpt:
            return
        source(srv, min(n, 5), 20, size, rcpt)  # warm up
        c0 = srv.group.cpu()
        d = source(srv, n, m, size, rcpt, A.persist)
        c1 = srv.group.cpu()
        record("accept" + ("-persist" if A.persist else ""), srv, f"{n}x{size}", per_s=m / d, cpu_us=(c1 - c0) / m * 1e6, seconds=d, m=m)
    each(servers, pts, "hold", one)


def m_maildir(servers):
    pts = parse_points(A.points, 3)

    def one(srv, pt):
        n, size, m = pt
        rcpt, md = srv.get("local_rcpt"), srv.get("maildir")
        if not rcpt or not md:
            return
        source(srv, 1, 5, size, rcpt)
        end = time.time() + 30
        while count_files(md + "/new") < 5 and time.time() < end:
            time.sleep(0.02)
        base = count_files(md + "/new")
        if base < 5:
            raise RuntimeError(f"warm-up mail did not arrive in {md}/new")
        c0, t0 = srv.group.cpu(), time.perf_counter()
        acc = source(srv, n, m, size, rcpt, A.persist)
        end = time.time() + 300
        while (k := count_files(md + "/new") - base) < m and time.time() < end:
            time.sleep(0.01)
        d = time.perf_counter() - t0
        record("maildir" + ("-persist" if A.persist else ""), srv, f"{n}x{size}", per_s=k / d, accept_per_s=m / acc, cpu_us=(srv.group.cpu() - c0) / m * 1e6, seconds=d, delivered=k, m=m)
    each(servers, pts, "plain", one)


def m_relay(servers):
    pts = parse_points(A.points, 3)

    def one(srv, pt):
        n, size, m = pt
        rcpt, port = srv.get("relay_rcpt"), srv.get("relay_port")
        if not rcpt:
            return
        cmd = [A.sink, "-u", A.sink_user, "-M", str(m), f"127.0.0.1:{port}", "512"]
        sink = popen(cmd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_port(port)
            c0, t0 = srv.group.cpu(), time.perf_counter()
            acc = source(srv, n, m, size, rcpt, A.persist)
            try:
                sink.wait(timeout=300)
                left = 0
            except subprocess.TimeoutExpired:
                left = 1
            d = time.perf_counter() - t0
        finally:
            if sink.poll() is None:
                sink.terminate(); sink.wait()
            GENERATORS.pop(sink.pid, None)
        if left:
            raise RuntimeError("sink did not receive everything")
        record("relay" + ("-persist" if A.persist else ""), srv, f"{n}x{size}", per_s=m / d, accept_per_s=m / acc, cpu_us=(srv.group.cpu() - c0) / m * 1e6, seconds=d, m=m)
    each(servers, pts, "plain", one)


def m_latency(servers):
    pts = parse_points(A.points, 3)  # rate x size x count; rate 0 is one at a time

    def one(srv, pt):
        rate, size, m = pt
        c0 = srv.group.cpu()
        if A.path == "maildir":
            if not srv.get("maildir"):
                return
            r = smtpload("lat", "--target", f"127.0.0.1:{srv.port}", "--maildir", srv.get("maildir"), "--rcpt", srv.get("local_rcpt"), "--count", m, "--rate", rate, "--size", size, "--timeout", 10)
        else:
            if not srv.get("relay_rcpt"):
                return
            r = smtpload("lat", "--target", f"127.0.0.1:{srv.port}", "--sink", f"127.0.0.1:{srv.get('relay_port')}", "--rcpt", srv.get("relay_rcpt"), "--count", m, "--rate", rate, "--size", size, "--timeout", 10)
        a, v = r.get("accept") or {}, r.get("arrive") or {}
        record("latency-" + A.path, srv, f"rate{rate}", **{f"acc_{k}": a.get(k) for k in ("p50", "p99", "p999")}, **{f"e2e_{k}": v.get(k) for k in ("p50", "p99", "p999")}, errors=r["errors"], lost=r["lost"], cpu_us=(srv.group.cpu() - c0) / m * 1e6, first_error=r["first_error"])
    each(servers, pts, "plain", one)


def m_cmd(servers):
    def one(srv, m):
        r = smtpload("cmd", "--target", f"127.0.0.1:{srv.port}", "--rcpt", srv.get("hold_rcpt") or srv.get("local_rcpt"), "--count", m)
        if "error" in r:
            raise RuntimeError(r["error"])
        record("cmd", srv, "1conn", **{f"{k}_{q}": v[q] for k, v in r.items() for q in ("p50", "p99")})
    each(servers, [A.count], "hold", one)


def talk(s, line, buf):
    s.sendall(line)
    while True:
        d = s.recv(4096)
        if not d:
            raise OSError("closed")
        buf += d
        t = buf.split(b"\r\n")
        if len(t) > 1 and len(t[-2]) > 3 and t[-2][3:4] == b" ":
            return


def m_idle(servers):
    ctx = ssl.create_default_context()
    ctx.check_hostname, ctx.verify_mode = False, ssl.CERT_NONE

    def one(srv, pt):
        n, tls = pt
        if tls and not srv.get("starttls", True):
            return
        time.sleep(0.3)
        p0 = srv.group.memory()
        held, refused, t0 = [], "", time.perf_counter()
        try:
            for _ in range(n):
                s = socket.create_connection(("127.0.0.1", srv.port), timeout=20)
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if s.recv(512)[:3] != b"220":
                    raise OSError("no banner")
                talk(s, b"EHLO client.test\r\n", b"")
                if tls:
                    s.sendall(b"STARTTLS\r\n")
                    if s.recv(512)[:3] != b"220":
                        raise OSError("no STARTTLS")
                    s = ctx.wrap_socket(s)
                    talk(s, b"EHLO client.test\r\n", b"")
                held.append(s)
        except OSError as e:
            refused = str(e)
        took = time.perf_counter() - t0
        time.sleep(1)
        p1 = srv.group.memory()
        # is the server still quick for one more client?
        try:
            t = time.perf_counter()
            x = socket.create_connection(("127.0.0.1", srv.port), timeout=5)
            x.recv(512)
            talk(x, b"EHLO probe.test\r\n", b"")
            probe = (time.perf_counter() - t) * 1e6
            x.close()
        except OSError:
            probe = None
        for s in held:
            s.close()
        k = max(1, len(held))
        record("idle-tls" if tls else "idle", srv, str(n), held=len(held), pss_per_conn=(p1[0] - p0[0]) / k, rss_per_conn=(p1[1] - p0[1]) / k,
               base_pss=p0[0], base_procs=p0[3], procs=p1[3], conn_us=took / k * 1e6, probe_us=probe, refused=refused)
    pts = [(int(x), False) for x in A.conns.split(",") if x] + [(int(x), True) for x in A.tls.split(",") if x]
    each(servers, pts, "idle", one)


def m_handshake(servers):
    """Full and resumed handshakes beside the same sessions without TLS, for each kind of key.

    What a handshake costs is what a session with it costs above one without.  `memory` is a
    server of rustls without sockets.
    """
    tool = tls_tool()
    version = ["--tls12"] if A.tls12 else []
    name = "handshake12" if A.tls12 else "handshake"

    def one(srv, kind):
        plain = None
        for what in ("plain", "full", "resumed"):
            n = -(-A.count // A.sessions) * A.sessions
            to = ["--to", f"127.0.0.1:{srv.port}", "--sessions", A.sessions, "--count", n, "--group", A.group]
            try:
                r, cpu = tls_load(tool, what, srv.group.cpu, *version, *to)
            except RuntimeError as e:  # who cannot resume can still be measured otherwise
                record("error", srv, f"{kind}-{what}", error=str(e))
                continue
            us = cpu / n * 1e6
            if what == "plain":
                plain = us
                continue
            record(name, srv, f"{kind}-{what}", per_cpu_s=1e6 / us, per_s=n / r["seconds"], cpu_us=us, plain_us=plain, tls_us=us - plain, p50_us=r["p50_us"], p99_us=r["p99_us"])

    with tempfile.TemporaryDirectory(prefix="smtpbench-tls-") as folder:
        keys = {kind: make_key(kind, folder) for kind in A.keys.split(",")}
        for rep in range(A.runs):
            for kind, (cert, key) in keys.items():
                r, _ = tls_load(tool, "memory", None, *version, "--cert", cert, "--key", key, "--count", A.count, "--group", A.group)
                for what in ("full", "resumed"):
                    record(name, "memory", f"{kind}-{what}", per_cpu_s=1e6 / r[what + "_us"], cpu_us=r[what + "_us"], tls_us=r[what + "_us"])
                for srv in servers:
                    try:
                        install_key(srv, cert, key)
                        srv.start("plain")
                        one(srv, kind)
                    except Exception as e:  # one server's failure is a result, not the end
                        record("error", srv, kind, error=str(e)[:300])
                    finally:
                        srv.stop()


def m_start(servers):
    for rep in range(A.runs):
        for srv in servers:
            try:
                d = srv.start("plain")
                time.sleep(0.2)
                pss, rss, priv, n = srv.group.memory()
                record("start", srv, "empty", ms=d * 1e3, pss_kib=pss, rss_kib=rss, procs=n, cpu_ms=srv.group.cpu() * 1e3)
            except Exception as e:
                record("error", srv, "start", error=str(e)[:300])
            finally:
                srv.stop()


def m_grow(servers):
    steps = [int(x) for x in A.steps.split(",")]
    for srv in servers:
        try:
            srv.start("hold")
            rcpt, have = srv.get("hold_rcpt"), 0
            for k in steps:
                t0 = time.perf_counter()
                while have < k:
                    b = min(5000, k - have)
                    source(srv, 20, b, 1024, rcpt, srv.get("preload_persist", True), limit=600)
                    have += b
                fill = time.perf_counter() - t0
                rates, cpu = [], []
                for _ in range(A.runs):
                    c0 = srv.group.cpu()
                    rates.append(1000 / source(srv, 20, 1000, 1024, rcpt, False))
                    cpu.append((srv.group.cpu() - c0) / 1000 * 1e6)
                    have += 1000
                ql = None
                if srv.get("queue_list"):
                    t = time.perf_counter()
                    sh(srv.get("queue_list") + " >/dev/null 2>&1", check=False)
                    ql = time.perf_counter() - t
                pss = srv.group.memory()[0]
                record("grow", srv, str(k), per_s=statistics.median(rates), cpu_us=statistics.median(cpu), list_s=ql, pss_kib=pss, have=have, fill_s=fill)
            srv.stop()
            d = srv.start("hold", wipe=False, limit=120)
            time.sleep(1)
            record("grow-restart", srv, str(have), ms=d * 1e3, cpu_ms=srv.group.cpu() * 1e3)
        except Exception as e:
            record("error", srv, "grow", error=str(e)[:300])
        finally:
            srv.stop()
            srv.hook("wipe")


def strace_on(srv, args, out):
    p = popen([A.strace, "-f", *args, "-o", out, *sum((["-p", str(x)] for x in srv.group.pids()), [])], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.7)
    return p


def strace_off(p):
    p.send_signal(signal.SIGINT)
    p.wait()
    GENERATORS.pop(p.pid, None)


def m_syscalls(servers):
    """System calls per accepted message, and fsyncs, under strace -c."""
    def one(srv, pt):
        n, size, m = pt
        rcpt = srv.get("hold_rcpt") if A.path == "hold" else srv.get("local_rcpt") if A.path == "maildir" else srv.get("relay_rcpt")
        if not rcpt:
            return
        out = tempfile.mktemp(prefix="smtpbench-strace-")
        source(srv, min(n, 5), 20, size, rcpt)
        sink = None
        p = strace_on(srv, ["-c"], out)
        try:
            source(srv, n, m, size, rcpt, A.persist)
            time.sleep(1.0)
        finally:
            strace_off(p)
        calls = {}
        for l in open(out, errors="replace"):
            w = l.split()
            if len(w) >= 5 and re.match(r"^[\d.]+$", w[0]) and w[-1] != "total" and w[3].isdigit():
                calls[w[-1]] = calls.get(w[-1], 0) + int(w[3])
        os.unlink(out)
        tot = sum(calls.values())
        sy = sum(calls.get(k, 0) for k in ("fsync", "fdatasync", "sync_file_range", "msync"))
        top = sorted(calls.items(), key=lambda x: -x[1])[:14]
        record("syscalls-" + A.path + ("-persist" if A.persist else ""), srv, f"{n}x{size}", per_msg=tot / m, sync_per_msg=sy / m,
               fork_per_msg=sum(calls.get(k, 0) for k in ("clone", "fork", "vfork", "clone3")) / m, exec_per_msg=calls.get("execve", 0) / m,
               top=" ".join(f"{k}:{v / m:.1f}" for k, v in top))
    each(servers, parse_points(A.points, 3), "hold" if A.path == "hold" else "plain", one)


def m_fsync(servers):
    """Is there an fsync between the end of DATA and the 250?  One message under strace."""
    def one(srv, _):
        rcpt = srv.get("hold_rcpt") or srv.get("local_rcpt")
        out = tempfile.mktemp(prefix="smtpbench-fsync-")
        source(srv, 1, 3, 1024, rcpt)
        p = strace_on(srv, ["-ttt", "-s", "80", "-e", "trace=fsync,fdatasync,sync_file_range,msync,rename,renameat,renameat2,link,linkat,write,writev,sendto,sendmsg,open,openat"], out)
        try:
            source(srv, 1, 1, 1024, rcpt)
            time.sleep(0.5)
        finally:
            strace_off(p)
        seen354, ev, ok = False, [], False
        for l in open(out, errors="replace"):
            if re.search(r'"354[ -]', l):
                seen354 = True
                ev = []
            elif seen354 and re.search(r'(write|sendto|sendmsg|writev)\(.*"250[ -]', l):
                ok = True
                break
            elif seen354 and (m := re.search(r"\b(fsync|fdatasync|sync_file_range|msync|rename|renameat2?|link|linkat)(\(| resumed)", l)) and "unfinished" not in l:
                ev.append(m[1])
        os.rename(out, f"/tmp/smtpbench-fsync-{srv.name}.txt")
        sync = sum(e in ("fsync", "fdatasync", "msync") for e in ev)
        record("fsync", srv, "1 message", before_250=sync, order=" ".join(ev), saw_250=ok)
    each(servers, [0], "hold", one)


def m_limits(_):
    """No server: the generator's ceiling, the disk, and the loopback."""
    for rep in range(A.runs):
        for n, size, m in parse_points(A.points, 3):
            for persist in (False, True):
                sink = popen([A.sink, "-u", A.sink_user, "127.0.0.1:2599", "512"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                try:
                    wait_port(2599)
                    fake = type("S", (), {"name": "smtp-sink", "port": 2599})
                    d = source(fake, n, m, size, "u@relay.test", persist)
                    record("ceiling" + ("-persist" if persist else ""), "smtp-sink", f"{n}x{size}", per_s=m / d, mib_s=m * size / d / 2**20)
                finally:
                    sink.terminate(); sink.wait(); GENERATORS.pop(sink.pid, None)
        r = smtpload("rtt", "--count", 20000)["rtt"]
        record("rtt", "loopback", "1 byte", p50=r["p50"], p99=r["p99"], p999=r["p999"])
        for row in json.loads(sh(f"{shlex.quote(sys.executable)} {shlex.quote(HERE)}/tools/diskrate.py --json --dir {shlex.quote(A.disk)}")):
            record("disk", "disk", row["what"], per_s=row["per_s"], records_s=row["records_s"])


def m_table(_):
    rows = [json.loads(l) for l in open(A.out)]
    by = {}
    for r in rows:
        if r["what"] != "error":
            by.setdefault(r["what"], {}).setdefault(r["point"], {}).setdefault(r["server"], []).append(r)
    for what in by:
        if A.only and what not in A.only.split(","):
            continue
        keys = []
        for pt in by[what].values():
            for rs in pt.values():
                for k in rs[0]:
                    if k not in ("what", "server", "point", "m", "seconds") and k not in keys:
                        keys.append(k)
        print(f"\n## {what}\n")
        print("| point | server | runs | " + " | ".join(keys) + (f" | {keys[0]} vs {A.base} |" if A.base else " |"))
        print("|---" * (len(keys) + 3 + bool(A.base)) + "|")
        for pt, ss in by[what].items():
            def med(rs, k):
                v = [r.get(k) for r in rs if isinstance(r.get(k), (int, float))]
                return statistics.median(v) if v else None
            b = med(ss[A.base], keys[0]) if A.base in ss else None
            for s, rs in ss.items():
                cells = []
                for k in keys:
                    m = med(rs, k)
                    if m is None:
                        cells.append(str(rs[-1].get(k, "")) or "-")
                        continue
                    c = f"{m:,.0f}" if abs(m) >= 100 else f"{m:.3g}"
                    v = [r[k] for r in rs if isinstance(r.get(k), (int, float))]
                    if k == keys[0] and len(v) > 1:
                        c += f" ({min(v):,.4g}–{max(v):,.4g})"
                    cells.append(c)
                m0 = med(rs, keys[0])
                ratio = (f" {m0 / b:.2f} |" if b and m0 is not None else " - |") if A.base else ""
                print(f"| {pt} | {s} | {len(rs)} | " + " | ".join(cells) + " |" + ratio)
    errs = [r for r in rows if r["what"] == "error"]
    if errs:
        print("\n## errors\n")
        for e in errs:
            print(f"- {e['server']} {e['point']}: {e['error']}")


MODES = {
    "limits": (m_limits, "generator ceiling, disk sync rate, loopback round trip", {"points": "10x1024x5000,50x1024x5000,50x102400x1000"}),
    "accept": (m_accept, "durable accept throughput into a held queue", {"points": "1x1024x500,10x1024x2000,50x1024x2000,100x1024x2000,500x1024x2000,50x10240x2000,50x102400x600,50x1048576x100"}),
    "maildir": (m_maildir, "accept + delivery until all are in Maildir/new", {"points": "10x1024x1000,50x10240x1000"}),
    "relay": (m_relay, "source -> server -> smtp-sink until the sink has all", {"points": "10x1024x1000,50x10240x1000"}),
    "latency": (m_latency, "latency of one message: accepted, and arrived (RATExSIZExCOUNT; rate 0 = one at a time)", {"points": "0x1024x500,100x1024x1000"}),
    "cmd": (m_cmd, "latency of each command on one connection", {}),
    "idle": (m_idle, "memory per idle session", {}),
    "handshake": (m_handshake, "TLS handshakes: rate, and CPU time of each", {}),
    "start": (m_start, "process start to first banner, idle footprint", {}),
    "grow": (m_grow, "accept rate and listing time with a queue already full", {}),
    "syscalls": (m_syscalls, "system calls and syncs per message (strace -c)", {"points": "10x1024x200"}),
    "fsync": (m_fsync, "is there a sync between end of DATA and 250", {}),
    "table": (m_table, "print medians and ratios from the results file", {}),
}


def main():
    global A
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = ap.add_subparsers(dest="mode", required=True)
    for k, (fn, doc, d) in MODES.items():
        p = sub.add_parser(k, help=doc, description=doc, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        p.add_argument("--out", default="results.jsonl", help="results file, appended to")
        if k == "table":
            p.add_argument("--base", default="", help="server whose figures are 1.00 in the ratio column")
            p.add_argument("--only", default="", help="comma list of measurements")
            continue
        if k != "limits":
            p.add_argument("--server", action="append", default=[], metavar="FILE.toml", required=True, help="server description; repeat for each")
            p.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="variable for the {NAME} in the descriptions")
        p.add_argument("--runs", type=int, default=3, help="repetitions (grow: per step)")
        p.add_argument("--source", default="smtp-source", help="smtp-source program")
        p.add_argument("--sink", default="smtp-sink", help="smtp-sink program")
        p.add_argument("--sink-user", default="nobody", help="user that smtp-sink runs as")
        p.add_argument("--strace", default="strace", help="strace program")
        p.add_argument("--bin", default="/tmp/smtpbench-bin", help="where smtpload is built")
        p.add_argument("--persist", action="store_true", help="keep connections open between messages (smtp-source -d)")
        if "points" in d:
            p.add_argument("--points", default=d["points"], help="comma list of SESSIONSxSIZExMESSAGES")
        if k == "limits":
            p.add_argument("--disk", default="/var/tmp", help="folder on the disk to measure")
        if k in ("latency", "syscalls"):
            p.add_argument("--path", default="relay" if k == "latency" else "hold", choices=["relay", "maildir", "hold"], help="which way the mail goes")
        if k == "cmd":
            p.add_argument("--count", type=int, default=1000, help="transactions")
        if k == "idle":
            p.add_argument("--conns", default="1000,10000", help="plain sessions to hold")
            p.add_argument("--tls", default="1000", help="STARTTLS sessions to hold")
        if k == "handshake":
            p.add_argument("--tls-load", default="", help="that program, ready made (default: a release build)")
            p.add_argument("--keys", default=",".join(KEYS), help="kinds of keys")
            p.add_argument("--count", type=int, default=3000, help="sessions of each kind in a run")
            p.add_argument("--sessions", type=int, default=4, help="at once")
            p.add_argument("--group", default="x25519", choices=["x25519", "p256", "hybrid"], help="of the key exchange")
            p.add_argument("--tls12", action="store_true", help="TLS 1.2, not 1.3")
        if k == "grow":
            p.add_argument("--steps", default="0,10000,100000", help="queue lengths")
    A = ap.parse_args()
    fn = MODES[A.mode][0]
    if A.mode in ("table", "limits"):
        A.mode == "limits" and subreaper()
        return fn(None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` stops the server
    subreaper()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # `idle` holds thousands of sockets, and so does the server
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    v = dict(x.split("=", 1) for x in A.set)
    servers = [Server(f, v) for f in A.server]
    try:
        fn(servers)
    finally:
        for s in servers:
            s.stop()
        for p in list(GENERATORS.values()):
            if p.poll() is None:
                p.kill()
                p.wait()


if __name__ == "__main__":
    main()
