//! The control socket against the real smtpctl, and against users who wish it ill.

#![allow(clippy::unwrap_used)] // helpers of tests, which may

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use smtpd::control::client::{Client, Error};
use smtpd::control::entry::{Agent, Origin, QueueEntry, Situation};
use smtpd::control::import::{Piece, Progress};
use smtpd::control::message::{Request, Response};
use smtpd::control::order::{Action, Selection, Step};
use smtpd::control::server::{Server, Socket};
use smtpd::control::{Operator, Status, System, View, limits};
use smtpd_queue::id::{EnvelopeId, MessageId};
use smtpd_queue::verify::Verified;

/// A daemon that has a long queue and nothing else.
#[derive(Default)]
struct Daemon {
    status: Status,
    verbose: Option<bool>,
    messages: u32,
    pages: u32,
    /// The octets of pieces of messages.
    imported: Vec<u8>,
    /// Connections that had brought some and were closed.
    left: u32,
}

struct Hand(Arc<Mutex<Daemon>>);

impl Hand {
    fn set(&mut self, system: System, paused: bool) -> Result<(), String> {
        let status = &mut self.0.lock().unwrap().status;
        if status.paused(system) == paused {
            let state = if paused { "paused" } else { "running" };
            return Err(format!("{system} is already {state}"));
        }
        match system {
            System::Mda => status.mda_paused = paused,
            System::Mta => status.mta_paused = paused,
            System::Smtp => status.smtp_paused = paused,
        }
        Ok(())
    }
}

impl Operator for Hand {
    fn status(&mut self) -> Result<Status, String> {
        Ok(self.0.lock().unwrap().status.clone())
    }

    fn statistics(&mut self) -> Result<Vec<(String, u64)>, String> {
        Ok(vec![("uptime".to_owned(), 61), ("smtp.session".to_owned(), 3)])
    }

    fn pause(&mut self, system: System) -> Result<(), String> {
        self.set(system, true)
    }

    fn resume(&mut self, system: System) -> Result<(), String> {
        assert_ne!(system, System::Mta, "a panic in the daemon's answer");
        self.set(system, false)
    }

    /// Three times as many as go into a piece, each of two lines.
    fn relay(&mut self, _: View, after: u64, limit: usize) -> Result<Vec<(u64, String)>, String> {
        let last = 3 * limit as u64;
        let item = |number| (number, format!("item {number}\n  more"));
        Ok((after + 1..=last).take(limit).map(item).collect())
    }

    fn resume_route(&mut self, number: u64) -> Result<(), String> {
        if number == 1 { Ok(()) } else { Err(format!("there is no route {number}")) }
    }

    fn update_pki(&mut self) -> Result<(), String> {
        Err("mx.example.org.crt: no such file".to_owned())
    }

    fn set_verbose(&mut self, verbose: bool) -> Result<(), String> {
        self.0.lock().unwrap().verbose = Some(verbose);
        Ok(())
    }

