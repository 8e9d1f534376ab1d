//! A message of a queue as a JSON object, with everything the journal knows of it.
//!
//! Times are microseconds since 1970. Everything but one envelope's `rcpt` may be left out of a
//! document that somebody writes by hand; what stands for it then is in smtpctl(8). What is left
//! out is `None` here, so that whoever imports can tell.

use std::mem;
use std::net::IpAddr;

use serde_json::{Value, json};
use smtpd_engine::address::{Mailbox, ReversePath};
use smtpd_queue::envelope::{Agent, Due, Envelope, Message, Notify, Ret, Source, State};
use smtpd_queue::id::{EnvelopeId, MessageId};
use smtpd_queue::reader::Found;

use super::fields::Fields;
pub use super::fields::Wrong;

/// Octets of a document at the most: as many as the journal's facts may have.
pub const LONGEST: usize = 16 << 20;

/// The form of documents; raised when an older program could misread a newer one.
const FORMAT: u64 = 1;

/// A message without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its id in the queue that it comes from.
    pub message: Option<MessageId>,
    /// Octets of the content, to find one that was cut.
    pub octets: Option<u64>,
    /// When it was accepted.
    pub created: Option<u64>,
    /// The reverse-path.
    pub sender: ReversePath,
    /// Where it came from.
    pub source: Source,
    /// The name given with HELO or EHLO.
    pub helo: Option<String>,
    /// The name of the peer's address.
    pub hostname: Option<String>,
    /// The name this server showed.
    pub smtpname: Option<String>,
    /// The tag of the listener; empty without one.
    pub tag: String,
    /// Who authenticated.
    pub username: Option<String>,
    /// Whether it came over TLS.
    pub tls: bool,
    /// Whether SMTPUTF8 was asked for.
    pub smtputf8: bool,
    /// RET.
    pub ret: Option<Ret>,
    /// ENVID.
    pub envid: Option<String>,
    /// The envelopes that are left.
    pub envelopes: Vec<Part>,
}

/// One envelope and how it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its id in the queue that it comes from.
    pub id: Option<EnvelopeId>,
    /// The forward-path as given.
    pub rcpt: Mailbox,
    /// What aliases made of it.
    pub dest: Mailbox,
    /// Whether the queue made it itself.
    pub internal: bool,
    /// The action and who delivers; without it the rules of today decide.
    pub action: Option<(String, Agent)>,
    /// Seconds to live.
    pub ttl: Option<u32>,
    /// NOTIFY.
    pub notify: Option<Notify>,
    /// ORCPT.
    pub orcpt: Option<String>,
    /// Attempts that failed.
    pub tries: u32,
    /// When the last attempt ended; zero before the first.
    pub last_try: u64,
    /// When it is tried next; at once when that is left out.
    pub due: Option<Due>,
    /// The words of the last failure.
    pub error: String,
    /// An administrator has paused it.
    pub suspended: bool,
    /// How old it was, in seconds, when its sender was last told that it is late; zero if never.
    pub told: u32,
}

const MESSAGE: [&str; 16] = [
    "format",
    "message",
    "octets",
    "created",
    "sender",
    "source",
    "helo",
    "hostname",
    "smtpname",
    "tag",
    "username",
    "tls",
    "smtputf8",
    "ret",
    "envid",
    "envelopes",
];

const ENVELOPE: [&str; 16] = [
    "id",
    "rcpt",
    "dest",
    "internal",
    "action",
    "agent",
    "user",
    "ttl",
    "notify",
    "orcpt",
    "tries",
    "last_try",
    "due",
    "error",
    "suspended",
    "told",
];

/// What stands for an envelope that nobody lets go.
const HELD: &str = "held";

impl Document {
    /// What a queue says of a message.
    #[must_use]
    pub fn of(found: &Found) -> Document {
        let message = &*found.message;
        let parts = message.envelopes.iter().zip(&found.states);
        Document {
            octets: Some(found.content.octets),
            ..Document::of_message(
                message,
                parts.map(|(one, state)| Part::of(one, state)).collect(),
            )
        }
    }

    fn of_message(message: &Message, envelopes: Vec<Part>) -> Document {
        Document {
            message: Some(message.id),
            octets: None,
            created: Some(message.ctime),
            sender: message.sender.clone(),
            source: message.source,
            helo: Some(message.helo.clone()),
            hostname: Some(message.hostname.clone()),
            smtpname: Some(message.smtpname.clone()),
            tag: message.tag.clone(),
            username: message.username.clone(),
            tls: message.tls,
            smtputf8: message.smtputf8,
            ret: message.ret,
            envid: message.envid.clone(),
            envelopes,
        }
    }

