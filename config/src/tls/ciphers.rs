//! OpenSSL cipher lists (openssl-ciphers(1), "CIPHER LIST FORMAT") over the suites of rustls.

use super::Remarks;

/// The suites that there are, the preferred first: TLS 1.3, and TLS 1.2 with ECDHE and an AEAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suite {
    /// `TLS_AES_256_GCM_SHA384`
    Tls13Aes256,
    /// `TLS_AES_128_GCM_SHA256`
    Tls13Aes128,
    /// `TLS_CHACHA20_POLY1305_SHA256`
    Tls13ChaCha20,
    /// `ECDHE-ECDSA-AES256-GCM-SHA384`
    EcdsaAes256,
    /// `ECDHE-ECDSA-AES128-GCM-SHA256`
    EcdsaAes128,
    /// `ECDHE-ECDSA-CHACHA20-POLY1305`
    EcdsaChaCha20,
    /// `ECDHE-RSA-AES256-GCM-SHA384`
    RsaAes256,
    /// `ECDHE-RSA-AES128-GCM-SHA256`
    RsaAes128,
    /// `ECDHE-RSA-CHACHA20-POLY1305`
    RsaChaCha20,
}

/// What the words of a list can ask of a suite.
struct Traits {
    suite: Suite,
    /// As IANA registers it.
    name: &'static str,
    /// As OpenSSL and LibreSSL call it.
    openssl: [&'static str; 2],
    /// The words of a list that take it in.
    words: &'static [&'static str],
}

const SUITES: [Traits; 9] = [
    Traits {
        suite: Suite::Tls13Aes256,
        name: "TLS_AES_256_GCM_SHA384",
        openssl: ["TLS_AES_256_GCM_SHA384", "AEAD-AES256-GCM-SHA384"],
        words: &[],
    },
    Traits {
        suite: Suite::Tls13Aes128,
        name: "TLS_AES_128_GCM_SHA256",
        openssl: ["TLS_AES_128_GCM_SHA256", "AEAD-AES128-GCM-SHA256"],
        words: &[],
    },
    Traits {
        suite: Suite::Tls13ChaCha20,
        name: "TLS_CHACHA20_POLY1305_SHA256",
        openssl: ["TLS_CHACHA20_POLY1305_SHA256", "AEAD-CHACHA20-POLY1305-SHA256"],
        words: &[],
    },
    Traits {
        suite: Suite::EcdsaAes256,
        name: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        openssl: ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"],
        words: &["AECDSA", "ECDSA", "AES256", "AES", "AESGCM", "SHA384"],
    },
    Traits {
        suite: Suite::EcdsaAes128,
        name: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        openssl: ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"],
        words: &["AECDSA", "ECDSA", "AES128", "AES", "AESGCM", "SHA256"],
    },
    Traits {
        suite: Suite::EcdsaChaCha20,
        name: "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        openssl: ["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-CHACHA20-POLY1305-SHA256"],
        words: &["AECDSA", "ECDSA", "CHACHA20", "SHA256"],
    },
    Traits {
        suite: Suite::RsaAes256,
        name: "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        openssl: ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384"],
        words: &["ARSA", "AES256", "AES", "AESGCM", "SHA384"],
    },
    Traits {
        suite: Suite::RsaAes128,
        name: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        openssl: ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"],
        words: &["ARSA", "AES128", "AES", "AESGCM", "SHA256"],
    },
    Traits {
        suite: Suite::RsaChaCha20,
        name: "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        openssl: ["ECDHE-RSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305-SHA256"],
        words: &["ARSA", "CHACHA20", "SHA256"],
    },
];

/// Words that take in every suite of TLS 1.2 that there is.
const EVERY: &[&str] = &[
    "ALL",
    "DEFAULT",
    "HIGH",
    "SECURE",
    "COMPAT",
    "LEGACY",
    "INSECURE",
    "ECDHE",
    "EECDH",
    "KECDHE",
    "KEECDH",
    "ECDH",
    "TLSV1.2",
    "AEAD",
    "SUITEB128",
    "SUITEB192",
    "FIPS",
];

/// Words that are known and take in nothing here: what they name is weak, or was never finished.
const NOTHING: &[&str] = &[
    "COMPLEMENTOFDEFAULT",
    "COMPLEMENTOFALL",
    "MEDIUM",
    "LOW",
    "EXP",
    "EXPORT",
    "EXPORT40",
    "EXPORT56",
    "ENULL",
    "NULL",
    "ANULL",
    "KRSA",
    "RSA",
    "KDHE",
    "KEDH",
    "DH",
    "DHE",
    "EDH",
    "ADH",
    "KDHR",
    "KDHD",
    "KDH",
    "KECDHR",
    "KECDHE",
    "AECDH",
    "ADSS",
    "DSS",
    "ADH",
    "TLSV1",
    "TLSV1.0",
    "TLSV1.1",
    "SSLV3",
    "SSLV2",
    "TLSV1.3",
    "AESCCM",
    "AESCCM8",
    "ARIA",
    "ARIA128",
    "ARIA256",
    "ARIAGCM",
    "CAMELLIA",
    "CAMELLIA128",
    "CAMELLIA256",
    "3DES",
    "DES",
    "RC4",
    "RC2",
    "IDEA",
    "SEED",
    "MD5",
    "SHA1",
    "SHA",
    "CBC",
    "PSK",
    "KPSK",
    "APSK",
    "KECDHEPSK",
    "KDHEPSK",
    "KRSAPSK",
    "SRP",
    "KSRP",
    "ASRP",
    "KRB5",
    "GOST",
    "AGOST",
    "AGOST01",
    "KGOST",
    "GOST94",
    "GOST89MAC",
    "STREEBOG256",
    "COMPLEMENT",
];

