//! Protocol lists of libtls (tls_config_parse_protocols(3)): TLS 1.2 and 1.3 are there.

use super::Remarks;

/// The versions of TLS that may be used; one of them at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocols {
    /// As written.
    pub text: Box<str>,
    /// TLS 1.2.
    pub tls12: bool,
    /// TLS 1.3.
    pub tls13: bool,
}

impl Protocols {
    /// Reads a list of words with commas or colons between them; `!` takes away.
    ///
    /// # Errors
    /// When nothing that it names is there.
    pub(crate) fn parse(text: &str) -> (Option<Protocols>, Remarks) {
        let mut remarks = Remarks::default();
        let (mut tls12, mut tls13) = (false, false);
        let words = text.split([',', ':']).map(str::trim).filter(|word| !word.is_empty());
        for (nth, written) in words.enumerate() {
            let (on, word) = match written.strip_prefix('!') {
                // A list that begins with an exception means all but that.
                Some(word) => {
                    (tls12, tls13) = (tls12 || nth == 0, tls13 || nth == 0);
                    (false, word.trim_start())
                }
                None => (true, written),
            };
            match word.to_ascii_lowercase().as_str() {
                "all" | "legacy" | "default" | "secure" | "compat" | "tlsv1" => {
                    (tls12, tls13) = (on, on);
                }
                "tlsv1.2" => tls12 = on,
                "tlsv1.3" => tls13 = on,
                "tlsv1.0" | "tlsv1.1" | "sslv3" | "sslv2" => {
                    if on {
                        remarks.missing.push(word.to_owned());
                    }
                }
                _ => remarks.unknown.push(written.to_owned()),
            }
        }
        let some = tls12 || tls13;
        (some.then(|| Protocols { text: text.into(), tls12, tls13 }), remarks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_libtls() {
        let versions = |text| Protocols::parse(text).0.map(|p| (p.tls12, p.tls13));
        for (text, expected) in [
            ("TLSv1.2,TLSv1.3", Some((true, true))),
            ("tlsv1.3", Some((false, true))),
            ("secure", Some((true, true))),
            ("all:!tlsv1.2", Some((false, true))),
            ("!TLSv1.3", Some((true, false))),
            ("TLSv1.0, TLSv1.2", Some((true, false))),
            ("TLSv1.1", None),
            ("", None),
            ("all,!all", None),
        ] {
            assert_eq!(versions(text), expected, "{text}");
        }
        assert_eq!(Protocols::parse("tls1.3").1.unknown, ["tls1.3"]);
        assert_eq!(Protocols::parse("TLSv1.0,TLSv1.2").1.missing, ["TLSv1.0"]);
    }
}