    /// The document as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let source = match self.source {
            Source::Local => "local".to_owned(),
            Source::Ip(ip) => ip.to_string(),
        };
        let ret = self.ret.map(|ret| match ret {
            Ret::Full => "full",
            Ret::Headers => "hdrs",
        });
        json!({
            "format": FORMAT,
            "message": self.message.map(|id| id.to_string()),
            "octets": self.octets,
            "created": self.created,
            "sender": self.sender.to_string(),
            "source": source,
            "helo": self.helo,
            "hostname": self.hostname,
            "smtpname": self.smtpname,
            "tag": self.tag,
            "username": self.username,
            "tls": self.tls,
            "smtputf8": self.smtputf8,
            "ret": ret,
            "envid": self.envid,
            "envelopes": self.envelopes.iter().map(Part::to_json).collect::<Vec<_>>(),
        })
    }

    /// The document with as many of its envelopes, in their order, as fit into `limit` octets of
    /// JSON, but one at least; and whether there are more.
    #[must_use]
    pub fn to_json_within(mut self, limit: usize) -> (Vec<u8>, bool) {
        let parts = mem::take(&mut self.envelopes);
        let mut room = limit.saturating_sub(self.to_json().to_string().len());
        let all = parts.len();
        for part in parts {
            let octets = part.to_json().to_string().len() + 1;
            if octets > room && !self.envelopes.is_empty() {
                break;
            }
            room = room.saturating_sub(octets);
            self.envelopes.push(part);
        }
        let more = self.envelopes.len() < all;
        (self.to_json().to_string().into_bytes(), more)
    }

    /// Reads a document.
    ///
    /// # Errors
    /// What is wrong with which field.
    pub fn parse(text: &[u8]) -> Result<Document, Wrong> {
        let whole = |what: String| Wrong { field: String::new(), what };
        let value: Value =
            serde_json::from_slice(text).map_err(|error| whole(format!("is not JSON: {error}")))?;
        let fields = Fields::new(&value, String::new(), &MESSAGE)?;
        if fields.number("format")?.is_some_and(|format: u64| format != FORMAT) {
            return Err(fields.wrong("format", "is of another version of smtpctl"));
        }
        let message = fields.parsed("message", "is no message id", |text| text.parse().ok())?;
        let list = fields.list("envelopes")?.unwrap_or_default();
        if list.is_empty() {
            return Err(fields.wrong("envelopes", "there must be one at least"));
        }
        let envelopes = list.iter().enumerate().map(|(nth, value)| Part::parse(value, nth));
        let source = |text: &str| match text {
            "local" => Some(Source::Local),
            _ => text.parse::<IpAddr>().ok().map(Source::Ip),
        };
        let ret = |text: &str| match text {
            "full" => Some(Ret::Full),
            "hdrs" => Some(Ret::Headers),
            _ => None,
        };
        let owned = |name| Ok(fields.text(name)?.map(str::to_owned));
        Ok(Document {
            message,
            octets: fields.number("octets")?,
            created: fields.number("created")?,
            sender: fields
                .parsed("sender", "is no address", reverse_path)?
                .unwrap_or(ReversePath::Null),
            source: fields
                .parsed("source", "is neither \"local\" nor an IP address", source)?
                .unwrap_or(Source::Local),
            helo: owned("helo")?,
            hostname: owned("hostname")?,
            smtpname: owned("smtpname")?,
            tag: owned("tag")?.unwrap_or_default(),
            username: owned("username")?,
            tls: fields.flag("tls")?,
            smtputf8: fields.flag("smtputf8")?,
            ret: fields.parsed("ret", "is neither \"full\" nor \"hdrs\"", ret)?,
            envid: owned("envid")?,
            envelopes: envelopes.collect::<Result<_, _>>()?,
        })
    }
}

/// A reverse-path without angle brackets; empty when null.
fn reverse_path(text: &str) -> Option<ReversePath> {
    match text {
        "" => Some(ReversePath::Null),
        text => Mailbox::parse(text).ok().map(ReversePath::Mailbox),
    }
}

impl Part {
    fn of(envelope: &Envelope, state: &State) -> Part {
        Part {
            id: Some(envelope.id),
            rcpt: envelope.rcpt.clone(),
            dest: envelope.dest.clone(),
            internal: envelope.internal,
            action: Some((envelope.action.clone(), envelope.agent.clone())),
            ttl: Some(envelope.ttl),
            notify: envelope.notify,
            orcpt: envelope.orcpt.clone(),
            tries: state.tries,
            last_try: state.last_try,
            due: Some(state.due),
            error: state.error.clone(),
            suspended: state.suspended,
            told: state.told,
        }
    }

