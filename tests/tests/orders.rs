//! Orders about envelopes with the real programs: what smtpctl says, what the queue then shows, and
//! what is delivered, also over a crash.

use std::fs;
use std::path::Path;

use smtpd_tests::program::{Options, Server, TempDir, eventually};

/// Two domains that are delivered here.
const CONFIG: &str = "\
queue directory $dir/spool
control socket $dir/smtpd.sock
daemon user root
listen on 127.0.0.1 port $port
action here maildir $dir/mail/%{dest.domain} userbase any
match from any for domain { one.example two.example } action here
";

/// The same, but the action has another name.
const RENAMED: &str = "\
queue directory $dir/spool
control socket $dir/smtpd.sock
daemon user root
listen on 127.0.0.1 port $port
action there maildir $dir/mail/%{dest.domain} userbase any
match from any for domain { one.example two.example } action there
";

/// The grammar of 2013, in which actions have no names: both users of one.example, whose Maildirs
/// are in `folder`, get what is for `domain`.
fn legacy(dir: &Path, domain: &str, folder: &str) -> String {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let dir = dir.display();
    format!(
        "queue directory \"{dir}/spool\"\ncontrol socket \"{dir}/smtpd.sock\"\n\
         daemon user root\nlisten on 127.0.0.1 port $port\n\
         table users {{ jo = \"{uid}:{gid}:{dir}/jo\", al = \"{uid}:{gid}:{dir}/al\" }}\n\
         table aliases {{ both = \"jo, al\" }}\n\
         accept from any for domain \"{domain}\" alias <aliases> userbase <users> \
         deliver to maildir \"{dir}/mail/{folder}-%{{user.username}}\"\n"
    )
}

/// A server on `dir` whose deliveries are paused.
fn start(dir: &Path, config: &str) -> Server {
    let file = dir.join("smtpd.conf");
    fs::write(&file, config).expect("written");
    let arguments = vec!["-P".to_owned(), "mda".to_owned()];
    let (config, dir) = (Some(file), Some(dir.to_owned()));
    Server::start(Options { config, dir, arguments, ..Options::default() })
}

/// The id of a message that was accepted.
fn accept(server: &Server, to: &[&str]) -> String {
    let mut client = server.connect();
    client.expect("EHLO client.example", "250");
    client.expect("MAIL FROM:<s@example.org>", "250");
    for to in to {
        client.expect(&format!("RCPT TO:<{to}>"), "250");
    }
    client.expect("DATA", "354");
    client.send(b"Subject: x\r\n\r\nx\r\n").expect("sent");
    let reply = client.expect(".", "250");
    reply.split_whitespace().nth(2).expect("an id").to_owned()
}

/// What smtpctl prints, which must go well.
fn obey(server: &Server, words: &str) -> String {
    let words: Vec<_> = words.split(' ').collect();
    let (status, out, err) = server.smtpctl(&words);
    assert!(status.success() && err.is_empty(), "{words:?}: {out}{err}");
    out
}

/// The envelopes in the queue: recipient, flags and last error of each, sorted.
fn shown(server: &Server) -> Vec<String> {
    let queue = obey(server, "show queue");
    let mut lines: Vec<_> = queue
        .lines()
        .map(|line| {
            let fields: Vec<_> = line.split('|').collect();
            format!("{} {} {}", fields[5], fields[3], fields[13])
        })
        .collect();
    lines.sort();
    lines
}

fn mails(server: &Server, domain: &str) -> usize {
    server.maildir(domain).len()
}

