//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, the server's part (RFC 5802, RFC 7677), as a value:
//! messages go in and come out, nonces and channel bindings come from outside.
//!
//! ```text
//! C: n,,n=user,r=CNONCE                      first
//! S: r=CNONCE SNONCE,s=SALT,i=ITERATIONS     challenge
//! C: c=biws,r=CNONCE SNONCE,p=PROOF          finish
//! S: v=SIGNATURE
//! ```
//!
//! Somebody who is not there gets a challenge as everybody does, and never passes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::password::scram::{ITERATIONS, KEY, Stored, digest, hmac};

/// The only channel binding there is here (RFC 9266).
const BINDING: &str = "tls-exporter";

/// Octets of a user name, as with the other mechanisms.
const USER: usize = smtpd_engine::limits::AUTH_USER;

/// Octets of the salt of somebody who is not there, where there is no entry to be like.
const SALT: usize = 16;

/// The message is not one of SCRAM, or not for this mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A client's first message.
#[derive(Debug, PartialEq, Eq)]
pub struct First<'m> {
    /// Who the client says it is.
    pub user: String,
    /// All before the part that is signed.
    gs2: &'m str,
    bare: &'m str,
    nonce: &'m str,
    is_bound: bool,
}

impl<'m> First<'m> {
    /// Reads it. `plus` says by which mechanism it came, `offered` whether that with a binding is
    /// offered: a client that can and believes that we cannot has been lied to.
    ///
    /// # Errors
    /// When the client is wrong about either, or the message is damaged.
    pub fn read(message: &'m [u8], plus: bool, offered: bool) -> Result<First<'m>, Malformed> {
        let message = std::str::from_utf8(message).map_err(|_| Malformed)?;
        let (flag, rest) = message.split_once(',').ok_or(Malformed)?;
        let (authzid, bare) = rest.split_once(',').ok_or(Malformed)?;
        let is_bound = match flag {
            "n" => false,
            "y" if !offered => false,
            _ if flag.strip_prefix("p=") == Some(BINDING) => true,
            _ => return Err(Malformed),
        };
        // The identity to act as is ignored, as with PLAIN: everybody acts as himself.
        if is_bound != plus || !(authzid.is_empty() || authzid.starts_with("a=")) {
            return Err(Malformed);
        }
        // Extensions that must be understood (m=) stand in front, and there are none.
        let mut fields = bare.split(',');
        let user = fields.next().and_then(|field| field.strip_prefix("n=")).ok_or(Malformed)?;
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).ok_or(Malformed)?;
        if !is_printable(nonce) {
            return Err(Malformed);
        }
        let gs2 = &message[..message.len() - bare.len()];
        Ok(First { user: name(user)?, gs2, bare, nonce, is_bound })
    }

    /// The challenge, and what is to be remembered until it is answered. `stored` is none for a
    /// user whom nobody can be; `binding` must be there if the mechanism is the one that has it.
    pub fn challenge(
        self,
        stored: &Stored,
        is_known: bool,
        nonce: &str,
        binding: Option<&[u8]>,
    ) -> (String, Exchange) {
        let nonce = format!("{}{nonce}", self.nonce);
        let (salt, iterations) = (STANDARD.encode(&stored.salt), stored.iterations);
        let challenge = format!("r={nonce},s={salt},i={iterations}");
        let mut bound = self.gs2.as_bytes().to_owned();
        let is_possible = is_known && binding.is_some() >= self.is_bound;
        if self.is_bound {
            bound.extend_from_slice(binding.unwrap_or_default());
        }
        let exchange = Exchange {
            user: self.user,
            signed: Zeroizing::new(format!("{},{challenge},", self.bare)),
            binding: STANDARD.encode(bound),
            nonce,
            stored: stored.clone(),
            is_possible,
        };
        (challenge, exchange)
    }
}

/// Between the challenge and its answer.
pub struct Exchange {
    /// Who the client says it is.
    pub user: String,
    /// What both sides sign, but for the client's last words.
    signed: Zeroizing<String>,
    /// What must come back as `c=`.
    binding: String,
    nonce: String,
    stored: Stored,
    is_possible: bool,
}

