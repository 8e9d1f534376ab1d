//! From the banner to where mail may begin: EHLO, STARTTLS (RFC 3207), AUTH (RFC 4954).

use crate::time::Time;

use super::credentials::Exchange;
use super::{Garble, Hello, Lack, Session, State, Step, Tls};

impl Session {
    /// Greets the next hop.
    pub(super) fn hello(&mut self, out: &mut Vec<u8>, now: Time) {
        let hello = if self.params.lmtp { Hello::Lhlo } else { Hello::Ehlo };
        self.say_hello(hello, out, now);
    }

    pub(super) fn say_hello(&mut self, hello: Hello, out: &mut Vec<u8>, now: Time) {
        let verb: &[u8] = match hello {
            Hello::Lhlo => b"LHLO ",
            Hello::Ehlo => b"EHLO ",
            Hello::Helo => b"HELO ",
        };
        out.extend_from_slice(verb);
        out.extend_from_slice(self.params.name.as_str().as_bytes());
        self.say(State::Hello(hello), b"\r\n", out, now);
    }

    /// Who refused EHLO may take HELO (section 3.2), if nothing is needed that only an
    /// extension gives.
    pub(super) fn may_say_helo(&self) -> bool {
        let needs_tls = self.params.tls == Tls::Required && self.tls.is_none();
        self.params.auth.is_none() && !needs_tls
    }

    /// The next hop answered our greeting.
    pub(super) fn greeted(&mut self, out: &mut Vec<u8>, now: Time) -> Option<Step<'static>> {
        match self.params.tls {
            Tls::Opportunistic | Tls::Required
                if self.tls.is_none() && self.extensions.starttls =>
            {
                self.say(State::StartTls, b"STARTTLS\r\n", out, now);
                None
            }
            Tls::Required if self.tls.is_none() => Some(self.lacks(Lack::StartTls, out, now)),
            Tls::Never | Tls::Opportunistic | Tls::Required => self.authenticate(out, now),
        }
    }

    /// TLS is there, or it is settled that there will be none.
    pub(super) fn authenticate(&mut self, out: &mut Vec<u8>, now: Time) -> Option<Step<'static>> {
        let Some(credentials) = &self.params.auth else {
            self.idle();
            return None;
        };
        if self.tls.is_none() {
            return Some(self.lacks(Lack::SecureChannel, out, now));
        }
        let Some(offered) = self.extensions.auth else {
            return Some(self.lacks(Lack::Auth, out, now));
        };
        match credentials.begin(offered, out) {
            Some(exchange) => {
                self.say(State::Auth(exchange), b"", out, now);
                None
            }
            None => Some(self.lacks(Lack::Mechanism, out, now)),
        }
    }

    /// A challenge of AUTH.
    pub(super) fn respond(
        &mut self,
        exchange: Exchange,
        out: &mut Vec<u8>,
        now: Time,
    ) -> Option<Step<'static>> {
        let credentials = self.params.auth.as_ref();
        match credentials.and_then(|credentials| credentials.respond(exchange, out)) {
            Some(exchange) => {
                self.say(State::Auth(exchange), b"", out, now);
                None
            }
            None => Some(self.garbled(Garble::Class)),
        }
    }
}
