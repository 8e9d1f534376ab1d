//! Table processes, the good ones and the others: mail that needs them waits for them or is put
//! off, and mail that does not is not held up.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use smtpd_tests::program::{Options, Server, TempDir, eventually, repository};

/// A server that asks `table.py` in that mode; its questions are in the file `questions`.
fn start(mode: &str, dir: &Path) -> Server {
    let program = repository().join("tests/clients/table.py");
    let text = format!(
        "table t \"proc-exec:python3 {} {mode} {}/questions\"\n\
         queue directory \"{dir}/spool\"\ncontrol socket \"{dir}/smtpd.sock\"\ndaemon user root\n\
         listen on 127.0.0.1 port $port\n\
         action \"table\" maildir \"{dir}/mail/%{{dest.user}}\" userbase any alias <t>\n\
         action \"plain\" maildir \"{dir}/mail/%{{dest.user}}\" userbase any\n\
         match from any for domain plain.example action \"plain\"\n\
         match from any for domain <t> action \"table\"\n",
        program.display(),
        dir.display(),
        dir = dir.display(),
    );
    fs::write(dir.join("conf"), text).expect("written");
    let (config, dir) = (Some(dir.join("conf")), Some(dir.to_owned()));
    Server::start(Options { config, dir, ..Options::default() })
}

/// The reply to one recipient.
fn rcpt(server: &Server, to: &str) -> String {
    let mut client = server.connect();
    client.expect("EHLO client.example", "250");
    client.expect("MAIL FROM:<x@else.example>", "250");
    client.command(&format!("RCPT TO:<{to}>"))
}

fn questions(dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(dir.join("questions")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn starts(dir: &Path) -> usize {
    questions(dir).iter().filter(|line| *line == "start t").count()
}

#[test]
fn a_good_program_is_asked_line_by_line() {
    let dir = TempDir::new();
    let server = start("good", dir.path());
    assert!(rcpt(&server, "Team@A.example").starts_with("250"));
    assert!(rcpt(&server, "someone@b.example").starts_with("250"));
    assert!(rcpt(&server, "someone@c.example").starts_with("550"));
    // A value that is no alias.
    assert!(rcpt(&server, "bad@a.example").starts_with("424"));
    // What would be more than a key in their line does not get there.
    assert!(rcpt(&server, "a|b@a.example").starts_with("424"));
    let asked: Vec<String> = questions(dir.path())
        .iter()
        .skip(1)
        .map(|line| {
            let fields: Vec<&str> = line.split('|').collect();
            assert_eq!((fields[3], fields.len()), ("t", 8), "{line}");
            format!("{} {} {} {}", fields[4], fields[5], fields[6], fields[7])
        })
        .collect();
    assert_eq!(asked[0], "check domain 00000001 a.example");
    assert_eq!(asked[1], "lookup alias 00000002 team");
    assert!(asked.iter().all(|line| !line.contains('@') && !line.ends_with("a|b")), "{asked:?}");
    assert_eq!(starts(dir.path()), 1);
}

/// A program that fails in that way: mail for its table is put off, it is started again after a
/// pause, and nobody else notices.
fn fails(mode: &str, code: &str) {
    let dir = TempDir::new();
    let server = start(mode, dir.path());
    assert!(rcpt(&server, "team@a.example").starts_with("250"));
    let begun = Instant::now();
    let bad = format!("{mode}@a.example");
    let reply = std::thread::scope(|scope| {
        let asking = scope.spawn(|| rcpt(&server, &bad));
        // Whoever does not need the table does not wait for it.
        while !asking.is_finished() {
            let plain = Instant::now();
            assert!(rcpt(&server, "x@plain.example").starts_with("250"));
            assert!(plain.elapsed() < Duration::from_secs(4), "held up by the table");
            std::thread::sleep(Duration::from_millis(50));
        }
        asking.join().expect("asked")
    });
    assert!(reply.starts_with(code), "{reply}");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    eventually("the program answers again", || {
        let reply = rcpt(&server, "team@a.example");
        assert!(reply.starts_with("250") || reply.starts_with("451"), "{reply}");
        reply.starts_with("250") && starts(dir.path()) == 2
    });
    assert!(fs::read_dir(dir.path().join("mail/eve")).is_err(), "an answer to another question");
}

#[test]
fn a_program_that_hangs_is_started_again() {
    fails("silent", "424");
}

#[test]
fn a_program_that_ends_is_started_again() {
    fails("dies", "424");
}

#[test]
fn a_program_that_says_anything_is_started_again() {
    fails("garbage", "424");
    fails("stale", "424");
    fails("endless", "424");
}

/// Its second answer would be that to the next question.
#[test]
fn a_program_that_answers_twice_is_started_again() {
    fails("twice", "250");
}

/// An error that it tells is one of the moment, and the program goes on.
#[test]
fn a_program_that_fails_in_order_goes_on() {
    let dir = TempDir::new();
    let server = start("error", dir.path());
    assert!(rcpt(&server, "error@a.example").starts_with("424"));
    assert!(rcpt(&server, "team@a.example").starts_with("250"));
    assert_eq!(starts(dir.path()), 1);
    server.wait_for_log("table-proc: t lookup failed: no disk");
}

#[test]
fn a_program_that_is_not_there_puts_mail_off() {
    let dir = TempDir::new();
    let text = "table t nonsense:/etc/hosts\nlisten on 127.0.0.1 port $port\n\
                queue directory \"$dir/spool\"\ncontrol socket \"$dir/smtpd.sock\"\ndaemon user root\n\
                action \"a\" maildir \"$dir/mail\" userbase any\n\
                match from any for domain <t> action \"a\"\n";
    let text = text.replace("$dir", &dir.path().to_string_lossy());
    fs::write(dir.path().join("conf"), text).expect("written");
    let (config, own) = (Some(dir.path().join("conf")), Some(dir.path().to_owned()));
    let server = Server::start(Options { config, dir: own, ..Options::default() });
    assert!(rcpt(&server, "x@a.example").starts_with("451"));
    server.wait_for_log("there is no table-nonsense");
}

/// Whether all processes that the hanging program has started have ended; there are that many.
fn children_have_ended(dir: &Path, many: usize) -> bool {
    let pids = fs::read_to_string(dir.join("questions.children")).unwrap_or_default();
    let has_ended = |pid: &str| {
        let ps = Command::new("ps").args(["-o", "stat=", "-p", pid]).output().expect("ps");
        // Whoever should wait for it is not ours to wait for.
        ps.stdout.is_empty() || ps.stdout.starts_with(b"Z")
    };
    pids.lines().count() == many && pids.lines().all(has_ended)
}

#[test]
fn what_a_program_has_started_ends_with_it_and_with_the_daemon() {
    let dir = TempDir::new();
    let mut server = start("silent", dir.path());
    assert!(rcpt(&server, "silent@a.example").starts_with("424"));
    eventually("it was ended", || children_have_ended(dir.path(), 1));
    eventually("it is started again", || rcpt(&server, "team@a.example").starts_with("250"));
    let mut client = server.connect();
    client.expect("EHLO client.example", "250");
    client.expect("MAIL FROM:<x@else.example>", "250");
    client.send(b"RCPT TO:<silent@a.example>\r\n").expect("sent");
    eventually("it hangs", || {
        let pids = fs::read_to_string(dir.path().join("questions.children"));
        pids.is_ok_and(|pids| pids.lines().count() == 2)
    });
    assert!(server.stop().success());
    assert!(children_have_ended(dir.path(), 2));
}
