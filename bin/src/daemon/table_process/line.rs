//! The lines of table processes, protocol 0.1 (OpenSMTPD 7.6): fields between `|`.

use smtpd_config::table::Service;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Is the key there?
    Check,
    /// What is its value?
    Lookup,
    /// What is one of the keys? There is none in the question.
    Fetch,
}

impl Operation {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Operation::Check => "check",
            Operation::Lookup => "lookup",
            Operation::Fetch => "fetch",
        }
    }
}

/// The services by their names.
const SERVICES: [(&str, Service); 13] = [
    ("alias", Service::Alias),
    ("domain", Service::Domain),
    ("credentials", Service::Credentials),
    ("netaddr", Service::NetAddr),
    ("userinfo", Service::UserInfo),
    ("source", Service::Source),
    ("mailaddr", Service::MailAddr),
    ("addrname", Service::AddrName),
    ("mailaddrmap", Service::MailAddrMap),
    ("relayhost", Service::RelayHost),
    ("string", Service::String),
    ("regex", Service::Regex),
    ("auth", Service::Auth),
];

/// The service of a name; `None` for a name that is none.
pub fn service(name: &str) -> Option<Service> {
    SERVICES.iter().find(|(known, _)| *known == name).map(|(_, service)| *service)
}

/// The name of a service.
pub fn name(service: Service) -> &'static str {
    let known = SERVICES.iter().find(|(_, known)| *known == service);
    known.map_or("", |(name, _)| *name)
}

/// Whether a key can stand in a line without being taken for something else. It is the last field:
/// in a password a `|` must stay what it is.
pub fn is_safe(service: Service, key: &str) -> bool {
    !key.chars().any(|c| c.is_control() || (c == '|' && service != Service::Auth))
}

/// What an answer says: the value, or what went wrong over there.
pub type Said = Result<Option<Box<str>>, String>;

/// Reads an answer to the question with that id.
///
/// # Errors
/// When it is no answer to it: the program is out of step then.
pub fn answer(line: &str, operation: Operation, id: &str) -> Result<Said, &'static str> {
    let rest = line.strip_prefix(operation.word()).and_then(|rest| rest.strip_prefix("-result|"));
    let rest = rest.ok_or("not a reply to what was asked")?;
    let rest = rest.strip_prefix(id).and_then(|rest| rest.strip_prefix('|'));
    let rest = rest.ok_or("a reply to another question")?;
    let (word, value) = match rest.split_once('|') {
        Some((word, value)) => (word, Some(value)),
        None => (rest, None),
    };
    match (operation, word, value) {
        (_, "not-found", None) => Ok(Ok(None)),
        (_, "error", message) => Ok(Err(message.unwrap_or("no reason given").to_owned())),
        (Operation::Check, "found", None) => Ok(Ok(Some("".into()))),
        (Operation::Lookup | Operation::Fetch, "found", Some(value)) if !value.is_empty() => {
            Ok(Ok(Some(value.into())))
        }
        _ => Err("a reply that is none"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_word_by_word() {
        let read = |line: &str, operation| answer(line, operation, "0000002a");
        let lookup = |line: &str| read(line, Operation::Lookup);
        assert_eq!(lookup("lookup-result|0000002a|found|a|b"), Ok(Ok(Some("a|b".into()))));
        assert_eq!(lookup("lookup-result|0000002a|not-found"), Ok(Ok(None)));
        assert_eq!(lookup("lookup-result|0000002a|error|no disk"), Ok(Err("no disk".into())));
        assert!(lookup("lookup-result|0000002a|error").is_ok_and(|said| said.is_err()));
        let check = |line: &str| read(line, Operation::Check);
        assert_eq!(check("check-result|0000002a|found"), Ok(Ok(Some("".into()))));
        for bad in [
            "",
            "lookup-result",
            "lookup-result|0000002a",
            "lookup-result|0000002a|found",
            "lookup-result|0000002a|found|",
            "lookup-result|0000002b|not-found",
            "lookup-result|0000002a|not-found|x",
            "lookup-result|0000002a|maybe",
            "check-result|0000002a|found",
            "fetch-result|0000002a|found|x",
        ] {
            assert!(lookup(bad).is_err(), "{bad}");
        }
        assert!(check("check-result|0000002a|found|x").is_err());
        let fetch = |line: &str| read(line, Operation::Fetch);
        assert_eq!(fetch("fetch-result|0000002a|found|::1"), Ok(Ok(Some("::1".into()))));
        assert_eq!(fetch("fetch-result|0000002a|not-found"), Ok(Ok(None)));
        // As the published manual has it.
        assert!(fetch("lookup-result|0000002a|found|x").is_err());
    }

    #[test]
    fn keys_stay_within_their_field() {
        let is_safe = |key| is_safe(Service::Alias, key);
        assert!(is_safe("joe+x@a.example") && is_safe("bücher") && is_safe(""));
        for bad in ["a|b", "a\nb", "a\rb", "a\0b", "a\u{85}b"] {
            assert!(!is_safe(bad), "{bad:?}");
        }
        let is_safe = |key| super::is_safe(Service::Auth, key);
        assert!(is_safe("joe:a|b c") && !is_safe("joe:a\nb") && !is_safe("joe:a\0b"));
        assert_eq!(service("mailaddrmap"), Some(Service::MailAddrMap));
        assert_eq!((service("auth"), service("none")), (Some(Service::Auth), None));
        assert_eq!(name(Service::UserInfo), "userinfo");
    }
}
