//! smtpctl's tools for the queue with the real programs: with the daemon up and with it down they
//! show the same, and what is taken out of a queue is what is in it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use smtpd_tests::program::{Options, Server, TempDir, program};

/// A server whose deliveries are paused, with three messages: one for two recipients, one whose
/// content is in a file of its own, and one from nobody.
fn server(dir: &Path) -> Server {
    let arguments = vec!["-P".to_owned(), "mda".to_owned()];
    let options = Options { dir: Some(dir.to_owned()), arguments, ..Options::default() };
    let server = Server::start(options);
    let mut client = server.connect();
    client.expect("EHLO client.example", "250");
    client.expect("MAIL FROM:<s@example.org> RET=HDRS ENVID=QQ", "250");
    client.expect("RCPT TO:<one@localhost> NOTIFY=SUCCESS,DELAY", "250");
    client.expect("RCPT TO:<two@localhost> ORCPT=rfc822;two@example.net", "250");
    client.expect("DATA", "354");
    client.expect("Subject: short\r\n\r\n..dot\r\n\x01\x7f octets \u{fc}\r\n.", "250");
    let lines: String = (0..40_000).map(|n| format!("line {n} of a larger message\r\n")).collect();
    assert!(
        client.message("l@example.org", "large@localhost", lines.as_bytes()).starts_with("250")
    );
    assert!(client.message("", "null@localhost", b"x\r\n").starts_with("250"));
    server
}

/// Runs smtpctl on the files of a queue, where no daemon answers.
fn offline(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program("smtpctl"));
    command.arg("-s").arg(dir.join("no.sock")).arg("-q").arg(dir.join("spool"));
    command.args(arguments).output().expect("smtpctl runs")
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).expect("text")
}

/// What must have gone well prints.
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout)
}

/// Every file and directory below, with what can be seen to change.
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

/// The files of an export by their names.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).expect("the directory").map(|entry| entry.expect("an entry"));
    let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
    entries.map(|e| (name(&e.path()), fs::read(e.path()).expect("read"))).collect()
}

#[test]
fn the_queue_is_shown_with_the_daemon_up_and_with_it_down() {
    let dir = TempDir::new();
    let mut server = server(dir.path());
    let online = |arguments: &[&str]| {
        let (status, out, err) = server.smtpctl(arguments);
        assert!(status.success() && err.is_empty(), "{arguments:?}: {err}");
        out
    };
    let queue = online(&["show", "queue"]);
    let lines: Vec<Vec<&str>> = queue.lines().map(|line| line.split('|').collect()).collect();
    assert_eq!(lines.len(), 4, "{queue}");
    let ids: Vec<&str> = lines.iter().map(|fields| fields[0]).collect();
    assert!(ids.is_sorted(), "{queue}");
    let envelopes: Vec<String> = ids.iter().map(|id| online(&["show", "envelope", id])).collect();
    let messages: Vec<String> = ids.iter().map(|id| online(&["show", "message", id])).collect();
    let one = lines.iter().position(|fields| fields[5] == "one@localhost").expect("it is there");
    let begin = "version: 3\ndispatcher: local\ntype: mda\nsmtpname: ";
    assert!(envelopes[one].starts_with(begin), "{}", envelopes[one]);
    let end = "retry: 0\ndsn-notify: 5\ndsn-ret: HDRS\ndsn-envid: QQ\nmda-user: one\nnext-try: ";
    assert!(envelopes[one].contains(end), "{}", envelopes[one]);
    let content = "\n\n.dot\n\u{1}\u{7f} octets \u{fc}\n";
    assert!(messages[one].ends_with(content), "{}", messages[one]);
    assert_eq!(online(&["show", "message", &ids[one][..8]]), messages[one]);
    let large = messages.iter().map(String::len).max();
    assert!(large > Some(900_000), "a large message is shown whole: {large:?}");
    let (status, out, _) = server.smtpctl(&["show", "message", "00000001"]);
    assert!(!status.success());
    assert!(out.contains("is not in the queue"), "{out}");
    server.stop();

    let before = listing(dir.path());
    let shown = printed(&offline(dir.path(), &["show", "queue"]));
    for (line, fields) in shown.lines().zip(&lines) {
        let mut expected = fields.clone();
        (expected[11], expected[12]) = ("offline", "");
        assert_eq!(line, expected.join("|"));
    }
    assert_eq!(shown.lines().count(), 4);
    let of_message = printed(&offline(dir.path(), &["show", "queue", &ids[one][..8]]));
    assert_eq!(of_message.lines().count(), 2);
    for ((id, envelope), message) in ids.iter().zip(&envelopes).zip(&messages) {
        assert_eq!(printed(&offline(dir.path(), &["show", "envelope", id])), *envelope);
        assert_eq!(printed(&offline(dir.path(), &["show", "message", id])), *message);
    }
    let absent = offline(dir.path(), &["show", "message", "00000001"]);
    assert_eq!(absent.status.code(), Some(1));
    assert_eq!(listing(dir.path()), before, "looking changes nothing");
}