    fn queue_page(
        &mut self,
        after: Option<EnvelopeId>,
        message: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<QueueEntry>, String> {
        let mut daemon = self.0.lock().unwrap();
        daemon.pages += 1;
        let first = after.map_or(1, |id| id.message().as_u32() + 1);
        Ok((first..=daemon.messages)
            .filter_map(MessageId::from_u32)
            .filter(|id| message.is_none_or(|wanted| wanted == *id))
            .take(limit)
            .map(entry)
            .collect())
    }

    fn message(&mut self, _: MessageId, _: Option<EnvelopeId>) -> Result<(Vec<u8>, bool), String> {
        Ok((Vec::new(), false))
    }

    /// Three steps, each of which changes two hundred; of one envelope, one.
    fn order(
        &mut self,
        _: Action,
        selection: &Selection,
        after: Option<EnvelopeId>,
    ) -> Result<Step, String> {
        let nth = after.map_or(1, |after| after.message().as_u32() + 1);
        let message = MessageId::from_u32(nth).unwrap();
        Ok(match selection {
            Selection::Envelope(_) => Step { changed: 1, next: None },
            Selection::Message(id) => return Err(format!("message {id}: damaged")),
            Selection::Domain(domain) if domain == "loop.example" => {
                Step { changed: 1, next: Some(EnvelopeId::new(MessageId::from_u32(1).unwrap(), 0)) }
            }
            Selection::Domain(_) | Selection::All => {
                let next = (nth < 3).then_some(EnvelopeId::new(message, 0));
                Step { changed: 200, next }
            }
        })
    }

    fn content(&mut self, _: MessageId, _: u64) -> Result<Vec<u8>, String> {
        Ok(Vec::new())
    }

    fn verify(&mut self, _: u32) -> Result<(u32, Option<Verified>), String> {
        Ok((0, None))
    }

    fn in_files(&mut self, _: Option<MessageId>, _: usize) -> Result<Vec<MessageId>, String> {
        Ok(Vec::new())
    }

    fn rebuild(&mut self) -> Result<(), String> {
        Err("no index here".to_owned())
    }

    fn discover(&mut self, _: MessageId) -> Result<(), String> {
        Ok(())
    }

    fn import(&mut self, _: u64, piece: Piece) -> Result<Progress, String> {
        let mut daemon = self.0.lock().unwrap();
        Ok(match piece {
            Piece::Facts { octets, .. } | Piece::Content(octets) => {
                daemon.imported.extend(octets);
                Progress::More
            }
            Piece::End { .. } => Progress::Known,
        })
    }

    fn left(&mut self, _: u64) {
        self.0.lock().unwrap().left += 1;
    }
}

fn entry(message: MessageId) -> QueueEntry {
    QueueEntry {
        id: EnvelopeId::new(message, 0),
        origin: Origin::Inet4,
        agent: Agent::Mda,
        authenticated: false,
        sender: "sender@example.org".to_owned(),
        rcpt: "user@example.net".to_owned(),
        dest: "user@example.net".to_owned(),
        created: 100,
        expires: 200,
        last_try: 150,
        retries: 1,
        situation: Situation::Held(150),
        suspended: false,
        error: "relaying does not work yet".to_owned(),
    }
}

/// A directory of this test's own that every user may enter; removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("control-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Scratch(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("smtpd.sock")
    }

    /// A copy that a user without access to the build directory can run.
    fn program(&self, program: &Path) -> PathBuf {
        let copy = self.0.join(program.file_name().unwrap());
        fs::copy(program, &copy).unwrap();
        copy
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn serve(socket: &Path, daemon: Daemon) -> (Server, Arc<Mutex<Daemon>>) {
    let daemon = Arc::new(Mutex::new(daemon));
    let hand = Box::new(Hand(Arc::clone(&daemon)));
    (Socket::bind(socket).unwrap().serve(hand).unwrap(), daemon)
}

/// Status, standard output and standard error of smtpctl.
fn run(mut smtpctl: Command) -> (i32, String, String) {
    let output = smtpctl.output().unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn command(program: &Path, socket: &Path, words: &str) -> Command {
    let mut smtpctl = Command::new(program);
    smtpctl.arg("-s").arg(socket).args(words.split_whitespace());
    smtpctl
}

fn smtpctl(socket: &Path, words: &str) -> (i32, String, String) {
    run(command(Path::new(env!("CARGO_BIN_EXE_smtpctl")), socket, words))
}

/// The daemon still answers, and at once.
fn answers(socket: &Path) {
    let before = Instant::now();
    let (status, out, err) = smtpctl(socket, "show status");
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(
        out.starts_with("MDA running\nMTA running\nSMTP running\nDNS running\nHermes "),
        "{out}"
    );
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
}

fn success(text: &str) -> (i32, String, String) {
    (0, text.to_owned(), String::new())
}

fn failure(text: &str) -> (i32, String, String) {
    (1, String::new(), format!("smtpctl: {text}\n"))
}

/// xorshift64*
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

#[test]
fn commands_are_obeyed_and_answered_as_ever() {
    let scratch = Scratch::new();
    let socket = scratch.socket();
    let (_server, daemon) = serve(&socket, Daemon { messages: 2, ..Daemon::default() });
    answers(&socket);
    assert_eq!(smtpctl(&socket, "pause mda"), success("command succeeded\n"));
    let refused = (1, "command failed: mda is already paused\n".to_owned(), String::new());
    assert_eq!(smtpctl(&socket, "p mda"), refused);
    assert!(smtpctl(&socket, "show status").1.starts_with("MDA paused\nMTA running\n"));
    assert_eq!(smtpctl(&socket, "resume mda"), success("command succeeded\n"));
    assert_eq!(smtpctl(&socket, "log verbose"), success("command succeeded\n"));
    assert_eq!(daemon.lock().unwrap().verbose, Some(true));
    assert_eq!(smtpctl(&socket, "log b"), success("command succeeded\n"));
    assert_eq!(daemon.lock().unwrap().verbose, Some(false));
    let envelope = EnvelopeId::new(MessageId::from_u32(2).unwrap(), 0);
    let orders = [
        (format!("remove {envelope}"), success("1 envelope removed\n")),
        ("schedule all".to_owned(), success("600 envelopes scheduled\n")),
        ("hold domain example.org".to_owned(), success("600 envelopes paused\n")),
        ("resume envelope domain example.org".to_owned(), success("600 envelopes resumed\n")),
    ];
    for (words, expected) in orders {
        assert_eq!(smtpctl(&socket, &words), expected);
    }
    let (status, out, err) = smtpctl(&socket, "remove 00000002");
    assert_eq!((status, out.as_str()), (1, "command failed: message 00000002: damaged\n"), "{err}");
    let endless = "smtpctl: incompatible smtpctl and smtpd\n".to_owned();
    assert_eq!(smtpctl(&socket, "remove domain loop.example"), (1, String::new(), endless));
    let (status, out, err) = smtpctl(&socket, "show routes");
    assert_eq!((status, err.as_str(), out.lines().count()), (0, "", 6 * limits::PAGE));
    assert!(out.starts_with("item 1\n  more\nitem 2\n"), "{out:.80}");
    assert_eq!(smtpctl(&socket, "resume route 1"), success("command succeeded\n"));
    let refused = (1, "command failed: there is no route 2\n".to_owned(), String::new());
    assert_eq!(smtpctl(&socket, "resume route 2"), refused);
    let statistics = success("smtp.session=3\nuptime=61\nuptime.human=1m1s\n");
    assert_eq!(smtpctl(&socket, "show stats"), statistics);

    let (status, out, err) = smtpctl(&socket, "show queue 00000002");
    assert_eq!((status, err.as_str(), out.lines().count()), (0, "", 1));
    let fields: Vec<&str> = out.trim_end().split('|').collect();
    assert!(fields[0].starts_with("00000002") && fields[0].len() == 16, "{out}");
    assert_eq!(
        fields[1..12],
        [
            "inet4",
            "mda",
            "hold",
            "sender@example.org",
            "user@example.net",
            "user@example.net",
            "100",
            "200",
            "150",
            "1",
            "pending"
        ]
    );
    assert!(fields[12].parse::<i64>().is_ok_and(|seconds| seconds < -1_000_000), "{out}");
    assert_eq!(fields[13], "relaying does not work yet");

    let shown = "possibilities are:\nconvert\ndiscover\nencrypt\nexplain\nhold\nlog\npause\nqueue\nrelease\nremove\nresume\nschedule\nshow\nupdate\n";
    assert_eq!(smtpctl(&socket, "stop"), (255, String::new(), shown.to_owned()));
    let (status, _, err) = run(Command::new(env!("CARGO_BIN_EXE_smtpctl")));
    assert_eq!((status, err.as_str()), (255, shown));
    let shown = "invalid command\n";
    assert_eq!(smtpctl(&socket, "log brief x"), (255, String::new(), shown.to_owned()));
}

#[test]
fn without_a_daemon_it_says_so() {
    let scratch = Scratch::new();
    let socket = scratch.socket();
    let absent = failure("smtpd doesn't seem to be running");
    assert_eq!(smtpctl(&socket, "show status"), absent);
    drop(UnixListener::bind(&socket).unwrap()); // a socket that nobody listens on
    assert_eq!(smtpctl(&socket, "show status"), absent);
    // What is in the queue is read from its files then.
    let nowhere = scratch.0.join("spool");
    let words = format!("-q {} show queue", nowhere.display());
    let missing = failure(&format!("{}: there is no such directory", nowhere.display()));
    assert_eq!(smtpctl(&socket, &words), missing);
    let (status, _, err) =
        run(command(Path::new(env!("CARGO_BIN_EXE_smtpctl")), &socket, "-x show status"));
    assert_eq!(status, 1);
    let usage = "usage: smtpctl [-D macro=value] [-f file] [-q directory] [-s socket] \
                 command [argument ...]\n";
    assert!(err.ends_with(usage), "{err}");
}

#[test]
fn a_daemon_of_another_release_is_told_from_ours() {
    let scratch = Scratch::new();
    let socket = scratch.socket();
    let listener = UnixListener::bind(&socket).unwrap();
    let other = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"\0\0\0\x03\xff\xff\x01").unwrap();
        let _ = stream.read(&mut [0; 64]);
    });
    assert_eq!(smtpctl(&socket, "show status"), failure("incompatible smtpctl and smtpd"));
    other.join().unwrap();

    // The other way round: the daemon answers in its own version and closes.
    fs::remove_file(&socket).unwrap();
    let (_server, _) = serve(&socket, Daemon::default());
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(b"\0\0\0\x99\x7f\x01anything").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer); // our unread octets may reset the connection
    let mut expected = Vec::new();
    Response::Incompatible.encode(&mut expected);
    assert_eq!(answer, expected);
    answers(&socket);
}

