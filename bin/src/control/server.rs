//! The daemon's side of the control socket: one thread, poll(2), and any number of hostile users.
//!
//! Local users may connect, stay silent, send noise or half of a request, or not read; they may do
//! so a thousand times. Each has a bounded number of connections, all have a bounded number
//! together, root and the daemon's user have a share of their own, and every wait has an end.
//! Connections are served without waiting for them; only an [`Operator`] is waited for, and only
//! on behalf of those who may command the daemon.
//!
//! poll(2) and not the reactor's mio: with some 200 connections at most a level-triggered call
//! needs no state that could go wrong.

use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use log::{debug, warn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::connection::Connection;
use super::message::{Request, Response};
use super::{Operator, limits};
use crate::{VERSION, sys};

/// The control socket, bound and listening, before anybody answers on it. Dropping it removes the
/// socket file.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

/// The running control thread. Dropping it ends the thread (which may be waiting for the
/// [`Operator`]) and removes the socket file.
#[must_use]
pub struct Server {
    wake: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Socket {
    /// Binds the socket for every local user to connect to. A socket file that nobody listens on
    /// any more is replaced.
    ///
    /// # Errors
    /// `control socket already listening` when another daemon answers there; else the system's
    /// words with the path.
    pub fn bind(path: &Path) -> io::Result<Socket> {
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                remove_stale(path)?;
                UnixListener::bind(path)
            }
            other => other,
        }
        .map_err(|error| named(path, &error))?;
        let socket = Socket { listener, path: path.to_owned() };
        // Who may do what is decided by credentials, not by the mode.
        fs::set_permissions(path, fs::Permissions::from_mode(0o666))
            .and_then(|()| socket.listener.set_nonblocking(true))
            .map_err(|error| named(path, &error))?;
        Ok(socket)
    }

    /// Answers on the socket from a thread of its own.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn serve(self, operator: Box<dyn Operator>) -> io::Result<Server> {
        let (wake, woken) = UnixStream::pair()?;
        let shared = Shared {
            socket: self,
            connections: Vec::new(),
            accept_at: None,
            warned: None,
            next: 0,
        };
        let thread = thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || shared.run(&woken, operator))?;
        Ok(Server { wake: Some(wake), thread: Some(thread) })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // a file that stays is replaced by the next daemon
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.wake = None; // the other end of the pair becomes readable
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // its panics are caught where they happen
        }
    }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if !is_socket {
        let text = format!("control socket {}: there is a file that is no socket", path.display());
        return Err(io::Error::new(ErrorKind::AlreadyExists, text));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| named(path, &error))
        }
        _ => Err(io::Error::new(ErrorKind::AddrInUse, "control socket already listening")),
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("control socket {}: {error}", path.display()))
}

/// What the control thread owns.
struct Shared {
    socket: Socket,
    connections: Vec<Numbered>,
    /// The number of the next connection.
    next: u64,
    /// No connection is accepted before, as the last attempt failed for want of descriptors.
    accept_at: Option<Instant>,
    /// When somebody was last reported for having too many connections.
    warned: Option<Instant>,
}

/// A connection with a number that no other has had.
struct Numbered {
    connection: Connection<UnixStream>,
    number: u64,
    /// A piece of a message has come over it.
    imports: bool,
}

/// What poll(2) found.
struct Ready {
    stop: bool,
    accept: bool,
    /// For each connection, in order.
    connections: Vec<bool>,
}

impl Shared {
    fn run(mut self, woken: &UnixStream, mut operator: Box<dyn Operator>) {
        loop {
            let ready = match self.wait(woken) {
                Ok(Ready { stop: true, .. }) => return,
                Ok(ready) => ready,
                Err(Errno::INTR) => continue,
                Err(error) => {
                    // For want of memory, most likely: it may come back.
                    warn!("control: poll: {error}");
                    thread::sleep(limits::ACCEPT_PAUSE);
                    continue;
                }
            };
            let mut ready_connections = ready.connections.into_iter();
            self.connections.retain_mut(|numbered| {
                let ready = ready_connections.next().unwrap_or(false);
                let stays = (!ready || serve(numbered, operator.as_mut()))
                    && numbered.connection.deadline > Instant::now();
                if !stays && numbered.imports {
                    leave(numbered.number, operator.as_mut());
                }
                stays
            });
            if ready.accept {
                self.accept();
            }
        }
    }

