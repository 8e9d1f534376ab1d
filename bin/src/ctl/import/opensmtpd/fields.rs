//! The lines of an envelope file: `field: value`.

use std::collections::HashMap;

/// Every field of the versions 1 to 3. One that is not among them makes an envelope invalid, as
/// for OpenSMTPD.
const KNOWN: [&str; 46] = [
    "version",
    "dispatcher",
    "tag",
    "type",
    "smtpname",
    "helo",
    "hostname",
    "username",
    "errorline",
    "sockaddr",
    "sender",
    "rcpt",
    "dest",
    "ctime",
    "last-try",
    "last-bounce",
    "ttl",
    "expire",
    "retry",
    "flags",
    "dsn-notify",
    "dsn-ret",
    "dsn-envid",
    "dsn-orcpt",
    "esc-class",
    "esc-code",
    "mda-exec",
    "mda-subaddress",
    "mda-user",
    "mda-method",
    "mda-usertable",
    "mda-buffer",
    "mda-delivery-user",
    "mta-relay",
    "mta-relay-source",
    "mta-relay-cert",
    "mta-relay-auth",
    "mta-relay-helo",
    "mta-relay-heloname",
    "mta-relay-helotable",
    "mta-relay-ca",
    "mta-relay-flags",
    "bounce-ttl",
    "bounce-delay",
    "bounce-type",
    "bounce-expire",
];

/// The fields of one envelope.
pub struct Fields<'a>(HashMap<&'a str, &'a str>);

impl<'a> Fields<'a> {
    /// Takes the lines apart.
    ///
    /// # Errors
    /// The line or field that is wrong.
    pub fn parse(text: &'a str) -> Result<Fields<'a>, String> {
        let mut fields = HashMap::new();
        for (nth, line) in (1..).zip(text.lines()) {
            let (name, value) =
                line.split_once(':').ok_or_else(|| format!("line {nth} is no field"))?;
            let value = value.trim();
            let Some(name) = KNOWN.iter().find(|known| **known == name) else {
                return Err(format!("line {nth} is a field that is not known"));
            };
            if value.chars().any(char::is_control) {
                return Err(format!("{name}: has a control character"));
            }
            if fields.insert(*name, value).is_some() {
                return Err(format!("{name}: is there twice"));
            }
        }
        Ok(Fields(fields))
    }

    /// A value; an empty one is none.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).copied().filter(|value| !value.is_empty())
    }

    /// A value as owned text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    /// A number; zero when it is not there.
    ///
    /// # Errors
    /// When it is none, with the field's name.
    pub fn number<T: std::str::FromStr + Default>(&self, name: &str) -> Result<T, String> {
        match self.get(name) {
            None => Ok(T::default()),
            Some(value) => value.parse().map_err(|_| format!("{name}: is no number in range")),
        }
    }
}