#[test]
fn what_is_no_queue_or_somebody_elses_is_said_and_nothing_is_made() {
    let dir = TempDir::new();
    let refused = |expected: &str| {
        let before = listing(dir.path());
        let output = offline(dir.path(), &["show", "queue"]);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
        assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
        assert_eq!(listing(dir.path()), before);
    };
    refused("spool: there is no such directory");
    fs::create_dir(dir.path().join("spool")).expect("made");
    refused("there is no queue in");
    fs::remove_dir(dir.path().join("spool")).expect("removed");
    let server = server(dir.path());
    let output = offline(dir.path(), &["show", "queue"]);
    assert!(text(&output.stderr).contains("is in use by an smtpd"), "{}", text(&output.stderr));
    drop(server);

    // The configuration says where the queue is; a mistake in it is shown as smtpd shows it.
    let path = dir.path().join("smtpd.conf");
    let config = |rest: &str| {
        let lines = "queue directory $dir/spool\ncontrol socket $dir/no.sock\n";
        let text = format!("{lines}{rest}match for any reject\n");
        fs::write(&path, text).expect("written");
        let mut command = Command::new(program("smtpctl"));
        let macros = format!("dir={}", dir.path().display());
        command.args(["-D", &macros, "-f"]).arg(&path).args(["show", "queue"]);
        command.output().expect("smtpctl runs")
    };
    assert_eq!(printed(&config("")).lines().count(), 4);
    let output = config("nonsense\n");
    assert_eq!(output.status.code(), Some(1));
    let begin = format!("{}:3", path.display());
    assert!(text(&output.stderr).starts_with(&begin), "{}", text(&output.stderr));
}

#[test]
fn an_export_is_the_queue_and_overwrites_nothing() {
    let dir = TempDir::new();
    let mut server = server(dir.path());
    let (online, down) = (dir.path().join("online"), dir.path().join("down"));
    let export = |to: &Path| server.smtpctl(&["queue", "export", &to.display().to_string()]);
    let (status, out, err) = export(&online);
    assert!(status.success(), "{err}");
    assert_eq!(out, "messages=3\nenvelopes=4\nfailed=0\n");
    let exported = files(&online);
    assert_eq!(exported.len(), 6);
    let mode = |path: &Path| fs::metadata(path).expect("there").mode() & 0o777;
    assert_eq!(mode(&online), 0o700);
    for (name, octets) in &exported {
        assert_eq!(mode(&online.join(name)), 0o600);
        if let Some(id) = name.strip_suffix(".eml") {
            let shown = server.smtpctl(&["show", "message", id]).1;
            assert_eq!(text(octets).replace("\r\n", "\n"), shown);
            assert!(octets.ends_with(b"\r\n"));
        }
    }
    // Once more into the same place: everything is left as it is.
    let (status, out, err) = export(&online);
    assert_eq!(status.code(), Some(1));
    assert_eq!(out, "messages=0\nenvelopes=0\nfailed=3\n");
    assert_eq!(err.matches("is there already and is left as it is").count(), 3, "{err}");
    assert_eq!(files(&online), exported);
    server.stop();
    let before = listing(&dir.path().join("spool"));
    let output = offline(dir.path(), &["queue", "export", &down.display().to_string()]);
    assert_eq!(printed(&output), "messages=3\nenvelopes=4\nfailed=0\n");
    assert_eq!(files(&down), exported);
    assert_eq!(listing(&dir.path().join("spool")), before);
}

