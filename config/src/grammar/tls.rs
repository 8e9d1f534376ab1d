//! Certificates, trust anchors, and the lists of what TLS may agree on: `pki`, `ca`, `ciphers`,
//! `protocols`, `groups`.

use std::path::{Path, PathBuf};

use smtpd_engine::address::is_host_name;

use crate::action::Method;
use crate::config::{Ca, Dialect, Pki};
use crate::diagnostic::Diagnostic;
use crate::lex::{Fault, Place};
use crate::tls::{Ciphers, Group, Groups, Protocols, Remarks, Suite};

use super::cursor::{Cursor, Parse};
use super::shared::path;
use super::{Name, Reader};

/// What there is of suites.
const SUITES: &str = "there is TLS 1.3, and TLS 1.2 with ECDHE and an AEAD";

/// Where 5.3 had its certificates.
const CERTIFICATES: &str = "/etc/mail/certs";

/// A host name that is like that text.
fn host_name_of(text: &str) -> String {
    let name = text.to_ascii_lowercase();
    if name == "*" || is_host_name(&name) {
        return name;
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name: String = name.chars().map(plain).collect();
    let name = name.trim_matches(['-', '.']).to_owned();
    if is_host_name(&name) { name } else { "certificate".to_owned() }
}

impl Reader<'_> {
    /// What follows `pki`, in either grammar.
    pub(super) fn pki(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        let start = cursor.place();
        let name = self.certificate_name(cursor)?;
        let known: &[&'static str] = match cursor.dialect {
            Dialect::Modern => &["cert", "key", "dhe"],
            Dialect::Legacy => &["certificate", "key", "ca", "dhparams", "dhe"],
        };
        cursor.unless_empty(known)?;
        while let Some((word, at)) = cursor.word(known)? {
            match word {
                "dhe" => self.dhe(cursor)?,
                "dhparams" => {
                    path(cursor, "the parameters' file")?;
                    self.no_parameters(at, "dhparams has no effect any more");
                }
                // Of 5.4: trust anchors of the listeners with this certificate.
                "ca" => {
                    let file = path(cursor, "the bundle's file")?;
                    self.add_ca(&name, start, file);
                    self.legacy.pki_ca.insert(name.clone());
                }
                "key" => {
                    let file = path(cursor, "the key's file")?;
                    self.pki_entry(&name, start).key = Some(file);
                }
                _ => {
                    let file = path(cursor, "the certificate's file")?;
                    self.pki_entry(&name, start).cert = Some(file);
                }
            }
        }
        self.pki_entry(&name, start);
        Ok(())
    }

    fn pki_entry(&mut self, name: &str, place: Place) -> &mut Pki {
        let position = self.position(place);
        let pki = &mut self.config.pki;
        pki.entry(name.to_owned()).or_insert_with(|| Pki { position, cert: None, key: None })
    }

    fn add_ca(&mut self, name: &str, place: Place, file: PathBuf) {
        let position = self.position(place);
        self.config.ca.insert(name.to_owned(), Ca { position, file });
    }

    /// What follows `ca`.
    pub(super) fn ca(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        let start = cursor.place();
        let name = self.certificate_name(cursor)?;
        cursor.needed_word(match cursor.dialect {
            Dialect::Modern => &["cert"],
            Dialect::Legacy => &["certificate"],
        })?;
        let file = path(cursor, "the bundle's file")?;
        self.add_ca(&name, start, file);
        cursor.finish()
    }

    /// Both halves of every `pki`, used or not, are needed at start.
    pub(super) fn check_pki(&mut self) {
        for (name, pki) in &self.config.pki {
            let (what, word) = match (&pki.cert, &pki.key) {
                (Some(_), Some(_)) => continue,
                (None, Some(_)) => ("certificate", "cert"),
                (_, None) => ("key", "key"),
            };
            let word = if self.dialect == Dialect::Legacy && word == "cert" { what } else { word };
            let diagnostic = Diagnostic::error(format!("pki {name} has no {what}"))
                .help(format!("add {word} \"/path/of/the/file\""));
            let diagnostic = self.sources.show(diagnostic.at(pki.position.clone()));
            self.diagnostics.push(diagnostic);
        }
    }

    /// Listeners and relays that may use no suite or no group of the versions that they may speak.
    pub(super) fn check_suites(&mut self) {
        let relays = self.config.actions.iter().filter_map(|action| match &action.method {
            Method::Relay(relay) => {
                let lists = (&relay.ciphers, &relay.protocols, &relay.groups);
                Some((lists, action.places.of("protocols").unwrap_or(&action.position)))
            }
            Method::Local(_) => None,
        });
        let listeners = self.config.listeners.iter().map(|listen| {
            let lists = (&listen.ciphers, &listen.protocols, &listen.groups);
            (lists, listen.places.of("protocols").unwrap_or(&listen.position))
        });
        let mut found = Vec::new();
        for ((ciphers, protocols, groups), place) in relays.chain(listeners) {
            let Some(protocols) = protocols else { continue };
            let ciphers = ciphers.as_ref().or(self.config.smtp.ciphers.as_ref());
            let is_spoken = |suite: &Suite| match suite.is_tls13() {
                true => protocols.tls13,
                false => protocols.tls12,
            };
            let spoken = &protocols.text;
            if let Some(ciphers) = ciphers
                && !ciphers.suites.iter().any(is_spoken)
            {
                let message = format!("no cipher suite is left for protocols \"{spoken}\"");
                let help = format!("the ciphers are \"{}\", of the other version", ciphers.text);
                found.push(Diagnostic::error(message).help(help).at(place.clone()));
            }
            if let Some(groups) = groups
                && !protocols.tls13
                && !groups.groups.iter().any(|group| group.is_tls12())
            {
                let message = format!("no group is left for protocols \"{spoken}\"");
                let help = format!("\"{}\" is of TLS 1.3: add X25519", groups.text);
                found.push(Diagnostic::error(message).help(help).at(place.clone()));
            }
        }
        for diagnostic in found {
            self.diagnostics.push(self.sources.show(diagnostic));
        }
    }

    /// `dhe none|auto|legacy`.
    fn dhe(&mut self, cursor: &mut Cursor<'_>) -> Parse<()> {
        const WORDS: [&str; 3] = ["none", "auto", "legacy"];
        let token = cursor.string("none, auto or legacy")?;
        if !WORDS.contains(&&*token.text) {
            let diagnostic = Diagnostic::error(format!("invalid DHE keyword: {}", token.text))
                .nearest(&token.text, WORDS)
                .expects(WORDS);
            return Err(Fault::new(token.place, diagnostic));
        }
        if &*token.text != "none" {
            self.no_parameters(token.place, "dhe has no effect");
        }
        Ok(())
    }

    fn no_parameters(&mut self, place: Place, message: &str) {
        let note = Diagnostic::note(message)
            .help("keys are exchanged on elliptic curves; no parameters are needed for that");
        self.report(place, note);
    }

    /// A cipher list in the words of OpenSSL.
    pub(super) fn ciphers(&mut self, cursor: &mut Cursor<'_>) -> Parse<Ciphers> {
        let token = cursor.string("a cipher list")?;
        let (ciphers, remarks) = Ciphers::parse(&token.text);
        self.remark(token.place, "cipher", remarks, SUITES);
        ciphers.ok_or_else(|| {
            let message = "no cipher suite is left of this list";
            let known: Vec<&str> = Ciphers::known().collect();
            Fault::new(token.place, Diagnostic::error(message).expects(known))
        })
    }

    /// A protocol list in the words of libtls.
    pub(super) fn protocols(&mut self, cursor: &mut Cursor<'_>) -> Parse<Protocols> {
        let token = cursor.string("a protocol list")?;
        let (protocols, remarks) = Protocols::parse(&token.text);
        self.remark(token.place, "protocol", remarks, SUITES);
        protocols.ok_or_else(|| {
            let message = "no version of TLS is left of this list";
            Fault::new(token.place, Diagnostic::error(message).expects(["TLSv1.2", "TLSv1.3"]))
        })
    }

    /// A list of groups in the words of OpenSSL.
    pub(super) fn groups(&mut self, cursor: &mut Cursor<'_>) -> Parse<Groups> {
        let token = cursor.string("a list of groups")?;
        let (groups, remarks) = Groups::parse(&token.text);
        let known = Group::ALL.map(Group::name);
        let there = format!("there are {}", known.join(", "));
        self.remark(token.place, "group", remarks, &there);
        groups.ok_or_else(|| {
            let message = "no group is left of this list";
            Fault::new(token.place, Diagnostic::error(message).expects(known))
        })
    }

    /// `there` says what there is instead of what is not.
    fn remark(&mut self, place: Place, what: &str, remarks: Remarks, there: &str) {
        for word in remarks.unknown {
            let warning = Diagnostic::warning(format!("\"{word}\" is no {what} that is known"));
            self.report(place, warning.help("it is left out"));
        }
        if !remarks.missing.is_empty() {
            let missing = remarks.missing.join(", ");
            let note = Diagnostic::note(format!("not there: {missing}"));
            self.report(place, note.help(there));
        }
    }

    /// The name of `pki` and `ca`: a host name or `*`, lower-case.
    fn certificate_name(&mut self, cursor: &mut Cursor<'_>) -> Parse<String> {
        let token = cursor.string("a name")?;
        let name = token.text.to_ascii_lowercase();
        if name == "*" || is_host_name(&name) {
            return Ok(name);
        }
        let diagnostic = Diagnostic::error(format!("not a valid domain name: {}", token.text))
            .help("write a host name, or \"*\"");
        Err(Fault::new(token.place, diagnostic))
    }

    /// A reference to a `pki` that must be declared.
    pub(super) fn known_pki(&mut self, cursor: &mut Cursor<'_>) -> Parse<String> {
        let place = cursor.place();
        let name = self.certificate_name(cursor)?;
        if !self.config.pki.contains_key(&name) && !self.is_broken(Name::Pki, &name) {
            let known = self.config.pki.keys().map(String::as_str);
            let message = format!("no such pki: {name}");
            return Err(self.undeclared(Name::Pki, &name, place, message, known));
        }
        Ok(name)
    }

    /// A reference to a `ca` that must be declared.
    pub(super) fn known_ca(&mut self, cursor: &mut Cursor<'_>) -> Parse<String> {
        let place = cursor.place();
        let name = self.certificate_name(cursor)?;
        if !self.config.ca.contains_key(&name) && !self.is_broken(Name::Ca, &name) {
            let known = self.config.ca.keys().map(String::as_str);
            let message = format!("no such ca: {name}");
            return Err(self.undeclared(Name::Ca, &name, place, message, known));
        }
        Ok(name)
    }

    /// The name that stands for the files of a certificate of 5.3: `NAME.crt` and `NAME.key`, and
    /// if they are there `NAME.ca` and `NAME.dh`.
    ///
    /// It may be an interface or an address; where that is no host name, which the name of a
    /// certificate is today, other characters become hyphens.
    pub(super) fn legacy_certificate(&mut self, written: &str, place: Place) -> String {
        let file = |end: &str| PathBuf::from(format!("{CERTIFICATES}/{written}.{end}"));
        let plain = host_name_of(written);
        let mut name = plain.clone();
        let mut nth = 1;
        // Another name may have become the same.
        while self.legacy.certificates.get(&name).is_some_and(|other| other != written) {
            nth += 1;
            name = format!("{plain}-{nth}");
        }
        self.legacy.certificates.insert(name.clone(), written.to_owned());
        let pki = self.pki_entry(&name, place);
        if pki.cert.is_some() && pki.key.is_some() {
            return name;
        }
        pki.cert.get_or_insert_with(|| file("crt"));
        pki.key.get_or_insert_with(|| file("key"));
        let there = |path: &Path| self.files.open(path).is_ok();
        let (ca, dh) = (file("ca"), file("dh"));
        let (has_ca, has_dh) = (there(&ca), there(&dh));
        if has_ca && !self.config.ca.contains_key(&name) {
            self.add_ca(&name, place, ca);
            self.legacy.pki_ca.insert(name.clone());
        }
        if has_dh {
            self.no_parameters(place, &format!("{} has no effect any more", dh.display()));
        }
        name
    }
}
