//! Mail that goes round (RFC 5321 section 6.3): a server that is its own next hop.

use std::fs;
use std::time::Duration;

use smtpd_tests::program::{Server, TempDir, free_port};

use super::{relay_to_with, send};

/// A server that relays to itself whatever is not for here.example.
fn round(dir: &TempDir) -> Server {
    let port = free_port();
    let above = format!("listen on 127.0.0.1 port {port} hostname relay.example\n");
    relay_to_with(dir, &above, &[format!("smtp://127.0.0.1:{port}")], "")
}

/// How often something was handed on, and how often it was refused.
fn handed_on(server: &Server) -> (usize, usize) {
    let log = server.log();
    let count = |result: &str| {
        let is_it = |line: &&String| line.contains(" mta delivery ") && line.contains(result);
        log.iter().filter(is_it).count()
    };
    (count("result=\"Ok\""), count("result=\"PermFail\""))
}

#[test]
fn what_goes_round_comes_back_when_it_has_a_hundred_trace_fields() {
    let dir = TempDir::new();
    let server = round(&dir);
    send(&server, "alice@here.example", "bob@there.example", b"Subject: round\r\n\r\nx\r\n");
    let report = fs::read_to_string(&server.wait_for_mail("alice", 1)[0]).expect("a report");
    server.wait_for_empty_queue(Duration::from_secs(20));
    for part in [
        "Final-Recipient: rfc822; bob@there.example\nAction: failed\nStatus: 5.4.6\n\
         Remote-MTA: dns; [127.0.0.1]\nDiagnostic-Code: smtp; 554 5.4.6 ",
        "\nSubject: round\n",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    assert_eq!(handed_on(&server), (99, 1));
    assert_eq!(server.maildir("alice").len(), 1);
}

/// The report about it goes round as well, and there is none about that. These are more messages
/// than the server takes over one connection, and the rest goes over another at once.
#[test]
fn a_report_that_goes_round_ends_there() {
    let dir = TempDir::new();
    let server = round(&dir);
    send(&server, "alice@there.example", "bob@there.example", b"Subject: round\r\n\r\nx\r\n");
    server.wait_for_log("warn: queue: no return path!");
    server.wait_for_empty_queue(Duration::from_secs(20));
    assert_eq!(handed_on(&server), (2 * 99, 2));
}
