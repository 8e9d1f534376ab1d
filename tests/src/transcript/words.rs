//! Questions written out, as `Q:` lines have them: a name, then words that are there always, so
//! that a transcript can also say what must not be.

use std::fmt::Display;

use smtpd_engine::address::PathRef;
use smtpd_engine::server::{Asked, Body, Credentials, Event};

/// The words of a question.
///
/// # Panics
/// When `event` is a notice.
#[must_use]
pub fn question(event: &Event<'_>) -> Vec<String> {
    match event {
        Event::Connected { .. } => words(["connected".into()]),
        Event::Hello { name, esmtp, .. } => {
            let protocol = if *esmtp { "esmtp" } else { "smtp" };
            words(["hello".into(), format!("name={name}"), protocol.into()])
        }
        Event::Auth { credentials, .. } => match &**credentials {
            Credentials::Password { user, password } => words([
                "auth".into(),
                format!("user={user}"),
                format!("password={}", password.escape_ascii()),
            ]),
            Credentials::Scram { plus, message } => words([
                "auth".into(),
                format!("scram={}", if *plus { "plus" } else { "plain" }),
                format!("message={}", message.escape_ascii()),
            ]),
            Credentials::Response(octets) => {
                words(["auth".into(), format!("response={}", octets.escape_ascii())])
            }
        },
        Event::Mail { from, params, .. } => words([
            "mail".into(),
            format!("from=<{}>", from.as_ref().map_or_else(String::new, address)),
            format!("size={}", or_none(params.size)),
            match params.body {
                Body::SevenBit => "body=7bit".into(),
                Body::EightBitMime => "body=8bitmime".into(),
            },
            format!("smtputf8={}", if params.smtputf8 { "yes" } else { "no" }),
            format!("ret={}", or_none(params.ret).to_lowercase()),
            format!("envid={}", or_none(params.envid)),
        ]),
        Event::Rcpt { to, params, .. } => words([
            "rcpt".into(),
            format!("to=<{}>", address(to)),
            format!("notify={}", or_none(params.notify).to_lowercase()),
            format!("orcpt={}", or_none(params.orcpt.map(|orcpt| orcpt.as_str()))),
        ]),
        Event::Data { .. } => words(["data".into()]),
        Event::EndOfData { octets, .. } => {
            words(["end-of-data".into(), format!("octets={octets}")])
        }
        Event::Command { command, .. } => match command {
            Asked::StartTls => words(["command".into(), "starttls".into()]),
            Asked::Rset => words(["command".into(), "rset".into()]),
            Asked::Noop(argument) => words([
                "command".into(),
                "noop".into(),
                format!("argument={}", argument.escape_ascii()),
            ]),
            Asked::Quit => words(["command".into(), "quit".into()]),
        },
        notice => panic!("{notice:?} is no question"),
    }
}

fn words<const N: usize>(words: [String; N]) -> Vec<String> {
    words.into()
}

fn or_none(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

/// The canonical address; without a domain where the peer gave none.
fn address(path: &PathRef<'_>) -> String {
    match path.domain {
        Some(_) => path.to_mailbox("localhost").to_string(),
        None => path.local.to_owned(),
    }
}

/// Whether the question `got` has the name and all the words of `expected`.
///
/// A word may hold blanks, so `expected` is not split: at each place some word of `got` must
/// stand.
#[must_use]
pub fn agree(expected: &str, got: &[String]) -> bool {
    let Some((name, mut words)) = got.split_first() else { return false };
    let mut rest = expected.trim();
    let mut taken = match rest.strip_prefix(name.as_str()) {
        Some(behind) if behind.is_empty() || behind.starts_with(' ') => behind,
        _ => return false,
    };
    loop {
        rest = taken.trim_start();
        if rest.is_empty() {
            return true;
        }
        let found = words.iter().enumerate().find_map(|(nth, word)| {
            let behind = rest.strip_prefix(word.as_str())?;
            (behind.is_empty() || behind.starts_with(' ')).then_some((nth, behind))
        });
        let Some((nth, behind)) = found else { return false };
        words = &words[nth + 1..];
        taken = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::agree;

    #[test]
    fn words_are_found_in_their_order() {
        let got = ["mail", "from=<a b@x>", "size=10", "ret=-"].map(String::from);
        for good in ["mail", "mail from=<a b@x>", "mail size=10 ret=-", "mail from=<a b@x> ret=-"] {
            assert!(agree(good, &got), "{good}");
        }
        for bad in ["", "mai", "mailx", "mail size=1", "mail size=100", "mail ret=- size=10"] {
            assert!(!agree(bad, &got), "{bad}");
        }
    }
}
