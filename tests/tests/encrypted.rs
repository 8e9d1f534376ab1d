//! The real daemon with a compressed and encrypted queue: what is on the disk, other keys, wrong
//! keys.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use smtpd_tests::program::{Options, Server, TempDir, program};

const OLD: &str = "the key of last year, 2025......";
const NEW: &str = "the key of this year, 2026......";

/// Words of the letters below; none may be found on the disk.
const SECRETS: [&str; 5] =
    ["sender-of-mail", "addressee", "subject-words", "small body", "large body"];

/// A configuration with these keys, one for each `queue encryption`.
fn configured(dir: &Path, keys: &[&str]) -> PathBuf {
    let keys: String = keys.iter().map(|key| format!("queue encryption \"{key}\"\n")).collect();
    let path = dir.join("smtpd.conf");
    let text = format!(
        "port = 2525\ndir = \"/nowhere\"\n\
         queue directory $dir/spool\ncontrol socket $dir/smtpd.sock\ndaemon user root\n\
         queue compression\n{keys}\
         listen on lo inet4 port $port\n\
         action \"local\" maildir $dir/mail/%{{dest.user:lowercase}} userbase any\n\
         match from any for any action \"local\"\n"
    );
    fs::write(&path, text).expect("written");
    path
}

/// Starts a daemon that leaves mail in the queue, or delivers it.
fn start(dir: &Path, keys: &[&str], deliver: bool) -> Server {
    let arguments = if deliver { vec![] } else { vec!["-P".into(), "mda".into()] };
    let config = Some(configured(dir, keys));
    Server::start(Options { config, dir: Some(dir.to_owned()), arguments, ..Options::default() })
}

/// A letter that lies in the journal, and one that is too large for it.
fn send(server: &Server) {
    let mut client = server.connect();
    client.expect("EHLO client.example", "250");
    let header = "Subject: subject-words\r\n\r\n";
    let small = format!("{header}a small body\r\n");
    let large = format!("{header}{}", "a large body of many lines\r\n".repeat(20_000));
    for content in [small, large] {
        let reply = client.message(
            "sender-of-mail@example.org",
            "addressee@example.org",
            content.as_bytes(),
        );
        assert!(reply.starts_with("250"), "{reply}");
    }
}