/// What the names of suites of OpenSSL are made of.
const PARTS: &[&str] = &[
    "ECDHE",
    "ECDH",
    "DHE",
    "EDH",
    "ADH",
    "AECDH",
    "DH",
    "RSA",
    "ECDSA",
    "DSS",
    "PSK",
    "SRP",
    "KRB5",
    "AES",
    "AES128",
    "AES256",
    "CAMELLIA128",
    "CAMELLIA256",
    "ARIA128",
    "ARIA256",
    "SEED",
    "RC4",
    "RC2",
    "DES",
    "3DES",
    "CBC3",
    "CBC",
    "GCM",
    "CCM",
    "CCM8",
    "CHACHA20",
    "POLY1305",
    "SHA",
    "SHA256",
    "SHA384",
    "MD5",
    "NULL",
    "IDEA",
    "EXP",
    "EXP1024",
    "128",
    "256",
    "40",
    "56",
    "ANON",
    "WITH",
    "EDE",
    "EDE3",
    "TLS",
    "AEAD",
];

impl Suite {
    /// All of them, the preferred first.
    pub const ALL: [Suite; 9] = [
        Suite::Tls13Aes256,
        Suite::Tls13Aes128,
        Suite::Tls13ChaCha20,
        Suite::EcdsaAes256,
        Suite::EcdsaAes128,
        Suite::EcdsaChaCha20,
        Suite::RsaAes256,
        Suite::RsaAes128,
        Suite::RsaChaCha20,
    ];

    /// Its name in the registry of IANA, as rustls prints it but for the prefix `TLS13_`.
    #[must_use]
    pub fn name(self) -> &'static str {
        SUITES.iter().find(|traits| traits.suite == self).map_or("", |traits| traits.name)
    }

    /// Whether it is one of TLS 1.3.
    #[must_use]
    pub fn is_tls13(self) -> bool {
        matches!(self, Suite::Tls13Aes256 | Suite::Tls13Aes128 | Suite::Tls13ChaCha20)
    }

    fn bits(self) -> u16 {
        match self {
            Suite::Tls13Aes128 | Suite::EcdsaAes128 | Suite::RsaAes128 => 128,
            _ => 256,
        }
    }
}

/// A cipher list and what it means here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ciphers {
    /// As written.
    pub text: Box<str>,
    /// The suites it stands for, the preferred first; never empty.
    pub suites: Vec<Suite>,
}

impl Ciphers {
    /// Reads a list. As with OpenSSL, the suites of TLS 1.3 are always there, unless the list
    /// names some of them.
    ///
    /// # Errors
    /// When nothing that it names is there.
    pub(crate) fn parse(text: &str) -> (Option<Ciphers>, Remarks) {
        let mut list = List::default();
        for element in text.split([':', ',', ' ', ';']).filter(|element| !element.is_empty()) {
            list.take(element);
        }
        let List { mut active, remarks, .. } = list;
        if active.is_empty() {
            return (None, remarks);
        }
        if !active.iter().any(|suite| suite.is_tls13()) {
            let tls13 = Suite::ALL.into_iter().filter(|suite| suite.is_tls13());
            active.splice(0..0, tls13);
        }
        (Some(Ciphers { text: text.into(), suites: active }), remarks)
    }

    /// The names that can stand in a list, for the message that nothing is left.
    pub(crate) fn known() -> impl Iterator<Item = &'static str> {
        SUITES.iter().map(|traits| traits.openssl[0])
    }
}

/// A list being read.
#[derive(Default)]
struct List {
    active: Vec<Suite>,
    /// Taken away by `!` for good.
    killed: Vec<Suite>,
    remarks: Remarks,
}

