//! `smtpctl queue import` with the real programs: from an export, from files written by hand, and
//! from the queue of OpenSMTPD.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use smtpd::control::client::Client;
use smtpd::control::import::{Piece, Progress};
use smtpd::control::message::{Request, Response};
use smtpd_tests::program::{Options, Server, TempDir, eventually, program, repository};

/// Runs smtpctl with the quickstart configuration, where no daemon answers.
fn smtpctl(dir: &Path, arguments: &[&str]) -> Output {
    configured(dir, &repository().join("etc/quickstart.conf"), arguments)
}

fn configured(dir: &Path, config: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program("smtpctl"));
    command.arg("-f").arg(config).arg("-D").arg(format!("dir={}", dir.display()));
    command.args(arguments).stdin(Stdio::null()).output().expect("smtpctl runs")
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// What must have gone well prints.
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout)
}

fn counted(messages: usize, envelopes: usize, known: usize, failed: usize) -> String {
    format!("messages={messages}\nenvelopes={envelopes}\nknown={known}\nfailed={failed}\n")
}

/// The files of a directory by their names.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).expect("the directory").map(|entry| entry.expect("an entry"));
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    entries.map(|e| (name(&e.path()), fs::read(e.path()).expect("read"))).collect()
}

/// Every file below, with what can be seen to change.
fn listing(dir: &Path) -> BTreeMap<PathBuf, (u64, u64, i64, i64)> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        let data = fs::symlink_metadata(&path).expect("it is there");
        if data.is_dir() {
            todo.extend(fs::read_dir(&path).expect("read").map(|e| e.expect("an entry").path()));
        }
        found.insert(path, (data.ino(), data.size(), data.mtime(), data.mtime_nsec()));
    }
    found
}

fn fixture(name: &str) -> String {
    repository().join("fixtures/opensmtpd").join(name).display().to_string()
}

#[test]
fn an_export_comes_back_octet_for_octet_and_only_once() {
    let (from, to) = (TempDir::new(), TempDir::new());
    let exported = from.path().join("exported");
    let exported_name = exported.display().to_string();
    let arguments = vec!["-P".to_owned(), "mda".to_owned()];
    let options = Options { dir: Some(from.path().to_owned()), arguments, ..Options::default() };
    let mut server = Server::start(options);
    let mut client = server.connect();
    client.expect("EHLO client.example", "250");
    client.expect("MAIL FROM:<s@example.org> RET=FULL ENVID=QQ", "250");
    client.expect("RCPT TO:<one@localhost> NOTIFY=NEVER", "250");
    client.expect("RCPT TO:<two@localhost> ORCPT=rfc822;two@example.net", "250");
    client.expect("DATA", "354");
    client.expect("Subject: short\r\n\r\n..dot\r\n\x01\x7f octets \u{fc}\r\n.", "250");
    let lines: String = (0..40_000).map(|n| format!("line {n} of a larger message\r\n")).collect();
    assert!(
        client.message("l@example.org", "large@localhost", lines.as_bytes()).starts_with("250")
    );
    server.stop();
    printed(&smtpctl(from.path(), &["queue", "export", &exported_name]));

    // How the envelopes stand is kept too.
    let held = fs::read_dir(&exported).expect("read").map(|entry| entry.expect("an entry").path());
    let held: Vec<_> = held.filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    for path in held {
        let json = fs::read_to_string(&path).expect("read");
        if json.contains("large@localhost") {
            continue; // it is to be delivered
        }
        let json = json.replacen("\"tries\": 0", "\"tries\": 5", 1);
        let json = json.replacen("\"last_try\": 0", "\"last_try\": 1700000000000007", 1);
        let json = json.replacen("\"error\": \"\"", "\"error\": \"451 \\\"later\\\"\"", 1);
        let json = json.replacen("\"suspended\": false", "\"suspended\": true", 1);
        let json = json.replacen("\"told\": 0", "\"told\": 14400", 1);
        fs::write(&path, json).expect("written");
    }
    let before = listing(&exported);
    let import = || printed(&smtpctl(to.path(), &["queue", "import", &exported_name]));
    assert_eq!(import(), counted(2, 3, 0, 0));
    let again = to.path().join("again");
    printed(&smtpctl(to.path(), &["queue", "export", &again.display().to_string()]));
    assert_eq!(files(&again), files(&exported));
    assert_eq!(import(), counted(0, 0, 2, 0), "they are there already");
    printed(&smtpctl(to.path(), &["queue", "verify"]));
    assert_eq!(listing(&exported), before, "the source is unchanged");

    // What was delivered meanwhile does not come a second time either.
    let options = Options { dir: Some(to.path().to_owned()), ..Options::default() };
    let mut server = Server::start(options);
    let large = server.wait_for_mail("large", 1);
    assert!(
        text(&fs::read(&large[0]).expect("read")).ends_with("line 39999 of a larger message\n")
    );
    let online = || server.smtpctl(&["queue", "import", &exported_name]);
    let (status, out, err) = online();
    assert!(status.success(), "{err}");
    assert_eq!(out, counted(0, 0, 2, 0), "they have been there");
    server.stop();
    assert_eq!(import(), counted(0, 0, 2, 0), "they have been there");
}