/// Every file below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Which of the words are found in some file below a directory.
fn found(dir: &Path, words: &[&'static str]) -> Vec<&'static str> {
    let octets: Vec<_> = files(dir).iter().map(|path| fs::read(path).expect("a file")).collect();
    let within =
        |octets: &[u8], word: &str| octets.windows(word.len()).any(|w| w == word.as_bytes());
    words.iter().copied().filter(|word| octets.iter().any(|octets| within(octets, word))).collect()
}

fn delivered(dir: &Path, keys: &[&str]) {
    let server = start(dir, keys, true);
    let mail = server.wait_for_mail("addressee", 2);
    let text: String = mail.iter().map(|path| fs::read_to_string(path).expect("mail")).collect();
    assert!(text.contains("a small body\n"));
    assert_eq!(text.matches("a large body of many lines\n").count(), 20_000);
    server.wait_for_empty_queue(smtpd_tests::program::PATIENCE);
}

#[test]
fn nothing_of_the_mail_can_be_read_on_the_disk() {
    let temporary = TempDir::new();
    let (plain, sealed) = (temporary.path().join("plain"), temporary.path().join("sealed"));
    for (dir, keys) in [(&plain, &[][..]), (&sealed, &[NEW])] {
        fs::create_dir(dir).expect("made");
        let mut server = start(dir, keys, false);
        send(&server);
        assert!(!server.log().join("\n").contains(NEW));
        assert!(server.stop().success());
    }
    assert_eq!(found(&plain.join("spool"), &SECRETS), SECRETS, "compression alone hides nothing");
    assert_eq!(found(&sealed.join("spool"), &SECRETS), [""; 0]);
    assert_eq!(found(&sealed.join("spool"), &[NEW]), [""; 0]);
    delivered(&sealed, &[NEW]);
}

#[test]
fn the_key_can_be_changed_while_mail_waits() {
    let temporary = TempDir::new();
    let dir = temporary.path();
    let mut server = start(dir, &[OLD], false);
    send(&server);
    assert!(server.stop().success());
    let mut server = start(dir, &[NEW, OLD], false);
    let (_, queue, _) = server.smtpctl(&["show", "queue"]);
    assert_eq!(queue.lines().count(), 2, "{queue}");
    // The start has begun a segment under the new key, and in time the one before is emptied.
    let first = dir.join("spool/journal/00000001");
    smtpd_tests::program::eventually("mail under the new key", || !first.exists());
    assert!(server.stop().success());
    delivered(dir, &[NEW]);
}

#[test]
fn without_the_right_key_nothing_is_touched() {
    let temporary = TempDir::new();
    let dir = temporary.path();
    let mut server = start(dir, &[OLD], false);
    send(&server);
    assert!(server.stop().success());
    let state = || {
        let files = files(&dir.join("spool/journal"));
        files.iter().map(|path| (path.clone(), fs::read(path).expect("a file"))).collect::<Vec<_>>()
    };
    let before = state();
    for keys in [&[NEW][..], &[]] {
        let config = configured(dir, keys);
        let mut smtpd = Command::new(program("smtpd"));
        smtpd.args(["-d", "-D", &format!("dir={}", dir.display())]).arg("-f").arg(config);
        let output = smtpd.output().expect("smtpd runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("encrypted with a key that is not configured"), "{text}");
        assert!(!text.contains(NEW), "{text}");
        assert!(state() == before, "the journal was touched");
    }
    let mut server = start(dir, &[NEW, OLD], false);
    assert!(server.stop().success());
}

#[test]
fn a_key_from_standard_input_has_32_characters() {
    let temporary = TempDir::new();
    let dir = temporary.path();
    let config = configured(dir, &["stdin"]);
    for (typed, told) in [
        ("too short\n", "32 characters are needed, 9 were given on standard input"),
        ("", "there is none on standard input"),
    ] {
        let input = dir.join("input");
        fs::write(&input, typed).expect("written");
        let output = Command::new(program("smtpd"))
            .args(["-d", "-D", &format!("dir={}", dir.display())])
            .arg("-f")
            .arg(&config)
            .stdin(Stdio::from(fs::File::open(&input).expect("there")))
            .output()
            .expect("smtpd runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(told) && !text.contains("short"), "{text}");
    }
}

/// What the terminal shows when this is typed at the prompt, and how that ends.
fn typed(config: &Path, dir: &Path, text: &str) -> String {
    let (program, config) = (program("smtpd"), config.display());
    let command = format!("{} -d -D dir={} -f {config}", program.display(), dir.display());
    let mut script = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script runs");
    let mut input = script.stdin.take().expect("it is piped");
    let mut output = script.stdout.take().expect("it is piped");
    let mut shown = Vec::new();
    // What is typed before the prompt does not count.
    while !shown.ends_with(b"queue key: ") {
        let mut octet = [0];
        output.read_exact(&mut octet).expect("a prompt");
        shown.push(octet[0]);
    }
    input.write_all(text.as_bytes()).expect("a terminal");
    output.read_to_end(&mut shown).expect("an end");
    drop(input);
    assert!(!script.wait().expect("our child").success());
    String::from_utf8_lossy(&shown).into_owned()
}

#[test]
fn the_key_is_asked_for_on_the_terminal_and_not_shown() {
    if !Command::new("script").arg("--version").output().is_ok_and(|found| found.status.success()) {
        eprintln!("SKIPPED: there is no script(1) of util-linux here");
        return;
    }
    let temporary = TempDir::new();
    let dir = temporary.path();
    let mut server = start(dir, &[OLD], false);
    send(&server);
    assert!(server.stop().success());
    let asking = fs::read_to_string(configured(dir, &[])).expect("written");
    let config = dir.join("asking.conf");
    fs::write(&config, asking.replace("queue compression\n", "queue encryption\n"))
        .expect("written");
    for (text, told) in [
        ("too short\n", "32 characters are needed, 9 were given on the terminal"),
        ("too short\u{3}", "queue key: none was given"),
        (&format!("{NEW}\n"), "encrypted with a key that is not configured"),
    ] {
        let shown = typed(&config, dir, text);
        assert!(shown.contains(told), "{shown}");
        assert!(!shown.contains("short") && !shown.contains(NEW), "{shown}");
    }
}