#[test]
fn only_one_daemon_has_the_socket() {
    let scratch = Scratch::new();
    let path = scratch.socket();
    drop(UnixListener::bind(&path).unwrap()); // left behind by a crash
    let (server, _) = serve(&path, Daemon::default());
    let found = fs::metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o666);
    let error = Socket::bind(&path).unwrap_err();
    assert_eq!(error.to_string(), "control socket already listening");
    answers(&path);
    drop(server);
    assert!(!path.exists());
    // A file that is no socket is somebody's; it is not removed.
    fs::write(&path, "precious").unwrap();
    let error = Socket::bind(&path).unwrap_err().to_string();
    assert!(error.ends_with("there is a file that is no socket"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    let error = Socket::bind(&scratch.0.join("no/dir")).unwrap_err().to_string();
    assert!(error.contains("no/dir") && error.contains("No such file"), "{error}");
}

#[test]
fn a_long_queue_is_shown_page_by_page() {
    let scratch = Scratch::new();
    let socket = scratch.socket();
    let (_server, daemon) = serve(&socket, Daemon { messages: 100_000, ..Daemon::default() });
    let (status, out, err) = smtpctl(&socket, "show queue");
    assert_eq!((status, err.as_str()), (0, ""));
    let ids: Vec<&str> = out.lines().filter_map(|line| line.split('|').next()).collect();
    assert_eq!(ids.len(), 100_000);
    assert!(ids.is_sorted());
    let expected = 100_000_u32.div_ceil(limits::PAGE as u32);
    let pages = daemon.lock().unwrap().pages;
    assert!((expected..=expected + 1).contains(&pages), "{pages}");

    // `smtpctl show queue | head -1`: the reader may leave.
    let mut smtpctl = command(Path::new(env!("CARGO_BIN_EXE_smtpctl")), &socket, "show queue");
    let mut child = smtpctl.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 16]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

/// A piece of a message is longer than anything else, and only those who may give one can.
#[test]
fn a_message_comes_in_pieces_over_one_connection_and_no_longer_than_allowed() {
    let scratch = Scratch::new();
    let socket = scratch.socket();
    let (_server, daemon) = serve(&socket, Daemon::default());
    let mut client = Client::connect(&socket).unwrap();
    let import = |piece| Request::Import(piece);
    let longest = vec![7; limits::PIECE];
    for piece in [Piece::Facts { first: true, octets: longest.clone() }, Piece::Content(longest)] {
        assert_eq!(client.ask(&import(piece)).unwrap(), Response::Import(Progress::More));
    }
    let end = Piece::End { name: "x".repeat(usize::from(limits::NAME)) };
    assert_eq!(client.ask(&import(end)).unwrap(), Response::Import(Progress::Known));
    assert_eq!(daemon.lock().unwrap().imported.len(), 2 * limits::PIECE);
    assert_eq!(daemon.lock().unwrap().left, 0);
    let too_long = import(Piece::Content(vec![7; limits::PIECE + 1]));
    assert!(matches!(client.ask(&too_long), Err(Error::Closed)));
    let begin = Instant::now();
    while daemon.lock().unwrap().left != 1 {
        assert!(begin.elapsed() < Duration::from_secs(10), "what had come is given up");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(daemon.lock().unwrap().imported.len(), 2 * limits::PIECE);
    answers(&socket);
    assert_eq!(daemon.lock().unwrap().left, 1, "others have nothing to give up");
}

#[test]
fn a_panic_in_an_answer_ends_one_connection() {
    let scratch = Scratch::new();
    let socket = scratch.socket();
    let (_server, _) = serve(&socket, Daemon::default());
    assert_eq!(smtpctl(&socket, "resume mta"), failure("smtpd closed the connection"));
    answers(&socket);
}

/// Noise, and real requests that noise has bitten into.
#[test]
fn noise_ends_nothing_but_its_own_connection() {
    let scratch = Scratch::new();
    let socket = scratch.socket();
    let (_server, _) = serve(&socket, Daemon { messages: 3, ..Daemon::default() });
    let mut noise = Noise(0x6865_726d_6573);
    let mut valid = Vec::new();
    Request::Status.encode(&mut valid);
    Request::QueuePage { after: None, message: None }.encode(&mut valid);
    Request::Pause(System::Smtp).encode(&mut valid);
    Request::Resume(System::Smtp).encode(&mut valid);
    for round in 0..3_000 {
        let mut octets = if round % 3 == 0 {
            (0..noise.below(3_000)).map(|_| noise.next() as u8).collect()
        } else {
            valid.repeat(1 + noise.below(3))
        };
        if round % 3 == 1 && !octets.is_empty() {
            for _ in 0..=noise.below(4) {
                let at = noise.below(octets.len());
                octets[at] = noise.next() as u8;
            }
            octets.truncate(1 + noise.below(octets.len()));
        }
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut rest = octets.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(1 + noise.below(rest.len()));
            rest = later;
            if stream.write_all(now).is_err() {
                break; // closed: quite right
            }
        }
        if noise.below(8) == 0 {
            let _ = stream.read(&mut [0; 512]);
        }
    }
    // Noise may have paused something by a lucky bite; all that counts is that it answers.
    answers_soon(&socket);
}

/// Half of a head, half of a payload, nothing, and a reader that does not read.
#[test]
fn the_slow_do_not_hold_up_the_others_and_have_an_end() {
    let scratch = Scratch::new();
    let socket = scratch.socket();
    let (_server, _) = serve(&socket, Daemon { messages: 100_000, ..Daemon::default() });
    let connect = |octets: &[u8]| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(octets).unwrap();
        stream
    };
    let mut page = Vec::new();
    Request::QueuePage { after: None, message: None }.encode(&mut page);
    let mut slow =
        vec![connect(b""), connect(b"\0"), connect(&page[..10]), connect(&page.repeat(2)[..20])];
    let mut deaf = connect(&page.repeat(100));
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(2) {
        answers(&socket);
    }
    // Each is closed, and not before its time.
    let end = begin + limits::REQUEST_TIME.max(limits::RESPONSE_TIME) + Duration::from_secs(20);
    slow.push(connect(b"")); // two seconds later than the others: it must still be open then
    for (which, stream) in slow.iter_mut().enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        stream.set_read_timeout(Some(left + Duration::from_secs(1))).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap_or_else(|error| panic!("{which}: {error}"));
        let took = begin.elapsed();
        assert!(took > limits::REQUEST_TIME - Duration::from_millis(100), "{which}: {took:?}");
    }
    assert!(begin.elapsed() > limits::REQUEST_TIME + Duration::from_millis(1_900));
    // What the deaf one gets is what the system had buffered, not a hundred pages.
    let mut got = Vec::new();
    let closed = deaf.read_to_end(&mut got);
    assert!(closed.is_ok() || closed.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset));
    assert!(got.len() < 99 * 256 * 100, "{}", got.len());
    answers(&socket);
}

