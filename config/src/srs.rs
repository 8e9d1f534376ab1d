//! Sender rewriting: a forwarded message gets a sender of the domain that forwards it, and what
//! comes back to that is sent on to the true one. The addresses are OpenSMTPD's, so that a machine
//! may change from one to the other:
//!
//! ```text
//! SRS0=HASH=DAY=DOMAIN=USER@FORWARDER            DOMAIN's USER wrote it
//! SRS1=HASH=OTHER==HASH=DAY=DOMAIN=USER@FORWARDER   it was rewritten by OTHER before
//! ```
//!
//! HASH is made of the key and all that stands behind it, so nobody else can have mail sent
//! through us; DAY keeps old addresses from being good for ever. Of what another one has rewritten
//! the inner hash is his, and only he can check it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use smtpd_engine::address::Mailbox;

use crate::config::Srs;
use crate::limits;

/// What DAY is made of, five bits each (RFC 4648 section 6).
const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// DAY counts to this and begins again.
const DAYS: u64 = 1024;

/// Letters of a hash.
const HASH: usize = 4;

/// Why an address that looks rewritten leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotOurs {
    /// A part is missing.
    Form,
    /// The hash is not by one of our keys.
    Hash,
    /// It is older than `srs ttl`, or of days to come.
    Expired,
}

impl std::fmt::Display for NotOurs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            NotOurs::Form => "it is not whole",
            NotOurs::Hash => "its hash is not ours",
            NotOurs::Expired => "it is too old",
        })
    }
}

/// Whether the local part begins like a rewritten one.
#[must_use]
pub fn is_rewritten(address: &Mailbox) -> bool {
    let local = address.local_part();
    behind(local, "SRS0=").or_else(|| behind(local, "SRS1=")).is_some()
}

impl Srs {
    /// The sender at `forwarder`, the domain whose mail is forwarded, that stands for this one.
    /// `day` counts from 1970. None when it would be too long: it stays what it is then.
    #[must_use]
    pub fn rewrite(&self, sender: &Mailbox, forwarder: &str, day: u64) -> Option<Mailbox> {
        let forwarder = forwarder.to_ascii_lowercase();
        let (local, domain) = (sender.local_part(), sender.domain());
        let (kind, rest) = if let Some(rest) = behind(local, "SRS0=") {
            ("SRS1", format!("{domain}=={rest}"))
        } else if let Some(rest) = behind(local, "SRS1=").and_then(rewritten_twice) {
            ("SRS1", rest.to_owned())
        } else {
            ("SRS0", format!("{}={domain}={local}", stamp(day)))
        };
        let hash = hash(&self.key, &rest, &forwarder);
        let rewritten = Mailbox::new(&format!("{kind}={hash}={rest}"), &forwarder).ok()?;
        (rewritten.as_str().len() <= limits::SRS_ADDRESS).then_some(rewritten)
    }

    /// The address that a rewritten one stands for.
    ///
    /// # Errors
    /// Why it stands for none.
    pub fn original(&self, address: &Mailbox, day: u64) -> Result<Mailbox, NotOurs> {
        let local = address.local_part();
        let (rest, is_direct) = match behind(local, "SRS0=") {
            Some(rest) => (rest, true),
            None => (behind(local, "SRS1=").ok_or(NotOurs::Form)?, false),
        };
        let (found, rest) = rest.split_at_checked(HASH).ok_or(NotOurs::Form)?;
        let rest = rest.strip_prefix('=').ok_or(NotOurs::Form)?;
        // Some write a domain in other letters than they were given.
        let (written, lower) = (address.domain(), address.domain().to_ascii_lowercase());
        let is_by = |key: &str| [written, &lower].iter().any(|at| hash(key, rest, at) == found);
        if !is_by(&self.key) && !self.backup.as_deref().is_some_and(is_by) {
            return Err(NotOurs::Hash);
        }
        let original = if is_direct {
            let (day_of, rest) = rest.split_once('=').ok_or(NotOurs::Form)?;
            self.check_age(day_of, day)?;
            let (domain, user) = rest.split_once('=').ok_or(NotOurs::Form)?;
            Mailbox::new(user, domain)
        } else {
            let (other, rest) = rest.split_once("==").ok_or(NotOurs::Form)?;
            let day_of = rest.split('=').nth(1).ok_or(NotOurs::Form)?;
            self.check_age(day_of, day)?;
            Mailbox::new(&format!("SRS0={rest}"), other)
        };
        original.map_err(|_| NotOurs::Form)
    }

