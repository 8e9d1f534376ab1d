//! Delivery status notifications as another program reads them: Python's email package.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use smtpd_tests::program::repository;

/// The facts that Python reads from a report, or `None` when there is no Python.
///
/// # Panics
/// When it is no report.
fn facts(octets: &[u8]) -> Option<Vec<String>> {
    let script = repository().join("tests/clients/report.py");
    let mut command = Command::new("python3");
    command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        eprintln!("######## SKIPPED: no python3 to read reports with ########");
        return None;
    };
    child.stdin.take().expect("it is piped").write_all(octets).expect("it is read");
    let output = child.wait_with_output().expect("it ends");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}\n{}", String::from_utf8_lossy(octets));
    let facts = String::from_utf8(output.stdout).expect("text");
    Some(facts.lines().map(str::to_owned).collect())
}

fn crlf(path: &Path) -> Vec<u8> {
    let text = fs::read_to_string(path).expect("a report");
    text.replace('\n', "\r\n").into_bytes()
}

/// The reports that the tests of the queue hold its own to.
#[test]
fn python_reads_every_kind_of_report() {
    let expected = [
        ("failed.eml", &["Action=failed", "Status=5.1.1", "Original-Type=text/rfc822-headers"][..]),
        (
            "full.eml",
            &[
                "Original-Envelope-Id=QQ=31+4159",
                "Original-Recipient=rfc822; Bob+x@example.org",
                "Final-Recipient=rfc822; robert@example.com",
                "Original-Type=message/rfc822",
            ],
        ),
        ("delayed.eml", &["Action=delayed", "Status=4.2.2", "Status-Type=message/delivery-status"]),
        (
            "smtputf8.eml",
            &["Status-Type=message/global-delivery-status", "Original-Type=message/global"],
        ),
    ];
    let folder = repository().join("fixtures/reports");
    let there = fs::read_dir(&folder).expect("the folder").count();
    assert_eq!(there, expected.len(), "every report is read");
    for (name, expected) in expected {
        let Some(facts) = facts(&crlf(&folder.join(name))) else { return };
        for fact in expected.iter().chain(&["To=alice@example.net"]) {
            assert!(facts.iter().any(|one| one == fact), "{name}: no {fact} in {facts:#?}");
        }
    }
}
