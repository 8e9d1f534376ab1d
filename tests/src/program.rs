//! The real programs on loopback: built once, started on a free port and a fresh directory, ended
//! by their id when the test ends, however it ends.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

pub use crate::client::{Client, Secured};

/// How long a test waits for what must happen in the end; generous, as the machine may be loaded.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A directory that goes when the value does.
pub struct TempDir(PathBuf);

impl TempDir {
    /// Makes one below the system's folder for such things (TMPDIR).
    #[must_use]
    pub fn new() -> TempDir {
        TempDir::below(&std::env::temp_dir())
    }

    /// Makes one below `parent`.
    #[must_use]
    pub fn below(parent: &Path) -> TempDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("hermes-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = parent.join(name);
        fs::create_dir_all(&path).expect("a temporary directory");
        TempDir(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for TempDir {
    fn default() -> TempDir {
        TempDir::new()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The root of the repository.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository")
}

/// The path of a program of ours, brought up to date first: a test of its own package would find
/// it built, this crate must ask.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut build = Command::new(cargo);
            build.current_dir(repository()).args(["build", "-q", "-p", "smtpd", "--bins"]);
            if !cfg!(debug_assertions) {
                build.arg("--release");
            }
            // What cargo tells this test of its package. A build script that looks at it (ring's)
            // would take it for a change, and be built anew, with all that stands on it.
            for (name, _) in std::env::vars_os() {
                let text = name.to_string_lossy();
                if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                    build.env_remove(name);
                }
            }
            assert!(build.status().expect("cargo runs").success(), "the programs do not build");
            let test = std::env::current_exe().expect("our own path");
            let deps = test.parent().expect("a test lies in deps/");
            deps.parent().expect("deps/ lies beside the programs").to_owned()
        })
        .join(name)
}

/// A port on 127.0.0.1 that nobody listens on at the moment.
#[must_use]
pub fn free_port() -> u16 {
    let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    probe.local_addr().expect("its address").port()
}

/// A running smtpd.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its `dir`: spool, control socket and Maildirs are below.
    pub dir: PathBuf,
    /// From its start to the first banner that was seen.
    pub banner: Duration,
    programs: Option<PathBuf>,
    log: Arc<Mutex<Vec<String>>>,
    _temporary: Option<TempDir>,
}

/// What to start.
#[derive(Default)]
pub struct Options {
    /// The configuration; etc/quickstart.conf when none. It must use the macros `port` and `dir`.
    pub config: Option<PathBuf>,
    /// The directory to use, kept afterwards; a temporary one when none.
    pub dir: Option<PathBuf>,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// The folder of the programs; those that cargo builds when none.
    pub programs: Option<PathBuf>,
    /// How many lines of the log are kept; all when none.
    pub lines: Option<usize>,
}

impl Server {
    /// Starts the quickstart configuration on a fresh directory.
    #[must_use]
    pub fn quickstart() -> Server {
        Server::start(Options::default())
    }

    /// Starts a server and waits for its banner.
    #[must_use]
    pub fn start(options: Options) -> Server {
        let temporary = options.dir.is_none().then(TempDir::new);
        let dir = match (&options.dir, &temporary) {
            (Some(dir), _) => dir.clone(),
            (None, Some(temporary)) => temporary.path().to_owned(),
            (None, None) => unreachable!("one of the two was just made"),
        };
        let config = options.config.unwrap_or_else(|| repository().join("etc/quickstart.conf"));
        // Another process may take the free port between our look and the bind: try again.
        for _ in 0..10 {
            let port = free_port();
            let mut command = Command::new(program_of(options.programs.as_deref(), "smtpd"));
            command.arg("-d").arg("-f").arg(&config);
            command.arg("-D").arg(format!("port={port}"));
            command.arg("-D").arg(format!("dir={}", dir.display()));
            command.args(&options.arguments).envs(options.environment.iter().cloned());
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            let begun = Instant::now();
            let mut child = command.spawn().expect("smtpd starts");
            let log = collect(&mut child, options.lines.unwrap_or(usize::MAX));
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            match wait_for_banner(&mut child, address) {
                None => {
                    let (banner, programs) = (begun.elapsed(), options.programs);
                    let _temporary = temporary;
                    return Server { child, address, dir, banner, programs, log, _temporary };
                }
                Some(status) => {
                    thread::sleep(Duration::from_millis(50));
                    let log = log.lock().expect("the log").join("\n");
                    assert!(log.contains("cannot bind"), "smtpd ended with {status}:\n{log}");
                }
            }
        }
        panic!("no free port in ten tries");
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("the log").clone()
    }

