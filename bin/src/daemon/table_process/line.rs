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
const SERVICES: [(&str, Option<Service>); 13] = [
    ("alias", Some(Service::Alias)),
    ("domain", Some(Service::Domain)),
    ("credentials", Some(Service::Credentials)),
    ("netaddr", Some(Service::NetAddr)),
    ("userinfo", Some(Service::UserInfo)),
    ("source", Some(Service::Source)),
    ("mailaddr", Some(Service::MailAddr)),
    ("addrname", Some(Service::AddrName)),
    ("mailaddrmap", Some(Service::MailAddrMap)),
    ("relayhost", Some(Service::RelayHost)),
    ("string", Some(Service::String)),
    ("regex", Some(Service::Regex)),
    // Asked by nobody yet.
    ("auth", None),
];

/// The service of a name; `None` for a name that is none.
pub fn service(name: &str) -> Option<Option<Service>> {
    SERVICES.iter().find(|(known, _)| *known == name).map(|(_, service)| *service)
}

/// The name of a service.
pub fn name(service: Service) -> &'static str {
    let known = SERVICES.iter().find(|(_, known)| *known == Some(service));
    known.map_or("", |(name, _)| *name)
}

/// Whether a key can stand in a line without being taken for something else.
pub fn is_safe(key: &str) -> bool {
    !key.chars().any(|c| c.is_control() || c == '|')
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
        assert!(is_safe("joe+x@a.example") && is_safe("bücher") && is_safe(""));
        for bad in ["a|b", "a\nb", "a\rb", "a\0b", "a\u{85}b"] {
            assert!(!is_safe(bad), "{bad:?}");
        }
        assert_eq!(service("mailaddrmap"), Some(Some(Service::MailAddrMap)));
        assert_eq!((service("auth"), service("none")), (Some(None), None));
        assert_eq!(name(Service::UserInfo), "userinfo");
    }
}
