//! Sessions that have said EHLO and then nothing: what each costs in memory.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::figures::{Figures, Times};
use crate::options::Options;
use crate::process::Family;

/// How long a server may take for one reply here.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the server is left alone before its memory is read: buffers may be given back.
const SETTLE: Duration = Duration::from_secs(1);
/// Commands of the one session that asks whether the server is still quick.
const PROBES: usize = 1000;

/// Holds `--sessions` sessions and reads the server's memory before and with them.
pub fn run(options: &Options) -> Result<Figures, String> {
    allow_descriptors().map_err(|error| format!("limit of open files: {error}"))?;
    let family = Family::of(&options.pids);
    let before = family.pss()?;
    let mut held = Vec::with_capacity(options.sessions);
    let start = Instant::now();
    for count in 0..options.sessions {
        let session = greet(options).map_err(|error| format!("session {count}: {error}"))?;
        held.push(session);
        if start.elapsed() > options.limit {
            return Err(format!("{count} sessions when the time was up"));
        }
    }
    let took = start.elapsed();
    thread::sleep(SETTLE);
    let with = family.pss()?;
    let noop = probe(options).map_err(|error| format!("one more session: {error}"))?;

    let sessions = held.len() as f64;
    let mut figures = Figures::new();
    if !options.pids.is_empty() {
        figures.push(("KiB/session".into(), (with as f64 - before as f64) / sessions));
        figures.push(("KiB before".into(), before as f64));
        figures.push(("KiB with all".into(), with as f64));
    }
    figures.push(("us to open one".into(), took.as_secs_f64() * 1e6 / sessions));
    noop.figures("NOOP beside", &mut figures);
    Ok(figures)
}

/// A session as it stands after EHLO. Only the socket is kept: 10,000 read buffers of ours would
/// be more than the server has.
fn greet(options: &Options) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&options.to, PATIENCE)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::with_capacity(512, &socket);
    read_reply(&mut reader)?;
    (&socket).write_all(b"EHLO client.test\r\n")?;
    read_reply(&mut reader)?;
    drop(reader);
    Ok(socket)
}

/// How long NOOP takes while all the others wait.
fn probe(options: &Options) -> io::Result<Times> {
    let socket = greet(options)?;
    let mut reader = BufReader::with_capacity(512, &socket);
    let mut times = Times::default();
    for _ in 0..PROBES {
        let start = Instant::now();
        (&socket).write_all(b"NOOP\r\n")?;
        read_reply(&mut reader)?;
        times.add(start.elapsed());
    }
    Ok(times)
}

fn read_reply(reader: &mut impl BufRead) -> io::Result<()> {
    let mut line = String::new();
    loop {
        line.clear();
        let count = reader.read_line(&mut line).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::other(format!("no reply in {PATIENCE:?}")),
            _ => error,
        })?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !line.starts_with('2') {
            return Err(io::Error::other(line.trim_end().to_owned()));
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(());
        }
    }
}

/// As many open files as the system lets us have.
fn allow_descriptors() -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}
