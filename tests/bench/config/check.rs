//! `smtpd -n` as people run it: the whole program, an ordinary file.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use smtpd_tests::program::TempDir;

use crate::Figure;

/// What a server of a small house has.
const ORDINARY: &str = r#"
table domains { example.org, example.net, "*.example.com" }
table aliases { root = joe, postmaster = root, info = "joe, ann" }
table mynets { 192.0.2.0/24, "2001:db8::/32" }
queue ttl 5d
smtp max-message-size 50M
listen on localhost port 2525
listen on localhost port 2526 tag INSIDE
action "local" maildir "/var/mail/%{dest.user:lowercase}" userbase any alias <aliases>
action "out" relay
match from any mail-from "@spam.example" for any reject
match from any for domain <domains> action "local"
match for local action "local"
match tag INSIDE from src <mynets> for any action "out"
match for any action "out"
"#;

pub(crate) fn run() -> Result<Vec<Figure>, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let smtpd = own.with_file_name("smtpd");
    let folder = TempDir::new();
    let file = folder.path().join("smtpd.conf");
    fs::write(&file, ORDINARY).map_err(|error| error.to_string())?;
    let mut runs = Vec::new();
    for _ in 0..20 {
        let began = Instant::now();
        let status = Command::new(&smtpd)
            .args(["-n", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .map_err(|error| format!("{}: {error}", smtpd.display()))?;
        runs.push(began.elapsed());
        if !status.success() {
            return Err(format!("smtpd -n refuses the ordinary file: {status}"));
        }
    }
    let bound = Duration::from_millis(20);
    Ok(vec![Figure { name: "smtpd -n of an ordinary file", runs, bound }])
}
