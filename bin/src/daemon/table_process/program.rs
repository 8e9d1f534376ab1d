//! One run of a table's program, from its start to its end.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process_group};
use smtpd_config::table::Service;
use zeroize::Zeroizing;

use super::line::{self, Operation, Said};

/// Where the programs `table-NAME` are: of packages on the BSDs, and on Linux.
const LIBEXEC: [&str; 4] = [
    "/usr/local/libexec/smtpd",
    "/usr/libexec/smtpd",
    "/usr/libexec/opensmtpd",
    "/usr/lib/opensmtpd",
];

/// Octets of one line: an alias value of 2 KiB and what is before it fit many times.
const LINE: usize = 16 << 10;

/// Octets of a question without its key, at the most.
const QUESTION: usize = 1 << 10;

/// Lines of a handshake; there are thirteen services.
const REGISTRATIONS: usize = 64;

/// The programs that run, each the leader of a group of processes: what it starts ends with it.
#[derive(Default)]
pub struct Groups(Mutex<Running>);

#[derive(Default)]
struct Running {
    leaders: Vec<Pid>,
    /// The daemon ends, and nothing is started any more.
    over: bool,
}

impl Groups {
    /// Ends all of them, for good.
    pub fn end(&self) {
        let mut running = self.lock();
        running.over = true;
        // Their keepers wait for them, or the process ends.
        for leader in &running.leaders {
            let _ = kill_process_group(*leader, Signal::KILL);
        }
    }

    fn start(&self, command: &mut Command) -> io::Result<Child> {
        let mut running = self.lock();
        if running.over {
            return Err(bad("the daemon ends"));
        }
        let child = command.process_group(0).spawn()?;
        running.leaders.push(Pid::from_child(&child));
        Ok(child)
    }