#[test]
fn a_message_by_hand_needs_a_recipient_and_what_is_wrong_is_named() {
    let dir = TempDir::new();
    let by_hand = dir.path().join("by-hand");
    fs::create_dir(&by_hand).expect("made");
    let write = |name: &str, text: &str| fs::write(by_hand.join(name), text).expect("written");
    write("note.json", r#"{"envelopes": [{"rcpt": "jo@localhost"}, {"rcpt": "x@example.net"}]}"#);
    write("note.eml", "Subject: by hand\n\nhello\nopen end");
    write("notes.txt", "not a message");
    let import = || smtpctl(dir.path(), &["queue", "import", &by_hand.display().to_string()]);

    write("bad.json", r#"{"sender": "no address", "envelopes": [{"rcpt": "jo@localhost"}]}"#);
    write("bad.eml", "x\n");
    write("other.json", r#"{"octets": 7, "envelopes": [{"rcpt": "jo@localhost"}]}"#);
    std::os::unix::fs::symlink("/etc/passwd", by_hand.join("other.eml")).expect("a link");
    let made = Command::new("mkfifo").arg(by_hand.join("fifo.json")).status().expect("mkfifo runs");
    assert!(made.success());
    let output = import();
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
    let err = text(&output.stderr);
    for expected in [
        "bad.json: sender: is no address",
        "other.eml: is a link",
        "fifo.json: is no regular file",
        "nothing has been imported",
    ] {
        assert!(err.contains(expected), "{err}");
    }
    assert!(!dir.path().join("spool").exists(), "nothing was made");
    for name in ["bad.json", "other.json", "other.eml", "fifo.json"] {
        fs::remove_file(by_hand.join(name)).expect("removed");
    }

    assert_eq!(printed(&import()), counted(1, 2, 0, 0));
    assert_eq!(printed(&import()), counted(0, 0, 1, 0));
    let queue = printed(&smtpctl(dir.path(), &["show", "queue"]));
    let line = |rcpt: &str| {
        let line = queue.lines().find(|line| line.contains(rcpt)).expect("it is there");
        line.split('|').map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        line("jo@localhost")[1..7],
        ["local", "mda", "", "@", "jo@localhost", "jo@localhost"]
    );
    let held = line("x@example.net");
    assert_eq!(held[3], "hold");
    assert!(held[13].starts_with("no rule takes it: 550"), "{held:?}");
    let options = Options { dir: Some(dir.path().to_owned()), ..Options::default() };
    let server = Server::start(options);
    let mail = server.wait_for_mail("jo", 1);
    assert!(text(&fs::read(&mail[0]).expect("read")).ends_with("\n\nhello\nopen end\n"));
}

#[test]
fn the_queue_of_opensmtpd_moves_in() {
    let dir = TempDir::new();
    let before = listing(&repository().join("fixtures/opensmtpd"));
    let import = |words: &[&str], from: &str| {
        let from = fixture(from);
        let words = [&["queue", "import", "--opensmtpd"], words, &[from.as_str()]].concat();
        smtpctl(dir.path(), &words)
    };
    assert_eq!(printed(&import(&[], "plain")), counted(3, 6, 0, 0));
    let queue = printed(&smtpctl(dir.path(), &["show", "queue"]));
    // Without the ids of the envelopes, which are ours.
    let mut shown: Vec<String> =
        queue.lines().map(|line| line[..8].to_owned() + &line[16..]).collect();
    shown.sort();
    let expected = [
        "0f000001|local|mda||@|root@localhost|joe@localhost|1370000000|1370345600|1370000300|1|offline||",
        "7e57c0de|inet6|mda|auth|u@example.org|e@localhost|e@localhost|1450000000|1450604800|1450000600|4|offline||\
         Network error on destination MXs",
        "ab12cd34|inet4|mda|auth|s@example.com|a@localhost|a@localhost|1700000000|1700345600|1700000400|3|offline||\
         451 4.3.0 try later",
        "ab12cd34|inet4|mda|auth|s@example.com|b@localhost|b@localhost|1700000000|1700345600|0|0|offline||",
        "ab12cd34|inet4|mta|auth,hold|s@example.com|c@example.net|c@example.net|1700000000|1700345600|0|0|offline||\
         no rule takes it: 550 Invalid recipient: <c@example.net>",
        "ab12cd34|inet4|mta|auth,hold|s@example.com|d@localhost|d@localhost|1700000000|1700345600|0|0|offline||\
         OpenSMTPD had yet to tell the sender (failed): 550 5.1.1 no such user",
    ];
    assert_eq!(shown, expected);
    let id = queue.lines().find(|line| line.contains("a@localhost")).expect("it is there")[..16]
        .to_owned();
    let envelope = printed(&smtpctl(dir.path(), &["show", "envelope", &id]));
    let original = fs::read_to_string(fixture("plain/queue/ab/ab12cd34/ab12cd3411111111"));
    for line in original.expect("read").lines() {
        assert!(envelope.lines().any(|ours| ours == line), "{line} is missing:\n{envelope}");
    }
    let content = fs::read(fixture("plain/queue/ab/ab12cd34/message")).expect("read");
    let message = smtpctl(dir.path(), &["show", "message", "ab12cd34"]);
    assert_eq!(message.stdout, [content.as_slice(), b"\n"].concat());

    assert_eq!(printed(&import(&[], "gzip")), counted(1, 1, 0, 0));
    let output = import(&[], "encrypted");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr).matches("is encrypted: give the key with --key").count(), 2);
    let wrong = dir.path().join("wrong-key");
    fs::write(&wrong, "0123456789abcdef0123456789abcdef\n").expect("written");
    let output = import(&["--key", &wrong.display().to_string()], "encrypted");
    assert_eq!(text(&output.stderr).matches("cannot be decrypted").count(), 2);
    fs::write(&wrong, "too short\n").expect("written");
    let output = import(&["--key", &wrong.display().to_string()], "encrypted");
    let err = text(&output.stderr);
    assert!(err.contains("a key has 32 octets") && !err.contains("too short"), "{err}");
    assert_eq!(printed(&import(&["--key", &fixture("key")], "encrypted")), counted(2, 2, 0, 0));
    assert_eq!(printed(&import(&["--key", &fixture("key")], "encrypted")), counted(0, 0, 2, 0));
    for message in ["c0ffee01", "5ea1ed01", "5ea1ed02"] {
        let shown = smtpctl(dir.path(), &["show", "message", message]).stdout;
        let body = |octets: &[u8]| {
            let at = octets.windows(7).position(|w| w == b"Subject").expect("a header");
            octets[at..].to_vec()
        };
        assert_eq!(body(&shown), [body(&content).as_slice(), b"\n"].concat(), "{message}");
    }

    // What cannot be read is named, and the rest moves in.
    let output = import(&[], "damaged");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), counted(1, 1, 0, 6));
    let err = text(&output.stderr);
    for expected in [
        "d000000122222222: line 21 is a field that is not known",
        "d000000133333333: rcpt: is not a mail address",
        "d000000144444444: version: is 4, and not 1, 2 or 3",
        "d000000155555555: ",
        "d000000166666666: is encrypted: give the key with --key",
        "d0000002/message: No such file",
    ] {
        assert!(err.contains(expected), "{expected} is missing:\n{err}");
    }
    printed(&smtpctl(dir.path(), &["queue", "verify"]));
    assert_eq!(listing(&repository().join("fixtures/opensmtpd")), before, "only read");

    let options = Options { dir: Some(dir.path().to_owned()), ..Options::default() };
    let server = Server::start(options);
    for user in ["a", "b", "e", "g", "h", "i", "j", "joe"] {
        assert_eq!(server.wait_for_mail(user, 1).len(), 1);
    }
}