impl List {
    fn take(&mut self, element: &str) {
        if let Some(command) = element.strip_prefix('@') {
            match command.to_ascii_uppercase().as_str() {
                "STRENGTH" => self.active.sort_by_key(|suite| std::cmp::Reverse(suite.bits())),
                command if command.starts_with("SECLEVEL=") => {}
                _ => self.remarks.unknown.push(element.to_owned()),
            }
            return;
        }
        let (sign, words) = match element.as_bytes()[0] {
            sign @ (b'!' | b'-' | b'+') => (sign, &element[1..]),
            _ => (b' ', element),
        };
        let Some(named) = self.named(words, sign == b' ') else { return };
        match sign {
            b'!' => {
                self.active.retain(|suite| !named.contains(suite));
                self.killed.extend(named);
            }
            b'-' => self.active.retain(|suite| !named.contains(suite)),
            // Moves what is there to the end.
            b'+' => {
                let (last, first) = self.active.iter().partition(|suite| named.contains(suite));
                self.active = first;
                self.active.extend::<Vec<Suite>>(last);
            }
            _ => {
                let killed = &self.killed;
                let active = &self.active;
                let new: Vec<Suite> = named
                    .into_iter()
                    .filter(|suite| !killed.contains(suite) && !active.contains(suite))
                    .collect();
                self.active.extend(new);
            }
        }
    }

    /// The suites that all of the words between `+` take in; `None` when one of them is unknown,
    /// which is noted. That something named is not there matters only where it is asked for.
    fn named(&mut self, words: &str, wanted: bool) -> Option<Vec<Suite>> {
        let mut suites = Suite::ALL.to_vec();
        for word in words.split('+') {
            let upper = word.to_ascii_uppercase();
            let mut takes: Vec<Suite> = SUITES
                .iter()
                .filter(|traits| {
                    traits.openssl.contains(&&*upper)
                        || traits.name == upper
                        || traits.words.contains(&&*upper)
                        || (EVERY.contains(&&*upper) && !traits.suite.is_tls13())
                })
                .map(|traits| traits.suite)
                .collect();
            if takes.is_empty() && upper == "TLSV1.3" {
                takes = suites.iter().copied().filter(|suite| suite.is_tls13()).collect();
            }
            if takes.is_empty() && !NOTHING.contains(&&*upper) {
                let is_suite = upper.contains(['-', '_'])
                    && upper.split(['-', '_']).all(|part| PARTS.contains(&part));
                if !is_suite {
                    self.remarks.unknown.push(word.to_owned());
                    return None;
                }
                if wanted {
                    self.remarks.missing.push(word.to_owned());
                }
            }
            suites.retain(|suite| takes.contains(suite));
        }
        Some(suites)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<&'static str> {
        let (ciphers, _) = Ciphers::parse(text);
        let suites = ciphers.map(|ciphers| ciphers.suites).unwrap_or_default();
        suites.into_iter().filter(|suite| !suite.is_tls13()).map(Suite::name).collect()
    }

    #[test]
    fn what_is_usual_stands_for_all_suites() {
        for text in [
            "HIGH:!aNULL:!MD5",
            "ALL:!aNULL:!eNULL:!LOW:!EXP",
            "secure",
            "default",
            "HIGH:!aNULL",
            "EECDH+AESGCM:EDH+AESGCM:AES256+EECDH:AES256+EDH:CHACHA20",
        ] {
            let (ciphers, remarks) = Ciphers::parse(text);
            assert_eq!(ciphers.map(|ciphers| ciphers.suites.len()), Some(9), "{text}");
            assert_eq!(remarks, Remarks::default(), "{text}");
        }
    }

    #[test]
    fn a_list_has_an_order_and_signs() {
        assert_eq!(
            names("ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384"),
            ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"]
        );
        assert_eq!(names("AES256:!ECDSA"), ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"]);
        assert_eq!(names("!ECDSA:AES256+AESGCM"), ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"]);
        assert_eq!(
            names("aRSA:-AES:AES256+aRSA"),
            [
                "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
                "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"
            ]
        );
        let moved = names("aRSA:+AES256");
        assert_eq!(moved.last(), Some(&"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"));
        assert_eq!(
            names("AES128+aRSA:AES256+aRSA:@STRENGTH"),
            ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",]
        );
    }

    #[test]
    fn tls13_stays_unless_some_of_it_is_named() {
        let suites = |text| Ciphers::parse(text).0.map(|ciphers| ciphers.suites);
        assert_eq!(suites("aRSA").map(|suites| suites.len()), Some(6));
        assert_eq!(suites("AEAD-AES256-GCM-SHA384"), Some(vec![Suite::Tls13Aes256]));
        assert_eq!(suites("TLS_AES_128_GCM_SHA256"), Some(vec![Suite::Tls13Aes128]));
    }

    #[test]
    fn what_is_unknown_or_not_there_is_said() {
        let (ciphers, remarks) =
            Ciphers::parse("ECDHE-RSA-AES256-GCM-SHA384:AES256-SHA:HIHG:@FAST:!RC4-SHA");
        assert!(ciphers.is_some());
        assert_eq!(remarks.unknown, ["HIHG", "@FAST"]);
        assert_eq!(remarks.missing, ["AES256-SHA"]);
        for nothing in ["", "RC4-SHA", "!ALL", "HIGH:!ALL", "kRSA", "TLSv1", "nonsense", "+", "!"] {
            assert_eq!(Ciphers::parse(nothing).0, None, "{nothing}");
        }
    }
}