impl Exchange {
    /// What to tell a client whose answer is right, by which it knows us; none when it is wrong.
    ///
    /// # Errors
    /// When the answer is no message of SCRAM.
    pub fn finish(&self, message: &[u8]) -> Result<Option<String>, Malformed> {
        let message = std::str::from_utf8(message).map_err(|_| Malformed)?;
        let (signed, proof) = message.rsplit_once(",p=").ok_or(Malformed)?;
        let proof = STANDARD.decode(proof).map_err(|_| Malformed)?;
        let proof: [u8; KEY] = proof.try_into().map_err(|_| Malformed)?;
        let mut fields = signed.split(',');
        let binding = fields.next().and_then(|field| field.strip_prefix("c=")).ok_or(Malformed)?;
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).ok_or(Malformed)?;
        let signed = Zeroizing::new(format!("{}{signed}", *self.signed));
        let mut client_key = Zeroizing::new(hmac(&self.stored.stored_key, signed.as_bytes()));
        client_key.iter_mut().zip(&proof).for_each(|(key, proof)| *key ^= proof);
        let is_right = self.stored.stored_key.ct_eq(&digest(&*client_key))
            & self.binding.as_bytes().ct_eq(binding.as_bytes())
            & self.nonce.as_bytes().ct_eq(nonce.as_bytes());
        if !(bool::from(is_right) && self.is_possible) {
            return Ok(None);
        }
        let signature = hmac(&self.stored.server_key, signed.as_bytes());
        Ok(Some(format!("v={}", STANDARD.encode(signature))))
    }
}

/// What is shown to somebody who is not there. It looks `like` an entry of somebody, and is the same
/// each time, in each spelling, after a restart and on another host with the same entries, as those
/// are. Where there is none nobody can be told from another.
pub fn decoy(user: &str, like: Option<&Stored>) -> Stored {
    // Our own key signs messages: what a peer may choose a part of must not be one.
    let key = like.map_or([0; KEY], |like| hmac(&like.server_key, b"salts of nobody"));
    let (iterations, length) =
        like.map_or((ITERATIONS, SALT), |like| (like.iterations, like.salt.len()));
    let user = user.to_ascii_lowercase();
    let part = |n: u8| hmac(&key, &[&[n], user.as_bytes()].concat());
    let salt: Vec<u8> = (0..=u8::MAX).flat_map(part).take(length).collect();
    let keys = [b"stored".as_slice(), b"server"].map(|what| hmac(&salt, what));
    Stored { iterations, salt, stored_key: keys[0], server_key: keys[1] }
}

/// A name, in which `,` and `=` are written `=2C` and `=3D`.
fn name(written: &str) -> Result<String, Malformed> {
    let mut parts = written.split('=');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (sign, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            (None, None) => return Err(Malformed),
        };
        name.push(sign);
        name.push_str(rest);
    }
    // What is prohibited there, control characters among it, is no name (RFC 5802 section 5.1).
    name = stringprep::saslprep(&name).map_err(|_| Malformed)?.into_owned();
    let fits = !name.is_empty() && name.len() <= USER && !name.contains(['\0', '\r', '\n']);
    if fits { Ok(name) } else { Err(Malformed) }
}

fn is_printable(nonce: &str) -> bool {
    !nonce.is_empty() && nonce.bytes().all(|octet| octet.is_ascii_graphic() && octet != b',')
}

/// A client of ours, by the other half of the same sums.
#[cfg(test)]
pub(crate) fn client_answer(
    challenge: &str,
    first: &str,
    gs2: &str,
    binding: &[u8],
    password: &str,
) -> String {
    let fields: Vec<&str> = challenge.split(',').map(|field| &field[2..]).collect();
    let salt = STANDARD.decode(fields[1]).unwrap();
    let mut salted = [0; KEY];
    pbkdf2::pbkdf2_hmac::<sha2::Sha256>(
        password.as_bytes(),
        &salt,
        fields[2].parse().unwrap(),
        &mut salted,
    );
    let client_key = hmac(&salted, b"Client Key");
    let bound = STANDARD.encode([gs2.as_bytes(), binding].concat());
    let bare = format!("c={bound},r={}", fields[0]);
    let signed = format!("{},{challenge},{bare}", &first[gs2.len()..]);
    let mut proof = hmac(&digest(&client_key), signed.as_bytes());
    proof.iter_mut().zip(client_key).for_each(|(proof, key)| *proof ^= key);
    format!("{bare},p={}", STANDARD.encode(proof))
}

#[cfg(test)]
mod tests {
    use super::*;
    use client_answer as answer;

    const FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                         p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn stored() -> Stored {
        Stored::new(b"pencil", &STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(), 4096)
    }