    /// A day's clock may be ahead of ours, where another machine has rewritten.
    fn check_age(&self, stamp: &str, today: u64) -> Result<(), NotOurs> {
        let digit = |octet: &u8| DIGITS.iter().position(|digit| digit == octet);
        let [high, low] = stamp.as_bytes() else { return Err(NotOurs::Form) };
        let (Some(high), Some(low)) = (digit(high), digit(low)) else { return Err(NotOurs::Form) };
        let day = (high << 5 | low) as u64;
        let age = (today % DAYS + DAYS - day) % DAYS;
        let is_good = age <= u64::from(self.days) || age == DAYS - 1;
        if is_good { Ok(()) } else { Err(NotOurs::Expired) }
    }
}

/// What stands behind the prefix, in whatever case that is.
fn behind<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// What stands behind the hash of who rewrote it last, if it is what he may have written. Anything
/// else is not signed as such: the hash says nothing of the prefix, so it could be used with the
/// other one, for any address and any day.
fn rewritten_twice(rest: &str) -> Option<&str> {
    let rest = rest.get(HASH + 1..)?;
    let (other, _) = rest.split_once("==")?;
    Mailbox::new("postmaster", other).is_ok_and(|_| !other.contains('=')).then_some(rest)
}

fn stamp(day: u64) -> String {
    let day = day % DAYS;
    [day >> 5, day & 31].map(|five| char::from(DIGITS[five as usize])).iter().collect()
}