/// The values of `queue verify` by their names.
fn values(output: &str) -> BTreeMap<String, String> {
    let pairs = output.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn verify_counts_everything_and_finds_a_flipped_bit() {
    let dir = TempDir::new();
    let mut server = server(dir.path());
    let (status, out, err) = server.smtpctl(&["queue", "verify"]);
    assert!(status.success() && err.is_empty(), "{err}");
    let online = values(&out);
    assert_eq!((online["messages"].as_str(), online["envelopes"].as_str()), ("3", "4"));
    assert!(online["bytes"].parse::<u64>().expect("a number") > 1_000_000, "{out}");
    assert!(online["oldest"].parse::<u64>().expect("a time") > 1_700_000_000, "{out}");
    assert_eq!((online["damaged"].as_str(), online["keys"].as_str()), ("0", ""));
    server.stop();

    let before = listing(dir.path());
    let down = values(&printed(&offline(dir.path(), &["queue", "verify"])));
    for name in ["messages", "envelopes", "bytes", "oldest", "damaged"] {
        assert_eq!(down[name], online[name], "{name}");
    }
    assert_eq!(listing(dir.path()), before);

    let flip = |path: &Path, at: usize| {
        let mut octets = fs::read(path).expect("read");
        octets[at] ^= 0x10;
        fs::write(path, octets).expect("written");
    };
    let damaged = |expected: &str, messages: &str| {
        let output = offline(dir.path(), &["queue", "verify"]);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{out}{err}");
        assert!(err.contains(expected), "{err}");
        let found = values(&out);
        assert_eq!((found["damaged"].as_str(), found["messages"].as_str()), ("1", messages));
    };
    let content = fs::read_dir(dir.path().join("spool/content")).expect("read").next();
    let content = content.expect("a file").expect("an entry").path();
    flip(&content, 500_000);
    damaged("is damaged", "3");
    flip(&content, 500_000);
    let segments = fs::read_dir(dir.path().join("spool/journal")).expect("read");
    let segments = segments.map(|entry| entry.expect("an entry").path());
    let holds = |path: &PathBuf, at: &mut usize| {
        let octets = fs::read(path).expect("read");
        let found = octets.windows(7).position(|octets| octets == b"octets ");
        found.inspect(|found| *at = *found).is_some()
    };
    let mut at = 0;
    let segment = segments.into_iter().find(|path| holds(path, &mut at)).expect("the message");
    flip(&segment, at);
    damaged("octets at", "2");
    flip(&segment, at);
    printed(&offline(dir.path(), &["queue", "verify"]));
    fs::remove_file(&content).expect("removed");
    damaged("No such file", "3");
}

#[test]
fn the_index_is_made_anew_and_mail_is_found_in_the_journal() {
    let dir = TempDir::new();
    let mut server = server(dir.path());
    let (_, queue, _) = server.smtpctl(&["show", "queue"]);
    let id = queue.split('|').next().expect("an envelope").to_owned();
    for (arguments, said) in [
        (&["queue", "rebuild"][..], "command succeeded\n"),
        (&["discover", &id], "1 envelope discovered\n"),
        (&["discover", "00000001"], "0 envelopes discovered\n"),
    ] {
        let (status, out, err) = server.smtpctl(arguments);
        assert!(status.success(), "{arguments:?}: {err}");
        assert_eq!(out, said);
    }
    let (_, again, _) = server.smtpctl(&["show", "queue"]);
    assert_eq!(again.lines().count(), 4, "no mail is lost or doubled by it");
    server.stop();
    assert!(fs::read_dir(dir.path().join("spool/index")).expect("an index").count() > 0);
    let found = printed(&offline(dir.path(), &["discover", &id]));
    assert_eq!(found, "1 envelope discovered\n");
    assert_eq!(printed(&offline(dir.path(), &["queue", "rebuild"])), "command succeeded\n");
    assert!(!dir.path().join("spool/index").exists());

    let options = Options { dir: Some(dir.path().to_owned()), ..Options::default() };
    let server = Server::start(options);
    server.wait_for_empty_queue(Duration::from_secs(30));
}