    fn to_json(&self) -> Value {
        let (action, agent, user) = match &self.action {
            None => (None, None, None),
            Some((action, Agent::Mta)) => (Some(action), Some("mta"), None),
            Some((action, Agent::Mda { user })) => (Some(action), Some("mda"), Some(user)),
        };
        let notify = self.notify.map(|notify| {
            let words =
                [("success", notify.success), ("failure", notify.failure), ("delay", notify.delay)];
            words.iter().filter(|(_, set)| *set).map(|(word, _)| *word).collect::<Vec<_>>()
        });
        let due = self.due.map(|due| match due {
            Due::At(due) => json!(due),
            Due::Held => json!(HELD),
        });
        json!({
            "id": self.id.map(|id| id.to_string()),
            "rcpt": self.rcpt.as_str(),
            "dest": self.dest.as_str(),
            "internal": self.internal,
            "action": action,
            "agent": agent,
            "user": user,
            "ttl": self.ttl,
            "notify": notify,
            "orcpt": self.orcpt,
            "tries": self.tries,
            "last_try": self.last_try,
            "due": due,
            "error": self.error,
            "suspended": self.suspended,
            "told": self.told,
        })
    }

    fn parse(value: &Value, nth: usize) -> Result<Part, Wrong> {
        let fields = Fields::new(value, format!("envelopes[{nth}]."), &ENVELOPE)?;
        let address = |name| fields.parsed(name, "is no address", |text| Mailbox::parse(text).ok());
        let rcpt = address("rcpt")?.ok_or_else(|| fields.wrong("rcpt", "must be there"))?;
        let due = match fields.value("due") {
            Some(Value::String(text)) if text == HELD => Some(Due::Held),
            _ => fields.number("due")?.map(Due::At),
        };
        Ok(Part {
            id: fields.parsed("id", "is no envelope id", |text| text.parse().ok())?,
            dest: address("dest")?.unwrap_or_else(|| rcpt.clone()),
            rcpt,
            internal: fields.flag("internal")?,
            action: action(&fields)?,
            ttl: fields.number("ttl")?,
            notify: notify(&fields)?,
            orcpt: fields.text("orcpt")?.map(str::to_owned),
            tries: fields.number("tries")?.unwrap_or_default(),
            last_try: fields.number("last_try")?.unwrap_or_default(),
            due,
            error: fields.words("error")?.unwrap_or_default().to_owned(),
            suspended: fields.flag("suspended")?,
            told: fields.number("told")?.unwrap_or_default(),
        })
    }
}

/// `action`, `agent` and `user`, which belong together.
fn action(fields: &Fields<'_>) -> Result<Option<(String, Agent)>, Wrong> {
    let (action, user) = (fields.text("action")?, fields.text("user")?);
    let agent = match (fields.text("agent")?, user) {
        (None, None) => None,
        (Some("mta"), None) => Some(Agent::Mta),
        (Some("mda") | None, Some(user)) => Some(Agent::Mda { user: user.to_owned() }),
        (Some("mda"), None) => return Err(fields.wrong("user", "must be there for agent mda")),
        (Some("mta"), Some(_)) => {
            return Err(fields.wrong("user", "must not be there for agent mta"));
        }
        (Some(_), _) => return Err(fields.wrong("agent", "is neither \"mda\" nor \"mta\"")),
    };
    match (action, agent) {
        (None, None) => Ok(None),
        (Some(action), Some(agent)) => Ok(Some((action.to_owned(), agent))),
        (Some(_), None) => Err(fields.wrong("agent", "must be there beside an action")),
        (None, Some(_)) => Err(fields.wrong("action", "must be there beside an agent")),
    }
}