    /// Waits until something can be done or a deadline has come.
    fn wait(&mut self, woken: &UnixStream) -> Result<Ready, Errno> {
        let now = Instant::now();
        if self.accept_at.is_some_and(|at| at <= now) {
            self.accept_at = None;
        }
        let deadlines = self.connections.iter().map(|one| one.connection.deadline);
        let timeout = deadlines.chain(self.accept_at).min().map(|first| {
            // A millisecond late rather than a busy turn early.
            let wait = first.saturating_duration_since(now) + Duration::from_millis(1);
            Timespec {
                tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: wait.subsec_nanos().into(),
            }
        });
        let accepting = if self.accept_at.is_none() { PollFlags::IN } else { PollFlags::empty() };
        let mut fds =
            vec![PollFd::new(woken, PollFlags::IN), PollFd::new(&self.socket.listener, accepting)];
        fds.extend(self.connections.iter().map(|Numbered { connection, .. }| {
            let writing = connection.is_writing();
            let wanted = if writing { PollFlags::OUT } else { PollFlags::IN };
            PollFd::new(connection.stream(), wanted)
        }));
        poll(&mut fds, timeout.as_ref())?;
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        Ok(Ready {
            stop: ready[0],
            accept: ready[1] && self.accept_at.is_none(),
            connections: ready[2..].to_vec(),
        })
    }

    /// Accepts what waits, a bounded number.
    fn accept(&mut self) {
        let own = rustix::process::geteuid().as_raw();
        let mut open: HashMap<u32, usize> = HashMap::new();
        for Numbered { connection, .. } in &self.connections {
            *open.entry(connection.uid).or_default() += 1;
        }
        let is_stranger = |one: &&Numbered| !one.connection.privileged;
        let mut strangers = self.connections.iter().filter(is_stranger).count();
        for _ in 0..limits::ACCEPTS {
            let stream = match self.socket.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return,
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => continue,
                    _ => {
                        warn!("control: accept: {error}");
                        self.accept_at = Some(Instant::now() + limits::ACCEPT_PAUSE);
                        return;
                    }
                },
            };
            let Ok(uid) = sys::peer_uid(&stream) else { continue };
            let Ok(()) = stream.set_nonblocking(true) else { continue };
            let privileged = uid == 0 || uid == own;
            let of_user = open.entry(uid).or_default();
            if *of_user >= limits::PER_USER {
                self.warn_of(uid);
                continue;
            }
            if !privileged {
                if strangers >= limits::TOTAL {
                    debug!("control: too many connections, closing one of uid {uid}");
                    continue;
                }
                strangers += 1;
            }
            *of_user += 1;
            let connection = Connection::new(stream, uid, privileged);
            self.connections.push(Numbered { connection, number: self.next, imports: false });
            self.next += 1;
        }
    }

    /// Warns, but not as often as that user likes.
    fn warn_of(&mut self, uid: u32) {
        let now = Instant::now();
        if self.warned.is_none_or(|last| now - last >= limits::WARNING_PAUSE) {
            self.warned = Some(now);
            warn!("too many connections to control socket from user with uid {uid}");
        }
    }
}

/// Serves a connection that is ready; whether it stays open. Should that panic, it does not.
fn serve(numbered: &mut Numbered, operator: &mut dyn Operator) -> bool {
    let Numbered { connection, number, imports } = numbered;
    let served = catch_unwind(AssertUnwindSafe(|| {
        connection.serve(&mut |request| {
            *imports |= matches!(request, Request::Import(_));
            answer(request, *number, operator)
        })
    }));
    matches!(served, Ok(Ok(())))
}

/// Should that panic, the others are still served.
fn leave(number: u64, operator: &mut dyn Operator) {
    let _ = catch_unwind(AssertUnwindSafe(|| operator.left(number)));
}

fn answer(request: Request, from: u64, operator: &mut dyn Operator) -> Response {
    let result = match request {
        Request::Status => {
            operator.status().map(|status| Response::Status { version: VERSION.to_owned(), status })
        }
        Request::Statistics => operator.statistics().map(Response::Statistics),
        Request::QueuePage { after, message } => {
            operator.queue_page(after, message, limits::PAGE).map(Response::Queue)
        }
        Request::Order { action, selection, after } => {
            operator.order(action, &selection, after).map(Response::Step)
        }
        Request::Message { id, after } => {
            operator.message(id, after).map(|(document, more)| Response::Message { more, document })
        }
        Request::Content { id, offset } => operator.content(id, offset).map(Response::Content),
        Request::Verify(after) => {
            operator.verify(after).map(|(last, found)| Response::Verified { last, found })
        }
        Request::InFiles(after) => operator.in_files(after, limits::PAGE).map(Response::InFiles),
        Request::Rebuild => operator.rebuild().map(|()| Response::Done),
        Request::Discover(id) => operator.discover(id).map(|()| Response::Done),
        Request::Import(piece) => operator.import(from, piece).map(Response::Import),
        Request::Relay(view, after) => {
            operator.relay(view, after, limits::PAGE).map(Response::Relay)
        }
        Request::ResumeRoute(number) => operator.resume_route(number).map(|()| Response::Done),
        Request::UpdatePki => operator.update_pki().map(|()| Response::Done),
        Request::Pause(system) => operator.pause(system).map(|()| Response::Done),
        Request::Resume(system) => operator.resume(system).map(|()| Response::Done),
        Request::Log { verbose } => operator.set_verbose(verbose).map(|()| Response::Done),
    };
    result.unwrap_or_else(Response::Failed)
}