fn hash(key: &str, rest: &str, domain: &str) -> String {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    for part in [key, rest, "@", domain] {
        context.update(part.as_bytes());
    }
    // Three octets are four letters.
    URL_SAFE.encode(&context.finish().as_ref()[..HASH / 4 * 3])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-24.
    const TODAY: u64 = 20_781;

    fn srs(key: &str, backup: Option<&str>) -> Srs {
        Srs { key: key.to_owned(), backup: backup.map(str::to_owned), days: 4 }
    }

    fn mailbox(text: &str) -> Mailbox {
        Mailbox::parse(text).unwrap()
    }

    fn there(srs: &Srs, sender: &str) -> Mailbox {
        srs.rewrite(&mailbox(sender), "Forward.Example", TODAY).unwrap()
    }

    /// By OpenSSL: `printf 'sesameJN=a.example=bob@forward.example' | openssl sha1 -binary | base64 | tr +/ -_`.
    #[test]
    fn the_form_is_that_of_others() {
        let srs = srs("sesame", None);
        let direct = there(&srs, "bob@a.example");
        assert_eq!(direct.as_str(), "SRS0=PMGV=JN=a.example=bob@forward.example");
        let further = there(&srs, "SRS0=abcd=JN=a.example=bob@b.example");
        let expected = "SRS1=k20-=b.example==abcd=JN=a.example=bob@forward.example";
        assert_eq!(further.as_str(), expected);
        // A third one leaves the second out.
        let third = there(&srs, "SRS1=wxyz=b.example==abcd=JN=a.example=bob@c.example");
        assert_eq!(third, further);
        let third = there(&srs, "srs1=wxyz+b.example==abcd=JN=a.example=bob@c.example");
        assert_eq!(third, further);
    }

    #[test]
    fn what_goes_out_comes_back() {
        let (old, new) = (srs("old", None), srs("new", Some("old")));
        for sender in ["bob@a.example", "b.o=b+x@a.example", "\"b o b\"@a.example"] {
            let Some(sent) = old.rewrite(&mailbox(sender), "f.example", TODAY) else {
                // Quoted as a part of another local part it is none.
                assert!(sender.starts_with('"'));
                continue;
            };
            assert!(is_rewritten(&sent));
            assert_eq!(new.original(&sent, TODAY + 4), Ok(mailbox(sender)), "{sent}");
            let shouted = mailbox(&format!("{}@F.EXAMPLE", sent.local_part()));
            assert_eq!(new.original(&shouted, TODAY), Ok(mailbox(sender)));
        }
        let further = there(&old, "SRS0=abcd=JN=a.example=bob@b.example");
        let before = mailbox("SRS0=abcd=JN=a.example=bob@b.example");
        assert_eq!(old.original(&further, TODAY), Ok(before));
    }

    /// A sender may be made up to have its parts signed, and the hash used behind `SRS0`.
    #[test]
    fn nobody_has_a_day_of_his_choice_signed() {
        let ours = srs("sesame", None);
        for made_up in ["SRS1=wxyz=K7=v.example=bob", "SRS1=wxyz=K7=v.example=bob==x"] {
            let sent = there(&ours, &format!("{made_up}@c.example"));
            assert_eq!(ours.original(&sent, TODAY).unwrap().local_part(), made_up);
            for kind in ["SRS0", "SRS1"] {
                let (local, domain) = (sent.local_part(), sent.domain());
                let (hash, _) = local["SRS0=".len()..].split_at(HASH);
                let forged = format!("{kind}={hash}={}@{domain}", &made_up["SRS1=wxyz=".len()..]);
                assert_eq!(ours.original(&mailbox(&forged), TODAY), Err(NotOurs::Hash));
            }
        }
    }

    #[test]
    fn what_is_not_ours_or_old_stays() {
        let ours = srs("sesame", None);
        let sent = there(&ours, "bob@a.example");
        assert_eq!(srs("other", None).original(&sent, TODAY), Err(NotOurs::Hash));
        for (day, result) in [
            (TODAY - 2, Err(NotOurs::Expired)),
            (TODAY - 1, Ok(())),
            (TODAY + 4, Ok(())),
            (TODAY + 5, Err(NotOurs::Expired)),
            // The count begins anew.
            (TODAY + DAYS, Ok(())),
        ] {
            assert_eq!(ours.original(&sent, day).map(drop), result, "{day}");
        }
        let forged = sent.as_str().replace("=bob@", "=eve@");
        assert_eq!(ours.original(&mailbox(&forged), TODAY), Err(NotOurs::Hash));
        for text in ["SRS0=", "SRS0=ab", "SRS0=abcd", "SRS1=abcd+x", "bob"] {
            let address = mailbox(&format!("{text}@f.example"));
            assert_eq!(ours.original(&address, TODAY), Err(NotOurs::Form), "{text}");
        }
        for rest in ["JN", "JN=a.example", "K1=a.example=bob", "JN=-=bob", "JNN=a.example=bob"] {
            let signed = hash("sesame", rest, "f.example");
            let address = mailbox(&format!("SRS0={signed}={rest}@f.example"));
            assert_eq!(ours.original(&address, TODAY), Err(NotOurs::Form), "{rest}");
        }
    }

    #[test]
    fn what_would_be_too_long_stays() {
        let srs = srs("sesame", None);
        let longest = |octets: usize| mailbox(&format!("{}@a.example", "x".repeat(octets)));
        let fits = |octets| srs.rewrite(&longest(octets), "f.example", TODAY).is_some();
        // SRS0=HHHH=TT=a.example= and @f.example
        assert!(fits(limits::SRS_ADDRESS - 33) && !fits(limits::SRS_ADDRESS - 32));
    }
}
