//! One run of a table's program, from its start to its end.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Instant, SystemTime};

use smtpd_config::table::Service;

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

/// Lines of a handshake; there are thirteen services.
const REGISTRATIONS: usize = 64;

/// A running program. Ends with it.
pub struct Program {
    child: Child,
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
        let child = command.stdin(OwnedFd::from(theirs)).stdout(OwnedFd::from(output)).spawn()?;
        // It holds their end of the stream; with it open here, no end would ever be seen.
        drop(command);
        let services = Vec::new();
        let mut program = Program { child, stream, read: Vec::new(), services, next_id: 0 };
        program.handshake(table, until)?;
        Ok(program)
    }

    fn handshake(&mut self, table: &str, until: Instant) -> io::Result<()> {
        let hello = format!(
            "config|smtpd-version|{}\nconfig|protocol|0.1\nconfig|tablename|{table}\nconfig|ready\n",
            crate::VERSION
        );
        self.write(&hello, until)?;
        for _ in 0..REGISTRATIONS {
            let said = self.line(until)?;
            let name = said.strip_prefix("register|").ok_or_else(|| bad("no handshake"))?;
            if name == "ready" {
                return match self.services.is_empty() {
                    true => Err(bad("no services registered")),
                    false => Ok(()),
                };
            }
            let service = line::service(name).ok_or_else(|| bad("unknown service"))?;
            self.services.extend(service);
        }
        Err(bad("a handshake without an end"))
    }

    /// Whether it has registered that service.
    pub fn serves(&self, service: Service) -> bool {
        self.services.contains(&service)
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
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
        let question =
            format!("table|0.1|{seconds}.{micros:06}|{table}|{word}|{service}|{id}|{key}\n");
        if !self.read.is_empty() {
            return Err(bad("it speaks without being asked"));
        }
        self.write(&question, until)?;
        let answer = self.line(until)?;
        line::answer(&answer, operation, &id).map_err(bad)
    }

    fn write(&mut self, mut text: &str, until: Instant) -> io::Result<()> {
        while !text.is_empty() {
            self.stream.set_write_timeout(Some(left(until)?))?;
            match self.stream.write(text.as_bytes()) {
                Ok(octets) => text = text.get(octets..).ok_or_else(|| bad("a cut character"))?,
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
        // What has ended already is only to be waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
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
