//! A thousand rules, and a recipient that only the last one takes.

use std::fmt::Write;
use std::time::{Duration, Instant};

use smtpd_config::check::World;
use smtpd_config::{Client, Decision, Facts, load};
use smtpd_engine::address::Mailbox;
use smtpd_tests::paper::Paper;

use crate::Figure;

const RULES: usize = 1_000;

/// Decisions of one run, so that the clock does not count.
const DECISIONS: u32 = 100;

/// Each rule looks at several things, and fails at the last of them.
fn rules(condition: impl Fn(usize) -> String) -> String {
    let mut text = String::from("action \"local\" maildir\n");
    for nth in 0..RULES - 1 {
        let _ = writeln!(text, "match from any {} action \"local\"", condition(nth));
    }
    text + "match from any for any action \"local\"\n"
}

pub(crate) fn run() -> Result<Vec<Figure>, String> {
    let by_domain = rules(|nth| format!("for domain d{nth}.example"));
    let by_pattern = rules(|nth| format!("for domain \"*.d{nth}.example\""));
    let by_all = rules(|nth| {
        format!(
            "helo \"*.example.net\" mail-from \"@example.com\" for rcpt-to \"u{nth}@example.org\""
        )
    });
    Ok(vec![
        figure("1,000 rules for domain NAME", &by_domain)?,
        figure("1,000 rules for domain *.NAME", &by_pattern)?,
        figure("1,000 rules helo, mail-from, for rcpt-to", &by_all)?,
    ])
}

fn figure(name: &'static str, text: &str) -> Result<Figure, String> {
    let machine = Paper::new(text);
    let (config, _) = load("smtpd.conf", &[], Paper::host(), &machine)
        .map_err(|mistakes| mistakes.iter().map(|m| format!("{m}\n")).collect::<String>())?;
    let mailbox = |text| Mailbox::parse(text).map_err(|_| format!("{text} is no address"));
    let (sender, rcpt) = (mailbox("ann@example.com")?, mailbox("somebody@elsewhere.example.org")?);
    let facts = Facts {
        client: Client::Ip([198, 51, 100, 7].into()),
        rdns: None,
        rdns_confirmed: false,
        helo: "mail.example.net",
        tag: None,
        auth: None,
        tls: false,
        sender: Some(&sender),
        day: 20_781,
    };
    let mut runs = Vec::new();
    for _ in 0..50 {
        let began = Instant::now();
        for _ in 0..DECISIONS {
            match config.decide(&facts, &rcpt, machine.outside()) {
                Decision::Action { rule, .. } if rule == RULES - 1 => {}
                other => return Err(format!("{name}: decided otherwise: {other:?}")),
            }
        }
        runs.push(began.elapsed() / DECISIONS);
    }
    Ok(Figure { name, runs, bound: Duration::from_micros(100) })
}
