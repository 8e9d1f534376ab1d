//! Lists of groups by which keys are exchanged (RFC 8446 section 4.2.7), in the words of OpenSSL
//! and LibreSSL (tls_config_set_ecdhecurves(3)).

use super::Remarks;

/// A group that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// X25519 and ML-KEM-768 together: what is recorded today stays secret also when one of them is
    /// broken, by a quantum computer or otherwise. TLS 1.3 only, and not computed everywhere.
    X25519MlKem768,
    /// Curve25519 (RFC 7748).
    X25519,
    /// The curve P-256.
    Secp256r1,
    /// The curve P-384.
    Secp384r1,
}

impl Group {
    /// All that there are, the preferred first.
    pub const ALL: [Group; 4] =
        [Group::X25519MlKem768, Group::X25519, Group::Secp256r1, Group::Secp384r1];

    /// The name in the registry of IANA.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Group::X25519MlKem768 => "X25519MLKEM768",
            Group::X25519 => "X25519",
            Group::Secp256r1 => "secp256r1",
            Group::Secp384r1 => "secp384r1",
        }
    }

    /// Whether TLS 1.2 knows it.
    pub(crate) fn is_tls12(self) -> bool {
        self != Group::X25519MlKem768
    }
}

/// The groups that may be used; one of them at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    /// As written.
    pub text: Box<str>,
    /// The groups, the preferred first.
    pub groups: Vec<Group>,
}

impl Groups {
    /// Reads a list of names with colons or commas between them.
    ///
    /// # Errors
    /// When nothing that it names is there.
    pub(crate) fn parse(text: &str) -> (Option<Groups>, Remarks) {
        let mut remarks = Remarks::default();
        let mut groups = Vec::new();
        let words = text.split([',', ':']).map(str::trim).filter(|word| !word.is_empty());
        for word in words {
            let named: &[Group] = match word.to_ascii_lowercase().as_str() {
                "auto" | "default" => &Group::ALL,
                "x25519mlkem768" => &[Group::X25519MlKem768],
                "x25519" => &[Group::X25519],
                "p-256" | "prime256v1" | "secp256r1" => &[Group::Secp256r1],
                "p-384" | "secp384r1" => &[Group::Secp384r1],
                "p-521"
                | "secp521r1"
                | "x448"
                | "ffdhe2048"
                | "ffdhe3072"
                | "ffdhe4096"
                | "secp256r1mlkem768"
                | "secp384r1mlkem1024"
                | "x25519kyber768draft00" => {
                    remarks.missing.push(word.to_owned());
                    continue;
                }
                _ => {
                    remarks.unknown.push(word.to_owned());
                    continue;
                }
            };
            groups.extend(named);
        }
        let mut seen = Vec::new();
        groups.retain(|group| {
            let is_new = !seen.contains(group);
            seen.push(*group);
            is_new
        });
        let found = Groups { text: text.into(), groups };
        ((!found.groups.is_empty()).then_some(found), remarks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_in_the_words_of_others() {
        let names = |text| {
            let groups = Groups::parse(text).0?.groups;
            Some(groups.into_iter().map(Group::name).collect::<Vec<_>>().join(" "))
        };
        for (text, expected) in [
            ("X25519", Some("X25519")),
            ("P-384:x25519:p-384", Some("secp384r1 X25519")),
            ("prime256v1, secp384r1", Some("secp256r1 secp384r1")),
            ("secp384r1:auto", Some("secp384r1 X25519MLKEM768 X25519 secp256r1")),
            ("P-521:X25519MLKEM768", Some("X25519MLKEM768")),
            ("P-521", None),
            ("", None),
        ] {
            assert_eq!(names(text).as_deref(), expected, "{text}");
        }
        let remarks = Groups::parse("X448:X25519:curve").1;
        assert_eq!((remarks.missing, remarks.unknown), (vec!["X448".into()], vec!["curve".into()]));
    }
}