const HOLD: &str = "CONTROL_TEST_HOLD";

/// Not a test by itself: what [`Crowd`] runs, perhaps as another user.
#[test]
fn hold_connections() {
    let Some(socket) = std::env::var_os(HOLD) else { return };
    let streams: Vec<_> = (0..300).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    // They are accepted in order; the last is closed when all have been.
    assert!((&mut streams.last().unwrap()).read(&mut [0]).is_ok_and(|octets| octets == 0));
    let is_open = |mut stream: &UnixStream| {
        stream.set_nonblocking(true).unwrap();
        stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    };
    println!("\nopen={}", streams.iter().filter(|stream| is_open(stream)).count());
    let mut end = String::new();
    std::io::stdin().read_line(&mut end).unwrap();
}

/// A process that has connected three hundred times and holds what it got.
struct Crowd {
    child: Child,
    /// Connections that were not closed at once.
    open: usize,
}

impl Crowd {
    fn gather(program: &Path, socket: &Path, uid: Option<u32>) -> Crowd {
        let mut command = Command::new(program);
        command.args(["--exact", "hold_connections", "--nocapture"]).env(HOLD, socket);
        command.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(uid) = uid {
            command.uid(uid).gid(uid);
        }
        let mut child = command.spawn().unwrap();
        let said = BufReader::new(child.stdout.as_mut().unwrap());
        let open = said
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("open=").and_then(|count| count.parse().ok()));
        Crowd { child, open: open.unwrap() }
    }

    fn leave(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

/// For when somebody has just left, which the daemon need not have seen yet: a process that
/// another test has forked holds our connections too, until it becomes smtpctl.
fn answers_soon(socket: &Path) {
    let begin = Instant::now();
    while smtpctl(socket, "show status").0 != 0 {
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
}

#[test]
fn one_user_gets_a_bounded_number_of_connections() {
    let scratch = Scratch::new();
    let socket = scratch.socket();
    let (_server, _) = serve(&socket, Daemon::default());
    let crowd = Crowd::gather(&std::env::current_exe().unwrap(), &socket, None);
    assert_eq!(crowd.open, limits::PER_USER);
    // They are of the same user as ours.
    assert_eq!(smtpctl(&socket, "show status"), failure("smtpd closed the connection"));
    crowd.leave();
    answers_soon(&socket);
}

#[test]
fn strangers_may_connect_and_no_more() {
    if !is_root() {
        eprintln!("SKIPPED: strangers_may_connect_and_no_more needs root to become other users");
        return;
    }
    let scratch = Scratch::new();
    let socket = scratch.socket();
    let (_server, daemon) = serve(&socket, Daemon::default());
    let program = scratch.program(Path::new(env!("CARGO_BIN_EXE_smtpctl")));
    let as_user = |uid: u32, words: &str| {
        let mut smtpctl = command(&program, &socket, words);
        smtpctl.uid(uid).gid(uid);
        run(smtpctl)
    };
    let denied = failure("need root privileges");
    for words in ["show status", "show queue", "show stats", "pause smtp", "log verbose"] {
        assert_eq!(as_user(54_321, words), denied, "{words}");
    }
    assert_eq!(daemon.lock().unwrap().status, Status::default());
    assert_eq!(daemon.lock().unwrap().verbose, None);

    // Six of them take all they can get; the administrator does not notice.
    let program = scratch.program(&std::env::current_exe().unwrap());
    loop {
        let begin = Instant::now();
        let crowds: Vec<_> =
            (0..6).map(|n| Crowd::gather(&program, &socket, Some(54_400 + n))).collect();
        let open = crowds.iter().map(|crowd| crowd.open).sum::<usize>();
        for _ in 0..20 {
            answers(&socket);
        }
        let one_more = as_user(54_500, "show status");
        let took = begin.elapsed();
        crowds.into_iter().for_each(Crowd::leave);
        // On a loaded machine the first may have been closed for their silence before the last
        // came, and then these were not there at one time.
        if took < limits::REQUEST_TIME - Duration::from_millis(100) {
            assert_eq!(open, limits::TOTAL);
            assert_eq!(one_more, failure("smtpd closed the connection"), "turned away");
            break;
        }
    }
    let begin = Instant::now();
    while as_user(54_500, "show status") != denied {
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}
