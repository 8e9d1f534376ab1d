//! An envelope of OpenSMTPD as one of ours.
//!
//! Version 3 (since 6.4) names the action as dispatcher, and if today's configuration has one of
//! that name and kind it is kept. Versions 1 and 2 have methods and relay URLs instead; those, and
//! names that are gone, are decided by today's rules.

use smtpd_config::{Config, Method};
use smtpd_engine::address::{Mailbox, ReversePath};
use smtpd_queue::envelope::{Agent, Due, Notify, Ret, Source};

use super::fields::Fields;
use crate::transfer::document::{Document, Part};

const MICROS: u64 = 1_000_000;

/// The message of an envelope, with this envelope alone.
///
/// # Errors
/// The field that is wrong.
pub fn document(fields: &Fields<'_>, config: &Config) -> Result<Document, String> {
    let version = fields.number::<u32>("version")?;
    if !(1..=3).contains(&version) {
        return Err(format!("version: is {version}, and not 1, 2 or 3"));
    }
    let flags: Vec<&str> = fields.get("flags").unwrap_or_default().split_whitespace().collect();
    let username = fields.text("username").or_else(|| {
        // Older versions say that somebody was, but not who.
        flags.contains(&"authenticated").then(|| "authenticated".to_owned())
    });
    let created = micros(fields, "ctime")?;
    Ok(Document {
        message: None,
        octets: None,
        created: Some(created),
        sender: match fields.get("sender") {
            None | Some("@") => ReversePath::Null,
            Some(_) => ReversePath::Mailbox(address(fields, "sender")?),
        },
        source: source(fields)?,
        helo: fields.text("helo"),
        hostname: fields.text("hostname"),
        smtpname: fields.text("smtpname"),
        tag: fields.text("tag").unwrap_or_default(),
        username,
        tls: false,
        smtputf8: false,
        ret: match fields.get("dsn-ret") {
            None => None,
            Some("FULL") => Some(Ret::Full),
            Some("HDRS") => Some(Ret::Headers),
            Some(_) => return Err("dsn-ret: is neither FULL nor HDRS".to_owned()),
        },
        envid: fields.text("dsn-envid"),
        envelopes: vec![part(fields, version, created, &flags, config)?],
    })
}

fn part(
    fields: &Fields<'_>,
    version: u32,
    created: u64,
    flags: &[&str],
    config: &Config,
) -> Result<Part, String> {
    let rcpt = address(fields, "rcpt")?;
    let kind = fields.get("type").ok_or("type: is missing")?;
    if !matches!(kind, "mda" | "mta" | "bounce") {
        return Err("type: is none of mda, mta and bounce".to_owned());
    }
    let error = fields.text("errorline").unwrap_or_default();
    let due = (kind == "bounce").then_some(Due::Held);
    let ttl = fields.number::<u32>(if version == 3 { "ttl" } else { "expire" })?;
    let told = micros(fields, "last-bounce")?.saturating_sub(created) / MICROS;
    Ok(Part {
        id: None,
        dest: match fields.get("dest") {
            None => rcpt.clone(),
            Some(_) => address(fields, "dest")?,
        },
        rcpt,
        internal: flags.contains(&"internal"),
        action: action(fields, kind, config),
        // Zero stands for what the action says.
        ttl: Some(ttl).filter(|ttl| *ttl != 0 && kind != "bounce"),
        notify: notify(fields)?,
        orcpt: fields.text("dsn-orcpt"),
        tries: fields.number("retry")?,
        last_try: micros(fields, "last-try")?,
        due,
        error: match kind {
            "bounce" => {
                let about = fields.get("bounce-type").unwrap_or("failed");
                format!("OpenSMTPD had yet to tell the sender ({about}): {error}")
            }
            _ => error,
        },
        suspended: false,
        told: u32::try_from(told).unwrap_or(u32::MAX),
    })
}

/// The action that the envelope names, if it is one of today's and of the same kind.
fn action(fields: &Fields<'_>, kind: &str, config: &Config) -> Option<(String, Agent)> {
    let name = fields.get("dispatcher")?;
    if kind == "bounce" {
        // Held: it is a report that stands here, and delivering the message would be wrong.
        return Some((name.to_owned(), Agent::Mta));
    }
    match (&config.action(name)?.method, kind, fields.get("mda-user")) {
        (Method::Local(_), "mda", Some(user)) => {
            Some((name.to_owned(), Agent::Mda { user: user.to_owned() }))
        }
        (Method::Relay(_), "mta", _) => Some((name.to_owned(), Agent::Mta)),
        _ => None,
    }
}

fn address(fields: &Fields<'_>, name: &str) -> Result<Mailbox, String> {
    let text = fields.get(name).ok_or_else(|| format!("{name}: is missing"))?;
    Mailbox::parse(text).map_err(|error| format!("{name}: is {error}"))
}

fn micros(fields: &Fields<'_>, name: &str) -> Result<u64, String> {
    let seconds = fields.number::<u64>(name)?;
    seconds.checked_mul(MICROS).ok_or_else(|| format!("{name}: is no number in range"))
}

/// The client's address; `local`, or a path, for what came over the local socket.
fn source(fields: &Fields<'_>) -> Result<Source, String> {
    let Some(text) = fields.get("sockaddr") else { return Ok(Source::Local) };
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let bare = bare.strip_prefix("IPv6:").unwrap_or(bare);
    match bare.parse() {
        Ok(ip) => Ok(Source::Ip(ip)),
        Err(_) if text == "local" || text.starts_with('/') => Ok(Source::Local),
        Err(_) => Err("sockaddr: is no address".to_owned()),
    }
}

fn notify(fields: &Fields<'_>) -> Result<Option<Notify>, String> {
    let bits = fields.number::<u8>("dsn-notify")?;
    let notify = Notify { success: bits & 1 != 0, failure: bits & 2 != 0, delay: bits & 4 != 0 };
    // 8 is never: none of the three, but said.
    Ok((bits != 0).then_some(notify))
}