/// What is in the queue of a server: recipient, flags and last error of each envelope, sorted.
fn shown(server: &Server) -> Vec<String> {
    let (_, queue, _) = server.smtpctl(&["show", "queue"]);
    let line = |line: &str| {
        let fields: Vec<_> = line.split('|').collect();
        format!("{}|{}|{}|{}", fields[5], fields[3], fields[11], fields[13])
    };
    let mut lines: Vec<_> = queue.lines().map(line).collect();
    lines.sort();
    lines
}

#[test]
fn a_daemon_that_runs_is_handed_the_messages_as_they_stand() {
    let (dir, by_hand) = (TempDir::new(), TempDir::new());
    let write = |name: &str, octets: &[u8]| {
        fs::write(by_hand.path().join(name), octets).expect("written");
    };
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    let tomorrow = tomorrow.duration_since(SystemTime::UNIX_EPOCH).expect("it is later");
    let states = r#"{"message": "0123abcd", "created": 1, "sender": "s@example.org",
        "envelopes": [
            {"rcpt": "jo@localhost", "tries": 5, "error": "451 later", "suspended": true},
            {"rcpt": "held@localhost", "due": "held"},
            {"rcpt": "later@localhost", "due": TOMORROW},
            {"rcpt": "away@example.net"},
            {"rcpt": "gone@example.net", "action": "gone", "agent": "mta"},
            {"rcpt": "now@localhost", "due": 1, "tries": 2}]}"#;
    write("a.json", states.replace("TOMORROW", &tomorrow.as_micros().to_string()).as_bytes());
    write("a.eml", b"Subject: states\n\n.dot\n");
    write("large.json", br#"{"envelopes": [{"rcpt": "large@localhost"}]}"#);
    let lines: String = (0..60_000).map(|n| format!("line {n} of a larger message\n")).collect();
    write("large.eml", lines.as_bytes());
    write(
        "none.json",
        br#"{"sender": "s@example.org", "envelopes": [{"rcpt": "none@localhost"}]}"#,
    );
    write("none.eml", b"");
    let options = || Options { dir: Some(dir.path().to_owned()), ..Options::default() };
    let mut server = Server::start(options());

    // One that is given up half-way leaves nothing behind.
    let mut client = Client::connect(&dir.path().join("smtpd.sock")).expect("connected");
    let facts = fs::read(by_hand.path().join("large.json")).expect("read");
    client.ask(&Request::Import(Piece::Facts { first: true, octets: facts })).expect("asked");
    for piece in lines.as_bytes().chunks(100_000).take(10) {
        let said = client.ask(&Request::Import(Piece::Content(piece.to_vec()))).expect("asked");
        assert_eq!(said, Response::Import(Progress::More));
    }
    let content = || fs::read_dir(dir.path().join("spool/content")).expect("read").count();
    eventually("a file is begun", || content() == 1);
    drop(client);
    eventually("it is gone", || content() == 0);

    let name = by_hand.path().display().to_string();
    let import = |server: &Server| {
        let (status, out, err) = server.smtpctl(&["queue", "import", &name]);
        assert!(status.success() && err.is_empty(), "{out}{err}");
        out
    };
    assert_eq!(import(&server), counted(3, 8, 0, 0));
    let received = |user: &str| {
        let mail = server.wait_for_mail(user, 1);
        fs::read(&mail[0]).expect("read")
    };
    assert!(text(&received("now")).ends_with("Subject: states\n\n.dot\n"));
    assert!(received("large").ends_with(lines.as_bytes()));
    assert!(received("none").ends_with(b"\n"), "what delivery adds");
    let waiting = [
        "away@example.net|hold|pending|no rule takes it: 550 Invalid recipient: <away@example.net>",
        "gone@example.net|hold|pending|no action named \"gone\"",
        "held@localhost|hold|pending|",
        "jo@localhost|suspend|pending|451 later",
        "later@localhost||pending|",
    ];
    eventually("the others wait", || shown(&server) == waiting);
    let (_, queue, _) = server.smtpctl(&["show", "queue", "0123abcd"]);
    let jo = queue.lines().find(|line| line.contains("|jo@")).expect("it kept its id");
    assert_eq!(jo.split('|').nth(10), Some("5"), "and its tries");
    assert_eq!(import(&server), counted(0, 0, 3, 0), "once and not again");
    assert!(server.log().iter().any(|line| line.contains("msgid=0123abcd")), "the log has it");

    // They stand so after a crash and after an end in order, when the index is trusted.
    server.kill();
    drop(server);
    let mut server = Server::start(options());
    eventually("they are there", || shown(&server) == waiting);
    assert_eq!(import(&server), counted(0, 0, 3, 0));
    server.stop();
    drop(server);
    let mut server = Server::start(options());
    eventually("they are there", || shown(&server) == waiting);
    let (status, out, _) = server.smtpctl(&["resume", "envelope", "all"]);
    assert!(status.success() && out == "1 envelope resumed\n", "{out}");
    assert_eq!(server.wait_for_mail("jo", 1).len(), 1);
    assert_eq!(server.maildir("large").len(), 1);
    server.stop();
}

