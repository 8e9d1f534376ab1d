//! `show envelope`: an envelope in the form of OpenSMTPD's envelope files, version 3, with its
//! fields in its order; behind them those that it has not.

use std::io::{self, Write};

use smtpd_queue::envelope::{Agent, Due, Notify, Ret, Source};

use crate::log::vis::vis;
use crate::transfer::document::{Document, Part};

/// Prints one envelope of a message. Fields without a value are left out, as in the files.
///
/// # Errors
/// Of the output.
pub fn show(out: &mut dyn Write, message: &Document, part: &Part) -> io::Result<()> {
    let (action, agent, user) = match &part.action {
        None => ("", "", ""),
        Some((action, Agent::Mta)) => (action.as_str(), "mta", ""),
        Some((action, Agent::Mda { user })) => (action.as_str(), "mda", user.as_str()),
    };
    let source = match message.source {
        Source::Local => "local".to_owned(),
        Source::Ip(ip) => ip.to_string(),
    };
    let sender = match message.sender.to_string() {
        null if null.is_empty() => "@".to_owned(),
        sender => sender,
    };
    let flags = [
        (message.username.is_some(), "authenticated"),
        (part.internal, "internal"),
        (part.suspended, "suspend"),
        (part.due == Some(Due::Held), "hold"),
    ];
    let flags: Vec<_> = flags.into_iter().filter_map(|(set, flag)| set.then_some(flag)).collect();
    let seconds = |micros: u64| (micros / 1_000_000).to_string();
    let ret = match message.ret {
        None => "",
        Some(Ret::Full) => "FULL",
        Some(Ret::Headers) => "HDRS",
    };
    let due = match part.due {
        Some(Due::At(due)) => seconds(due),
        Some(Due::Held) | None => String::new(),
    };
    // The sender was told that it is late when it was so old.
    let told = match part.told {
        0 => 0,
        told => message.created.unwrap_or_default().saturating_add(u64::from(told) * 1_000_000),
    };
    let yes = |set: bool| if set { "yes" } else { "" };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let fields = [
        ("version", "3".to_owned()),
        ("dispatcher", action.to_owned()),
        ("tag", message.tag.clone()),
        ("type", agent.to_owned()),
        ("smtpname", text(&message.smtpname)),
        ("helo", text(&message.helo)),
        ("hostname", text(&message.hostname)),
        ("username", text(&message.username)),
        ("errorline", part.error.clone()),
        ("sockaddr", source),
        ("sender", sender),
        ("rcpt", part.rcpt.to_string()),
        ("dest", part.dest.to_string()),
        ("ctime", seconds(message.created.unwrap_or_default())),
        ("last-try", seconds(part.last_try)),
        ("last-bounce", seconds(told)),
        ("ttl", part.ttl.unwrap_or_default().to_string()),
        ("retry", part.tries.to_string()),
        ("flags", flags.join(" ")),
        ("dsn-notify", part.notify.map_or_else(String::new, |notify| number(notify).to_string())),
        ("dsn-ret", ret.to_owned()),
        ("dsn-envid", text(&message.envid)),
        ("dsn-orcpt", text(&part.orcpt)),
        ("mda-user", user.to_owned()),
        ("next-try", due),
        ("tls", yes(message.tls).to_owned()),
        ("smtputf8", yes(message.smtputf8).to_owned()),
    ];
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        writeln!(out, "{name}: {}", vis(value.as_bytes()))?;
    }
    Ok(())
}

/// NOTIFY as upstream's number.
fn number(notify: Notify) -> u8 {
    match notify {
        Notify { success: false, failure: false, delay: false } => 8,
        Notify { success, failure, delay } => {
            u8::from(success) | u8::from(failure) << 1 | u8::from(delay) << 2
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(json: &str) -> String {
        let document = Document::parse(json.as_bytes()).unwrap();
        let mut out = Vec::new();
        show(&mut out, &document, &document.envelopes[0]).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_fields_are_those_of_the_files_and_in_their_order() {
        let text = shown(
            r#"{"created": 1700000000999999, "sender": "s@example.com", "source": "192.0.2.1",
                "helo": "client", "hostname": "client.example", "smtpname": "mx.example",
                "tag": "in", "username": "jo", "tls": true, "smtputf8": true, "ret": "hdrs",
                "envid": "QQ", "envelopes": [{"rcpt": "a@example.org", "dest": "b@example.org",
                "internal": true, "action": "local", "agent": "mda", "user": "b", "ttl": 345600,
                "notify": ["success", "delay"], "orcpt": "rfc822;a@example.org", "tries": 2,
                "last_try": 1700000100000000, "due": 1700000400000000, "suspended": true,
                "told": 14400, "error": "451 later\nnot now"}]}"#,
        );
        let expected = "version: 3\ndispatcher: local\ntag: in\ntype: mda\nsmtpname: mx.example\n\
             helo: client\nhostname: client.example\nusername: jo\n\
             errorline: 451 later\\nnot now\nsockaddr: 192.0.2.1\nsender: s@example.com\n\
             rcpt: a@example.org\ndest: b@example.org\nctime: 1700000000\nlast-try: 1700000100\n\
             last-bounce: 1700014400\nttl: 345600\nretry: 2\nflags: authenticated internal suspend\ndsn-notify: 5\n\
             dsn-ret: HDRS\ndsn-envid: QQ\ndsn-orcpt: rfc822;a@example.org\nmda-user: b\n\
             next-try: 1700000400\ntls: yes\nsmtputf8: yes\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_has_no_value_is_left_out() {
        let text = shown(
            r#"{"created": 1000000, "helo": "c", "hostname": "c", "envelopes": [{
                "rcpt": "a@example.org", "action": "out", "agent": "mta", "ttl": 60,
                "notify": [], "due": "held", "error": "no action"}]}"#,
        );
        let expected = "version: 3\ndispatcher: out\ntype: mta\nhelo: c\nhostname: c\n\
             errorline: no action\nsockaddr: local\nsender: @\nrcpt: a@example.org\n\
             dest: a@example.org\nctime: 1\nlast-try: 0\nlast-bounce: 0\nttl: 60\nretry: 0\nflags: hold\n\
             dsn-notify: 8\n";
        assert_eq!(text, expected);
    }
}
