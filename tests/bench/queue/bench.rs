//! What every point needs: a folder on the disk that is measured, queues that are filled, daemons
//! that run on them, and load.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use smtpd_tests::program::{self, Server, TempDir};

use crate::options::Options;
use crate::usage;

/// Where Maildirs cost no disk.
const MEMORY: &str = "/dev/shm";
/// Log lines that are kept for an error.
const LINES: usize = 200;
/// How long a daemon has to come to rest.
const REST: Duration = Duration::from_secs(280);

/// See the module. Its folders go when the value does.
pub struct Bench<'a> {
    pub options: &'a Options,
    programs: PathBuf,
    disk: TempDir,
    memory: TempDir,
}

impl<'a> Bench<'a> {
    pub fn new(options: &'a Options) -> Result<Bench<'a>, String> {
        let ours = std::env::current_exe().map_err(|error| error.to_string())?;
        let beside = ours.parent().map(Path::to_owned).unwrap_or_default();
        let programs = options.programs.clone().unwrap_or(beside);
        for name in ["smtpd", "smtpctl", "queue-fill", "smtp-load"] {
            if !programs.join(name).exists() {
                return Err(format!("no {name} in {}", programs.display()));
            }
        }
        let (disk, memory) = (TempDir::below(&options.dir), TempDir::below(Path::new(MEMORY)));
        Ok(Bench { options, programs, disk, memory })
    }

    /// The folder of a daemon; it may not be there yet.
    pub fn dir(&self, name: &str) -> PathBuf {
        self.disk.path().join(name)
    }

    /// The Maildir of a local part at bench.test.
    pub fn maildir(&self, user: &str) -> PathBuf {
        self.memory.path().join(user)
    }

    /// Below which all Maildirs are.
    pub fn mail(&self) -> &Path {
        self.memory.path()
    }

    /// Adds messages to the queue of a daemon that is down. The options are those of queue-fill.
    pub fn fill(&self, name: &str, messages: usize, options: &[&str]) -> Result<(), String> {
        let spool = self.dir(name).join("spool");
        fs::create_dir_all(&spool).map_err(|error| format!("{}: {error}", spool.display()))?;
        let mut command = Command::new(self.programs.join("queue-fill"));
        command.arg(&spool).arg(messages.to_string()).args(options);
        output(&mut command).map(drop)
    }

    /// Starts a daemon on a folder.
    pub fn start(&self, name: &str) -> Result<Server, String> {
        let dir = self.dir(name);
        fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let config = self.disk.path().join("smtpd.conf");
        let text = format!(
            "port = \"2525\"\ndir = \"/nowhere\"\n\
             daemon user root\nqueue directory $dir/spool\ncontrol socket $dir/smtpd.sock\n\
             smtp limit max-mails 1000000 max-rcpt 1000\n\
             listen on 127.0.0.1 port $port hostname mx.bench.test\n\
             action \"local\" maildir \"{}/%{{dest.user}}\" userbase any\n\
             action \"relay\" relay host smtp://127.0.0.1:2606\n\
             match from any for domain \"bench.test\" action \"local\"\n\
             match from any for domain \"relay.test\" action \"relay\"\n",
            self.memory.path().display()
        );
        fs::write(&config, text).map_err(|error| format!("{}: {error}", config.display()))?;
        Ok(Server::start(program::Options {
            config: Some(config),
            dir: Some(dir),
            programs: Some(self.programs.clone()),
            lines: Some(LINES),
            ..program::Options::default()
        }))
    }

    /// Waits until a daemon has nothing to do any more: it has used next to no processor time for
    /// a second. Gives the time until then, without that second.
    pub fn rest(&self, server: &Server) -> Result<Duration, String> {
        let begun = Instant::now();
        let (mut busy, mut last) = (Duration::ZERO, usage::cpu(server.id())?);
        while begun.elapsed() < REST {
            thread::sleep(Duration::from_millis(100));
            let now = usage::cpu(server.id())?;
            // A tick of the clock in which something small was done is none.
            if now > last + usage::TICK {
                (busy, last) = (begun.elapsed(), now);
            } else if begun.elapsed() > busy + Duration::from_secs(1) {
                return Ok(busy);
            }
        }
        Err("the daemon does not come to rest".to_owned())
    }

    /// Sends messages and gives how many were accepted in a second.
    pub fn load(
        &self,
        server: &Server,
        to: &str,
        sessions: usize,
        messages: usize,
        size: usize,
    ) -> Result<f64, String> {
        let mut command = Command::new(self.programs.join("smtp-load"));
        command.args(["send", "--json", "--limit", "1000", "--warm", "0"]);
        command.args(["--to", &server.address.to_string(), "--rcpt", to]);
        for (name, value) in [("--sessions", sessions), ("--messages", messages), ("--size", size)]
        {
            command.args([name, &value.to_string()]);
        }
        let text = output(&mut command)?;
        let rate = text
            .split("\"messages/s\":")
            .nth(1)
            .and_then(|rest| rest.split([',', '}']).next()?.parse().ok());
        rate.ok_or_else(|| format!("smtp-load says {text}"))
    }

    /// Runs smtpctl, whose command must succeed.
    pub fn ctl(&self, server: &Server, arguments: &[&str]) -> Result<String, String> {
        let (status, out, error) = server.smtpctl(arguments);
        if status.success() { Ok(out) } else { Err(format!("smtpctl: {error}")) }
    }
}

/// What a program prints, which must succeed.
fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| format!("{name}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