fn notify(fields: &Fields<'_>) -> Result<Option<Notify>, Wrong> {
    let Some(words) = fields.list("notify")? else { return Ok(None) };
    let mut notify = Notify::default();
    for word in words {
        match word.as_str() {
            Some("success") => notify.success = true,
            Some("failure") => notify.failure = true,
            Some("delay") => notify.delay = true,
            _ => {
                let what = "has a word that is none of \"success\", \"failure\", \"delay\"";
                return Err(fields.wrong("notify", what));
            }
        }
    }
    Ok(Some(notify))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        Document::parse(text.as_bytes()).unwrap_err().to_string()
    }

    fn whole() -> Document {
        let message: MessageId = "0123abcd".parse().unwrap();
        let part = |nth, due, action| Part {
            id: Some(EnvelopeId::new(message, nth)),
            rcpt: Mailbox::parse("\"a b\"@example.org").unwrap(),
            dest: Mailbox::parse("b@example.net").unwrap(),
            internal: nth == 1,
            action: Some(action),
            ttl: Some(345_600),
            notify: (nth == 0).then_some(Notify { success: true, failure: false, delay: true }),
            orcpt: Some("rfc822;a+40example.org".to_owned()),
            tries: 3,
            last_try: 1_700_000_000_000_001,
            due: Some(due),
            error: "451 later\nor \"not\"".to_owned(),
            suspended: nth == 1,
            told: 14_400,
        };
        Document {
            message: Some(message),
            octets: Some(12),
            created: Some(1_700_000_000_000_000),
            sender: reverse_path("s@example.com").unwrap(),
            source: Source::Ip("2001:db8::1".parse().unwrap()),
            helo: Some("client".to_owned()),
            hostname: Some("client.example".to_owned()),
            smtpname: Some("mx.example".to_owned()),
            tag: "tag".to_owned(),
            username: Some("jo".to_owned()),
            tls: true,
            smtputf8: true,
            ret: Some(Ret::Headers),
            envid: Some("QQ".to_owned()),
            envelopes: vec![
                part(0, Due::At(u64::MAX), ("local".to_owned(), Agent::Mda { user: "b".into() })),
                part(1, Due::Held, ("relay".to_owned(), Agent::Mta)),
            ],
        }
    }

    #[test]
    fn every_fact_comes_back() {
        let bare = Document {
            sender: ReversePath::Null,
            source: Source::Local,
            username: None,
            ret: Some(Ret::Full),
            envid: None,
            tls: false,
            ..whole()
        };
        for document in [whole(), bare] {
            let text = serde_json::to_vec(&document.to_json()).unwrap();
            assert_eq!(Document::parse(&text), Ok(document));
        }
    }

    #[test]
    fn a_long_one_goes_in_pieces() {
        let all = whole();
        let whole_length = all.to_json().to_string().len();
        assert!(!all.clone().to_json_within(whole_length + 1).1);
        let (text, more) = all.clone().to_json_within(whole_length - 1);
        let first = Document::parse(&text).unwrap();
        assert!(more && text.len() < whole_length);
        assert_eq!(first.envelopes, all.envelopes[..1]);
        assert!(all.clone().to_json_within(0).1, "there is always one, or it would never end");
    }

    #[test]
    fn one_recipient_is_enough() {
        let document = Document::parse(br#"{"envelopes": [{"rcpt": "a@example.org"}]}"#).unwrap();
        assert_eq!(document.sender, ReversePath::Null);
        assert_eq!((document.message, document.created), (None, None));
        let part = &document.envelopes[0];
        assert_eq!((part.dest.as_str(), &part.action), ("a@example.org", &None));
    }

    #[test]
    fn what_is_wrong_is_named_by_its_field() {
        let cases = [
            ("", "is not JSON: EOF while parsing a value at line 1 column 0"),
            ("[]", "must be an object"),
            ("{}", "envelopes: there must be one at least"),
            (r#"{"sendr": ""}"#, "sendr: there is no such field"),
            (r#"{"format": 2}"#, "format: is of another version of smtpctl"),
            (r#"{"envelopes": {}}"#, "envelopes: must be a list"),
            (r#"{"envelopes": [1]}"#, "envelopes[0]: must be an object"),
            (r#"{"envelopes": [{}]}"#, "envelopes[0].rcpt: must be there"),
            (
                r#"{"envelopes": [{"rcpt": "a@b"}, {"rcpt": "no"}]}"#,
                "envelopes[1].rcpt: is no address",
            ),
            (
                r#"{"envelopes": [{"rcpt": "a@b", "due": "soon"}]}"#,
                "envelopes[0].due: must be a whole number in range",
            ),
            (
                r#"{"envelopes": [{"rcpt": "a@b", "action": "local"}]}"#,
                "envelopes[0].agent: must be there beside an action",
            ),
            (
                r#"{"helo": "a\nb", "envelopes": [{"rcpt": "a@b"}]}"#,
                "helo: has a control character",
            ),
            (r#"{"tls": 1, "envelopes": [{"rcpt": "a@b"}]}"#, "tls: must be true or false"),
            (r#"{"message": "0", "envelopes": []}"#, "message: is no message id"),
        ];
        for (text, expected) in cases {
            assert_eq!(wrong(text), expected, "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(wrong(&deep).starts_with("is not JSON"), "no stack overflow");
    }

    #[test]
    fn noise_is_refused_and_never_panics() {
        let text = serde_json::to_vec(&whole().to_json()).unwrap();
        let mut seed = 7_u64;
        for round in 0..5_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let mut octets = text.clone();
            let at = (seed >> 33) as usize % octets.len();
            match round % 3 {
                0 => octets[at] = (seed >> 20) as u8,
                1 => octets.truncate(at),
                _ => drop(octets.remove(at)),
            }
            if let Ok(document) = Document::parse(&octets) {
                let again = serde_json::to_vec(&document.to_json()).unwrap();
                assert_eq!(Document::parse(&again), Ok(document));
            }
        }
    }
}