#[test]
fn the_queue_of_opensmtpd_moves_into_a_daemon_that_runs() {
    let dir = TempDir::new();
    let options = Options { dir: Some(dir.path().to_owned()), ..Options::default() };
    let server = Server::start(options);
    let import = |words: &[&str], from: &str| {
        let from = fixture(from);
        let words = [&["queue", "import", "--opensmtpd"], words, &[from.as_str()]].concat();
        smtpctl(dir.path(), &words)
    };
    assert_eq!(printed(&import(&[], "plain")), counted(3, 6, 0, 0));
    for user in ["a", "b", "e", "joe"] {
        assert_eq!(server.wait_for_mail(user, 1).len(), 1);
    }
    let held = [
        "c@example.net|auth,hold|pending|no rule takes it: 550 Invalid recipient: <c@example.net>",
        "d@localhost|auth,hold|pending|OpenSMTPD had yet to tell the sender (failed): 550 5.1.1 no such user",
    ];
    eventually("two are held", || shown(&server) == held);
    assert_eq!(printed(&import(&[], "plain")), counted(0, 0, 3, 0));
    assert_eq!(printed(&import(&["--key", &fixture("key")], "encrypted")), counted(2, 2, 0, 0));
    let output = import(&[], "damaged");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), counted(1, 1, 0, 6));
    let (status, out, err) = server.smtpctl(&["queue", "verify"]);
    assert!(status.success(), "{out}{err}");
}

#[test]
fn root_imports_in_the_name_of_the_daemons_user() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: not root");
        return;
    }
    let dir = TempDir::new();
    let config = dir.path().join("smtpd.conf");
    let text = "queue directory $dir/spool\ncontrol socket $dir/smtpd.sock\ndaemon user nobody\n\
                action \"local\" maildir $dir/mail userbase any\nmatch for local action \"local\"\n";
    fs::write(&config, text).expect("written");
    let words = ["queue", "import", "--opensmtpd", &fixture("plain")];
    printed(&configured(dir.path(), &config, &words));
    let owner = fs::metadata(dir.path().join("spool")).expect("made").uid();
    assert_ne!(owner, 0);
    for path in listing(&dir.path().join("spool")).keys() {
        let found = fs::symlink_metadata(path).expect("there");
        assert_eq!(found.uid(), owner, "{}", path.display());
    }
}