#[test]
fn envelopes_are_paused_resumed_and_removed_by_id_message_and_domain() {
    let dir = TempDir::new();
    let mut server = start(dir.path(), CONFIG);
    let first = accept(&server, &["a@one.example", "b@one.example", "c@two.example"]);
    let second = accept(&server, &["d@two.example"]);
    accept(&server, &["e@one.example"]);

    assert_eq!(obey(&server, "pause envelope all"), "5 envelopes paused\n");
    assert_eq!(obey(&server, "pause envelope all"), "0 envelope paused\n");
    assert_eq!(obey(&server, "resume mda"), "command succeeded\n");
    assert_eq!(obey(&server, "resume envelope domain TWO.example"), "2 envelopes resumed\n");
    assert_eq!(server.wait_for_mail("two.example", 2).len(), 2);
    eventually("three left", || shown(&server).len() == 3);
    let paused = ["a@one.example suspend ", "b@one.example suspend ", "e@one.example suspend "];
    assert_eq!(shown(&server), paused);
    assert_eq!(obey(&server, "schedule all"), "0 envelope scheduled\n", "they stay paused");

    // They stay so over a crash, and a restart in order.
    server.kill();
    drop(server);
    let mut server = start(dir.path(), CONFIG);
    obey(&server, "resume mda");
    assert_eq!(shown(&server), paused);
    assert!(server.stop().success());
    let server = start(dir.path(), CONFIG);
    obey(&server, "resume mda");
    assert_eq!(shown(&server), paused);

    let queue = obey(&server, &format!("show queue {first}"));
    let envelope = queue.lines().find(|line| line.contains("|b@one")).expect("it is there");
    let envelope = envelope.split('|').next().expect("its id");
    assert_eq!(obey(&server, &format!("remove {envelope}")), "1 envelope removed\n");
    assert_eq!(obey(&server, &format!("remove {envelope}")), "0 envelope removed\n");
    assert_eq!(obey(&server, &format!("remove {second}")), "0 envelope removed\n");
    server.wait_for_log(&format!(
        "delivery: Remove for {envelope}: from=<s@example.org>, to=<b@one.example>, \
         rcpt=<b@one.example>, delay="
    ));
    assert!(server.log().iter().any(|line| line.ends_with("stat=Removed by administrator")));
    assert_eq!(obey(&server, &format!("resume envelope {first}")), "1 envelope resumed\n");
    assert_eq!(server.wait_for_mail("one.example", 1).len(), 1);
    assert_eq!(obey(&server, "release domain one.example"), "1 envelope resumed\n");
    assert_eq!(server.wait_for_mail("one.example", 2).len(), 2);
    assert_eq!(obey(&server, "remove all"), "0 envelope removed\n");
    assert_eq!((mails(&server, "one.example"), mails(&server, "two.example")), (2, 2));
}

#[test]
fn an_action_that_is_gone_holds_and_schedule_tries_again_under_todays_rules() {
    let dir = TempDir::new();
    let mut server = start(dir.path(), CONFIG);
    accept(&server, &["a@one.example"]);
    server.kill();
    drop(server);
    let mut server = start(dir.path(), RENAMED);
    obey(&server, "resume mda");
    let held = ["a@one.example hold no action named \"here\""];
    eventually("it is held", || shown(&server) == held);
    assert_eq!(obey(&server, "schedule all"), "1 envelope scheduled\n");
    eventually("it is held again", || shown(&server) == held);
    server.kill();
    drop(server);
    let server = start(dir.path(), CONFIG);
    obey(&server, "resume mda");
    assert_eq!(shown(&server), held, "nothing but an order tries it again");
    assert_eq!(obey(&server, "schedule domain one.example"), "1 envelope scheduled\n");
    assert_eq!(server.wait_for_mail("one.example", 1).len(), 1);
}

#[test]
fn a_legacy_action_that_is_gone_is_decided_again() {
    let dir = TempDir::new();
    let old = legacy(dir.path(), "one.example", "old");
    let mut server = start(dir.path(), &old);
    accept(&server, &["both@one.example"]);
    assert_eq!(shown(&server).len(), 2, "one for each of them");
    server.kill();
    drop(server);

    // Nothing takes them any more: nothing is lost, and nobody is told.
    let mut server = start(dir.path(), &legacy(dir.path(), "two.example", "new"));
    obey(&server, "resume mda");
    let held = |line: &String| {
        line.starts_with("both@one.example hold no action named \"legacy-")
            && line.ends_with("\", and no rule takes it: 550 Invalid recipient: <both@one.example>")
    };
    eventually("they are held", || shown(&server).iter().filter(|line| held(line)).count() == 2);
    server.kill();
    drop(server);

    // A rule takes them under another action. Each goes to its own user and to nobody else, though
    // the alias stands for both.
    let server = start(dir.path(), &legacy(dir.path(), "one.example", "new"));
    obey(&server, "resume mda");
    assert_eq!(obey(&server, "schedule all"), "2 envelopes scheduled\n");
    eventually("an empty queue", || shown(&server).is_empty());
    assert_eq!((mails(&server, "new-jo"), mails(&server, "new-al")), (1, 1));
    assert_eq!((mails(&server, "old-jo"), mails(&server, "old-al")), (0, 0));
    server.wait_for_log("\": decided again: \"legacy-");
}