    /// Waits until a line of the log holds `text`.
    ///
    /// # Panics
    /// When it does not come in time.
    pub fn wait_for_log(&self, text: &str) {
        eventually(&format!("a log line with {text:?}"), || {
            self.log().iter().any(|line| line.contains(text))
        });
    }

    /// Ends the process at once, as a crash would (SIGKILL).
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status();
        assert!(status.expect("kill runs").success());
    }

    /// Ends the process in order (SIGTERM) and returns its status.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Waits for the process to end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status;
            }
            assert!(Instant::now() < end, "smtpd does not end:\n{}", self.log().join("\n"));
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Opens a session and reads the banner.
    #[must_use]
    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Runs smtpctl against this server: exit status, standard output, standard error.
    #[must_use]
    pub fn smtpctl(&self, arguments: &[&str]) -> (ExitStatus, String, String) {
        let output = Command::new(program_of(self.programs.as_deref(), "smtpctl"))
            .arg("-s")
            .arg(self.dir.join("smtpd.sock"))
            .args(arguments)
            .output()
            .expect("smtpctl starts");
        (
            output.status,
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    /// Waits until the queue is empty.
    ///
    /// # Panics
    /// When it is not in time.
    pub fn wait_for_empty_queue(&self, patience: Duration) {
        let end = Instant::now() + patience;
        loop {
            let (status, queue, error) = self.smtpctl(&["show", "queue"]);
            assert!(status.success(), "show queue: {error}");
            if queue.is_empty() {
                return;
            }
            if Instant::now() >= end {
                let (first, log) = (queue.lines().next().unwrap_or_default(), self.log());
                let log = log[log.len().saturating_sub(30)..].join("\n");
                panic!("{} envelopes left, such as {first}\n{log}", queue.lines().count());
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// The messages in a user's Maildir (`new`), sorted by name.
    #[must_use]
    pub fn maildir(&self, user: &str) -> Vec<PathBuf> {
        messages(&self.dir.join("mail").join(user))
    }

    /// Waits until `count` messages are in a user's Maildir and returns them.
    ///
    /// # Panics
    /// When they do not come in time.
    #[must_use]
    pub fn wait_for_mail(&self, user: &str, count: usize) -> Vec<PathBuf> {
        let end = Instant::now() + PATIENCE;
        loop {
            let found = self.maildir(user);
            if found.len() >= count {
                return found;
            }
            assert!(
                Instant::now() < end,
                "{} of {count} messages for {user}; the log:\n{}",
                found.len(),
                self.log().join("\n")
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The messages in `new/` of a Maildir, sorted by name; none while it does not exist.
#[must_use]
pub fn messages(maildir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(maildir.join("new")) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    found.sort();
    found
}

/// Waits until `done` says so.
///
/// # Panics
/// When it does not in time.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn program_of(folder: Option<&Path>, name: &str) -> PathBuf {
    folder.map_or_else(|| program(name), |folder| folder.join(name))
}

fn collect(child: &mut Child, most: usize) -> Arc<Mutex<Vec<String>>> {
    let log = Arc::new(Mutex::new(Vec::new()));
    let stderr = child.stderr.take().expect("it is piped");
    let lines = log.clone();
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut lines = lines.lock().expect("the log");
            if lines.len() >= most {
                // Half of it, so that this is rare.
                lines.drain(..most.div_ceil(2));
            }
            lines.push(line);
        }
    });
    log
}

fn wait_for_banner(child: &mut Child, address: SocketAddr) -> Option<ExitStatus> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("our child") {
            return Some(status);
        }
        if let Ok(mut client) = TcpStream::connect(address) {
            let mut reply = [0; 3];
            if client.read_exact(&mut reply).is_ok() && &reply == b"220" {
                return None;
            }
        }
        assert!(Instant::now() < end, "no banner");
        thread::sleep(Duration::from_millis(2));
    }
}
