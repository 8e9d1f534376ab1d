//! MAIL, RCPT and BDAT: their arguments, in the order of the checks (RFC 5321 sections
//! 4.1.1.2 and 4.1.1.3, RFC 3030 section 2).

use crate::address::PathRef;
use crate::command::{self, BadPath, Chunk};
use crate::extension::BadParam;
use crate::limits;
use crate::reply::{self, Reply};
use crate::time::Time;

use super::say::About;
use super::{Demand, Event, MailParams, Peer, Question, RcptParams, Session, State, Step};

/// A reply, and what follows its text.
type Refusal<'i> = (Reply<'static>, &'i str);

impl Session {
    /// MAIL between transactions.
    pub(super) fn mail<'i>(
        &mut self,
        argument: &'i [u8],
        out: &mut Vec<u8>,
        now: Time,
    ) -> Option<Step<'i>> {
        match self.check_mail(argument) {
            Ok((from, params)) => {
                let ticket = self.ask(Question::Mail { smtputf8: params.smtputf8 }, now);
                Some(Step::Event(Event::Mail { ticket, from, params }))
            }
            Err((reply, detail)) => {
                self.say_with(&reply, detail, out, now);
                None
            }
        }
    }

    /// RCPT in a transaction.
    pub(super) fn rcpt<'i>(
        &mut self,
        argument: &'i [u8],
        out: &mut Vec<u8>,
        now: Time,
    ) -> Option<Step<'i>> {
        match self.check_rcpt(argument) {
            Ok((to, params)) => {
                let ticket = self.ask(Question::Rcpt, now);
                Some(Step::Event(Event::Rcpt { ticket, to, params }))
            }
            Err((reply, detail)) => {
                self.say_with(&reply, detail, out, now);
                None
            }
        }
    }

    fn check_mail<'i>(
        &self,
        argument: &'i [u8],
    ) -> Result<(Option<PathRef<'i>>, MailParams<'i>), Refusal<'i>> {
        let tls = self.tls.is_some() || self.peer == Peer::Local;
        if self.params.starttls == Demand::Required && !tls {
            return Err((reply::TLS_REQUIRED, ""));
        }
        if self.params.auth == Demand::Required && !self.authenticated {
            return Err((reply::AUTH_REQUIRED, ""));
        }
        if self.mails >= self.params.max_mails {
            return Err((reply::TOO_MANY_MAILS, ""));
        }
        let (from, rest) = command::mail(argument).map_err(|bad| match bad {
            BadPath::Form => (reply::BAD_ARGUMENTS, ""),
            BadPath::Path => (reply::BAD_SENDER, ""),
        })?;
        let params = MailParams::parse(rest, self.params.dsn).map_err(bad_param)?;
        // RFC 1870 section 6.1; upstream accepts the value and ignores it, and so has the
        // peer send what will be refused.
        if params.size.is_some_and(|size| size > self.params.max_size) {
            return Err((reply::TOO_BIG, ""));
        }
        if !params.smtputf8 && from.is_some_and(|from| !from.is_ascii()) {
            return Err((reply::NEEDS_SMTPUTF8, ""));
        }
        Ok((from, params))
    }

    fn check_rcpt<'i>(
        &self,
        argument: &'i [u8],
    ) -> Result<(PathRef<'i>, RcptParams<'i>), Refusal<'i>> {
        if self.recipients >= self.params.max_recipients {
            return Err((reply::TOO_MANY_RECIPIENTS, ""));
        }
        let (to, rest) = command::rcpt(argument).map_err(|bad| match bad {
            BadPath::Form => (reply::BAD_ARGUMENTS, ""),
            BadPath::Path => (reply::BAD_RECIPIENT, ""),
        })?;
        let params = RcptParams::parse(rest, self.params.dsn).map_err(bad_param)?;
        if !self.smtputf8 && !to.is_ascii() {
            return Err((reply::NEEDS_SMTPUTF8, ""));
        }
        Ok((to, params))
    }

    /// BDAT at any time. Whatever becomes of it, its octets must not be read as commands.
    pub(super) fn bdat<'i>(
        &mut self,
        chunk: Chunk,
        input: &mut &'i [u8],
        out: &mut Vec<u8>,
        now: Time,
    ) -> Option<Step<'i>> {
        self.take_line(input, b"BDAT");
        // Where the next command begins is unknown.
        let Some(size) = chunk.size else {
            self.drop_transaction();
            return self.hang_up(&reply::BAD_ARGUMENTS, out, now);
        };
        let before = if matches!(self.state, State::Chunks) { self.declared } else { 0 };
        let most = self.params.max_size.saturating_add(limits::BDAT_EXCESS);
        let Some(declared) = before.checked_add(size).filter(|total| *total <= most) else {
            self.drop_transaction();
            return self.hang_up(&reply::TOO_BIG, out, now);
        };
        match (&self.state, chunk.last) {
            (State::Mail, Some(last)) if self.recipients > 0 => {
                self.declared = declared;
                let ticket = self.ask(Question::FirstChunk { left: size, last }, now);
                return Some(Step::Event(Event::Data { ticket }));
            }
            (State::Chunks, Some(last)) => {
                self.declared = declared;
                self.state = State::Chunk { left: size, last };
                self.feed(now);
            }
            (State::Mail, Some(_)) => self.refuse_chunk(size, reply::NO_RECIPIENT, now),
            (State::Mail | State::Chunks, None) => {
                self.refuse_chunk(size, reply::BAD_ARGUMENTS, now);
            }
            _ => self.refuse_chunk(size, reply::NOT_NOW, now),
        }
        None
    }

    /// Takes the line at hand off the input; its reply will be told as one to `command`.
    pub(super) fn take_line(&mut self, input: &mut &[u8], command: &'static [u8]) {
        *input = &input[self.held as usize..];
        self.held = 0;
        self.about = About::Fixed(command);
    }
}

fn bad_param(bad: BadParam<'_>) -> Refusal<'_> {
    match bad {
        BadParam::Syntax => (reply::BAD_ARGUMENTS, ""),
        BadParam::Unknown(word) => (reply::UNSUPPORTED_OPTION, word),
        BadParam::Value(word) => (reply::BAD_OPTION, word),
        BadParam::NotifyConflict => (reply::NOTIFY_CONFLICT, ""),
        BadParam::Orcpt => (reply::BAD_ORCPT, ""),
    }
}