    fn read(message: &str, plus: bool) -> Result<First<'_>, Malformed> {
        First::read(message.as_bytes(), plus, true)
    }

    #[test]
    fn the_example_of_rfc_7677_works() {
        let first = read(FIRST, false).unwrap();
        assert_eq!(first.user, "user");
        let (challenge, exchange) = first.challenge(&stored(), true, NONCE, None);
        assert_eq!(
            challenge,
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let told = exchange.finish(FINAL.as_bytes());
        assert_eq!(told, Ok(Some("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".to_owned())));
    }

    #[test]
    fn only_the_channel_it_was_bound_to_will_do() {
        let first = "p=tls-exporter,,n=user,r=abc";
        let gs2 = "p=tls-exporter,,";
        let begin = |binding| read(first, true).unwrap().challenge(&stored(), true, "def", binding);
        let ours = [1; 32];
        let (challenge, exchange) = begin(Some(&ours[..]));
        let right = |theirs: &[u8], password| {
            let message = answer(&challenge, first, gs2, theirs, password);
            exchange.finish(message.as_bytes()).unwrap().is_some()
        };
        assert!(right(&ours, "pencil"));
        assert!(!right(&[2; 32], "pencil") && !right(&[], "pencil") && !right(&ours, "pencils"));
        // Without one on our side nothing is right.
        let (challenge, exchange) = begin(None);
        let message = answer(&challenge, first, gs2, &[], "pencil");
        assert_eq!(exchange.finish(message.as_bytes()), Ok(None));
    }

    #[test]
    fn who_is_not_there_never_passes() {
        let decoy = decoy("user", Some(&stored()));
        assert_eq!(decoy, super::decoy("USER", Some(&stored())));
        for other in [super::decoy("users", Some(&stored())), super::decoy("user", None)] {
            assert_ne!(decoy.salt, other.salt);
        }
        for length in [1, 16, 32, 33, 128] {
            let salt: Vec<u8> = (0..length).collect();
            let other = super::decoy("user", Some(&Stored::new(b"x", &salt, 5000)));
            assert_eq!((other.salt.len(), other.iterations), (length.into(), 5000));
        }
        let (challenge, exchange) = read(FIRST, false).unwrap().challenge(&decoy, false, "x", None);
        assert!(
            challenge.starts_with("r=rOprNGfwEbeRWgbNEkqOx,s=") && challenge.ends_with(",i=4096")
        );
        let message = answer(&challenge, FIRST, "n,,", b"", "pencil");
        assert_eq!(exchange.finish(message.as_bytes()), Ok(None));
        // Even with the keys of somebody.
        let (challenge, exchange) =
            read(FIRST, false).unwrap().challenge(&stored(), false, "x", None);
        let message = answer(&challenge, FIRST, "n,,", b"", "pencil");
        assert_eq!(exchange.finish(message.as_bytes()), Ok(None));
    }

    #[test]
    fn first_messages_are_read_to_the_letter() {
        let user = |message: &str| read(message, false).map(|first| first.user);
        assert_eq!(user("n,,n=a=2Cb=3Dc,r=x").as_deref(), Ok("a,b=c"));
        assert_eq!(user("n,a=other,n=user,r=x,ext=1").as_deref(), Ok("user"));
        for bad in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,n=user",
            "n,,n=user,r=",
            "n,,n=,r=x",
            "n,,r=x,n=user",
            "n,,m=ext,n=user,r=x",
            "n,,n=us=er,r=x",
            "n,,n=user=,r=x",
            "n,,n=user=2c,r=x",
            "x,,n=user,r=x",
            "p=tls-exporter,,n=user,r=x",
            "n,x,n=user,r=x",
            "n,,n=user,r=\u{7f}",
            "n,,n=us\ner,r=x",
            "n,,n=us\0er,r=x",
            "n,,n=user,r=ä",
            ",,n=user,r=x",
            "p=,,n=user,r=x",
        ] {
            assert_eq!(user(bad), Err(Malformed), "{bad:?}");
        }
        let long = format!("n,,n={},r=x", "u".repeat(256));
        assert_eq!(user(&long), Err(Malformed));
        for bad in [FIRST, "y,,n=user,r=x", "p=tls-unique,,n=user,r=x", "p=tls-exporter"] {
            assert_eq!(read(bad, true), Err(Malformed), "{bad:?}");
        }
        // A client that was told that there is no binding, where there is one.
        let fooled = b"y,,n=user,r=x";
        assert_eq!(First::read(fooled, false, true), Err(Malformed));
        assert!(First::read(fooled, false, false).is_ok());
    }

    #[test]
    fn every_change_of_the_last_message_is_noticed() {
        let (_, exchange) = read(FIRST, false).unwrap().challenge(&stored(), true, NONCE, None);
        for at in 0..FINAL.len() {
            for octet in [b'A', b',', b'=', 0, 0xff] {
                let mut message = FINAL.as_bytes().to_owned();
                if message[at] != octet {
                    message[at] = octet;
                    assert!(!matches!(exchange.finish(&message), Ok(Some(_))), "{at} {octet}");
                }
            }
            assert!(!matches!(exchange.finish(&FINAL.as_bytes()[..at]), Ok(Some(_))), "{at}");
        }
        for bad in ["", ",p=", "c=biws,r=x", "p=eA=="] {
            assert_eq!(exchange.finish(bad.as_bytes()), Err(Malformed), "{bad}");
        }
    }
}