    /// Ends one that nobody has waited for yet, so that its number is nobody else's.
    fn end_one(&self, child: &mut Child) {
        let leader = Pid::from_child(child);
        let mut running = self.lock();
        let _ = kill_process_group(leader, Signal::KILL);
        let _ = child.wait();
        running.leaders.retain(|other| *other != leader);
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running program. Ends with it.
pub struct Program {
    child: Child,
    groups: Arc<Groups>,
    stream: UnixStream,
    /// What has been read of lines that are not whole yet.
    read: Vec<u8>,
    services: Vec<Service>,
    next_id: u32,
}

impl Program {
    /// Starts a program and hears what it serves.
    ///
    /// # Errors
    /// The system's; a handshake that is none or takes too long.
    pub fn start(
        table: &str,
        backend: &str,
        parameter: Option<&str>,
        groups: &Arc<Groups>,
        until: Instant,
    ) -> io::Result<Program> {
        let mut command = match (backend, parameter) {
            ("proc-exec", Some(command)) => {
                let mut shell = Command::new("/bin/sh");
                shell.arg("-c").arg(format!("exec {command}"));
                shell
            }
            _ => {
                let mut command = Command::new(find(backend).ok_or(io::ErrorKind::NotFound)?);
                command.arg0(table).args(parameter);
                command
            }
        };
        let (stream, theirs) = UnixStream::pair()?;
        let output = theirs.try_clone()?;
        command.stdin(OwnedFd::from(theirs)).stdout(OwnedFd::from(output));
        let child = groups.start(&mut command)?;
        // It holds their end of the stream; with it open here, no end would ever be seen.
        drop(command);
        let (read, services, groups) = (Vec::new(), Vec::new(), groups.clone());
        let mut program = Program { child, groups, stream, read, services, next_id: 0 };
        program.handshake(table, until)?;
        Ok(program)
    }

    fn handshake(&mut self, table: &str, until: Instant) -> io::Result<()> {
        let hello = format!(
            "config|smtpd-version|{}\nconfig|protocol|0.1\nconfig|tablename|{table}\nconfig|ready\n",
            crate::VERSION
        );
        self.write(hello.as_bytes(), until)?;
        for _ in 0..REGISTRATIONS {
            let said = self.line(until)?;
            let name = said.strip_prefix("register|").ok_or_else(|| bad("no handshake"))?;
            if name == "ready" {
                return match self.services.is_empty() {
                    true => Err(bad("no services registered")),
                    false => Ok(()),
                };
            }
            self.services.push(line::service(name).ok_or_else(|| bad("unknown service"))?);
        }
        Err(bad("a handshake without an end"))
    }

    /// Whether it has registered that service.
    pub fn serves(&self, service: Service) -> bool {
        self.services.contains(&service)
    }

    /// Whether it has ended by itself, or at least closed its side.
    pub fn has_ended(&mut self) -> bool {
        let mut octets = [0; 64];
        let read = self.stream.set_nonblocking(true).and_then(|()| self.stream.read(&mut octets));
        let ended = match read {
            Ok(0) => true,
            Ok(read) => {
                self.read.extend_from_slice(&octets[..read]);
                false
            }
            Err(error) => again(error).is_err(),
        };
        ended || self.stream.set_nonblocking(false).is_err()
    }

    /// Asks about a key, which must be safe ([`line::is_safe`]).
    ///
    /// # Errors
    /// When there is no answer by then, or one that is none: the program is to be ended.
    pub fn ask(
        &mut self,
        table: &str,
        operation: Operation,
        service: Service,
        key: &str,
        until: Instant,
    ) -> io::Result<Said> {
        self.next_id = self.next_id.wrapping_add(1);
        let id = format!("{:08x}", self.next_id);
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (seconds, micros) = (time.as_secs(), time.subsec_micros());
        let (word, service) = (operation.word(), line::name(service));
        let mut question = Zeroizing::new(String::with_capacity(QUESTION + key.len()));
        // There is room, so that no copy of what may be a password is left behind.
        write!(question, "table|0.1|{seconds}.{micros:06}|{table}|{word}|{service}|{id}")
            .map_err(io::Error::other)?;
        if operation != Operation::Fetch {
            question.extend(["|", key]);
        }
        question.push('\n');
        if !self.read.is_empty() {
            return Err(bad("it speaks without being asked"));
        }
        self.write(question.as_bytes(), until)?;
        let answer = self.line(until)?;
        line::answer(&answer, operation, &id).map_err(bad)
    }

    fn write(&mut self, mut octets: &[u8], until: Instant) -> io::Result<()> {
        while !octets.is_empty() {
            self.stream.set_write_timeout(Some(left(until)?))?;
            match self.stream.write(octets) {
                Ok(written) => octets = &octets[written..],
                Err(error) => again(error)?,
            }
        }
        Ok(())
    }

    /// The next line, without its end.
    fn line(&mut self, until: Instant) -> io::Result<String> {
        loop {
            if let Some(end) = self.read.iter().position(|octet| *octet == b'\n') {
                let rest = self.read.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.read, rest);
                line.pop();
                return String::from_utf8(line).map_err(|_| bad("a line that is not UTF-8"));
            }
            if self.read.len() >= LINE {
                return Err(bad("a line without an end"));
            }
            self.stream.set_read_timeout(Some(left(until)?))?;
            let mut octets = [0; 4_096];
            match self.stream.read(&mut octets) {
                Ok(0) => return Err(bad("it has ended")),
                Ok(read) => self.read.extend_from_slice(&octets[..read]),
                Err(error) => again(error)?,
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.groups.end_one(&mut self.child);
    }
}

fn find(backend: &str) -> Option<PathBuf> {
    // A name, not a path out of these directories.
    let is_name = backend.bytes().all(|o| o.is_ascii_alphanumeric() || b"-_.".contains(&o));
    let name = is_name.then(|| format!("table-{backend}"))?;
    LIBEXEC.iter().map(|directory| PathBuf::from(directory).join(&name)).find(|path| {
        path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    })
}

/// How long it is until then.
fn left(until: Instant) -> io::Result<std::time::Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer"));
    }
    Ok(left)
}

/// Errors after which it is tried once more; whether there is time left is seen then.
fn again(error: io::Error) -> io::Result<()> {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    match error.kind() {
        Interrupted | TimedOut | WouldBlock => Ok(()),
        _ => Err(error),
    }
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
