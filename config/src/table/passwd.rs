//! Users with their secrets in the format of passwd(5): `user:hash:uid:gid:gecos:home:shell`, or
//! with the ten fields of master.passwd(5). Virtual users, who only log in, need two fields.

use super::file::BadLine;
use super::{Entries, LookupError, Service};

/// Reads such a file. All lines that are wrong, not only the first.
pub(crate) fn parse(octets: &[u8]) -> (Entries, Vec<BadLine>) {
    let mut entries = Entries::default();
    let mut bad = Vec::new();
    for (index, octets) in octets.split(|octet| *octet == b'\n').enumerate() {
        let line = index as u32 + 1;
        let octets = octets.trim_ascii();
        if octets.is_empty() || octets.starts_with(b"#") {
            continue;
        }
        let text = std::str::from_utf8(octets).ok().filter(|text| !text.contains('\0'));
        match text.and_then(|text| text.split_once(':')) {
            Some((user, rest)) if !user.is_empty() => {
                entries.insert(user, rest, line);
            }
            _ => bad.push(BadLine { line, message: "not a line of passwd(5)".into() }),
        }
    }
    (entries, bad)
}

/// The value of a user as that service has it, from the fields behind the name.
pub(crate) fn value(
    service: Service,
    user: &str,
    fields: &str,
) -> Result<Option<String>, LookupError> {
    let fields: Vec<&str> = fields.split(':').collect();
    match service {
        Service::Credentials => Ok(hash(fields[0]).map(|hash| format!("{user}:{hash}"))),
        Service::UserInfo => {
            let home = if fields.len() >= 9 { 7 } else { 4 };
            match (fields.get(1), fields.get(2), fields.get(home)) {
                (Some(uid), Some(gid), Some(home)) => Ok(Some(format!("{uid}:{gid}:{home}"))),
                _ => Err(LookupError::BadValue),
            }
        }
        _ => Err(LookupError::NoService),
    }
}

/// What is stored of a password, from the fields behind the name; none for who cannot log in.
pub(crate) fn hash(fields: &str) -> Option<&str> {
    let hash = fields.split(':').next().unwrap_or_default();
    // Nobody logs in with these; an empty one would let in everybody.
    (!hash.is_empty() && !hash.starts_with(['*', '!'])).then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_a_secret_and_a_home() {
        let file = b"# c\njoe:$6$x$y:1001:100:Joe:/home/joe:/bin/sh\n\
                     _a:*:7:8:daemon:0:0:A:/var/empty:/sbin/nologin\nvirtual@a.example:hash\n";
        let (entries, bad) = parse(file);
        assert_eq!((entries.len(), bad.len()), (3, 0));
        let of = |service, user: &str| value(service, user, &entries.get(user).unwrap().value);
        let told = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(of(Service::Credentials, "joe"), told("joe:$6$x$y"));
        assert_eq!(of(Service::UserInfo, "joe"), told("1001:100:/home/joe"));
        assert_eq!(of(Service::Credentials, "_a"), Ok(None));
        assert_eq!(of(Service::UserInfo, "_a"), told("7:8:/var/empty"));
        assert_eq!(of(Service::Credentials, "virtual@a.example"), told("virtual@a.example:hash"));
        assert_eq!(of(Service::UserInfo, "virtual@a.example"), Err(LookupError::BadValue));
        assert_eq!(of(Service::Alias, "joe"), Err(LookupError::NoService));
        assert_eq!(value(Service::Credentials, "x", ""), Ok(None));
        let lines: Vec<u32> = parse(b"joe\n:x\n\n\xff:x\n").1.iter().map(|bad| bad.line).collect();
        assert_eq!(lines, [1, 2, 4]);
    }
}
