//! Command lines: the one match of state and command (RFC 5321 section 4.1.4).
//!
//! The order of the checks is upstream's: whether the command may come now, then its
//! argument. Where a reply or an order differs from upstream the reason stands by it.

use memchr::memchr;

use crate::command::Command;
use crate::limits;
use crate::reply;
use crate::time::Time;

use super::say::About;
use super::{Asked, Event, Peer, Question, Session, State, Step, StrayNewline, Wait};

impl Session {
    /// Takes the next line, if it is all there.
    pub(super) fn line<'i>(
        &mut self,
        input: &mut &'i [u8],
        out: &mut Vec<u8>,
        now: Time,
    ) -> Option<Step<'i>> {
        let shown: &'i [u8] = input;
        let from = shown.len().min(self.scanned as usize);
        let Some(at) = memchr(b'\n', &shown[from..]).map(|at| from + at) else {
            // The last octet may be the CR of the line's end.
            if shown.len() > limits::COMMAND_LINE + 1 {
                self.close(&reply::LINE_TOO_LONG, out, now);
                return None;
            }
            // The clock of a line starts at its first octet, and each further octet must
            // not start it again.
            if self.scanned == 0 && !shown.is_empty() {
                self.since = now;
            }
            self.scanned = shown.len() as u32;
            return Some(Step::Wait(Wait::Input));
        };
        self.scanned = 0;
        let (line, crlf) = match shown[..at].strip_suffix(b"\r") {
            Some(line) => (line, true),
            None => (&shown[..at], false),
        };
        if line.len() > limits::COMMAND_LINE {
            self.close(&reply::LINE_TOO_LONG, out, now);
            return None;
        }
        // A line that another reader would see as two, or as none, is not carried out, and
        // what follows it is not read (RFC 5321 section 2.3.8). Local programs write lines
        // as Unix does; there is nobody between them and us.
        if !crlf && !self.takes_bare_lf() {
            self.close(&reply::BARE_LF, out, now);
            return None;
        }
        self.held = at as u32 + 1;
        // Whatever is wrong with it, a line that was meant to authenticate is not told.
        self.about = match line.get(..4) {
            Some(verb) if verb.eq_ignore_ascii_case(b"AUTH") => About::Fixed(b"AUTH (...)"),
            _ => About::Line,
        };
        if let State::Auth(_) = self.state {
            return self.auth_response(line, input, out, now);
        }
        self.command(line, input, out, now)
    }

    fn takes_bare_lf(&self) -> bool {
        self.peer == Peer::Local && self.params.stray_newline == StrayNewline::Normalize
    }

    /// Carries out a command, or asks whether to.
    fn command<'i>(
        &mut self,
        line: &'i [u8],
        input: &mut &'i [u8],
        out: &mut Vec<u8>,
        now: Time,
    ) -> Option<Step<'i>> {
        let ask = self.params.ask;
        let more = input.len() > self.held as usize;
        let command = Command::parse(line);
        match command {
            // A client that does not look at replies goes on with the user and the password.
            Command::Unknown | Command::Control | Command::Foreign if self.auth_refused => {
                self.about = About::Fixed(b"(...)");
            }
            Command::Unknown | Command::Control | Command::Foreign => {}
            _ => self.auth_refused = false,
        }
        let reply = match (&self.state, command) {
            // Somebody makes a browser talk to us: the next lines would be his.
            (_, Command::Foreign) => return self.hang_up(&reply::NOT_SMTP, out, now),
            (_, Command::Control) => reply::CONTROL_CHARACTER,

            (_, Command::Quit(b"")) if ask.quit => {
                return self.ask_command(Question::Quit, Asked::Quit, now);
            }
            (_, Command::Quit(b"")) => return self.hang_up(&reply::BYE, out, now),
            (_, Command::Bdat(chunk)) => return self.bdat(chunk, input, out, now),
            (State::Refused, _) => reply::NOT_NOW,

            (_, Command::Noop(argument)) if ask.noop => {
                return self.ask_command(Question::Noop, Asked::Noop(argument), now);
            }
            // HELP may be asked about something; upstream takes no argument.
            (_, Command::Noop(_)) => reply::OK,
            (_, Command::Help) => return self.help(out, now),
            (_, Command::Vrfy) => reply::CANNOT_VRFY,
            (_, Command::Expn) => reply::NOT_IMPLEMENTED,
            (_, Command::Wiz) => reply::WIZ,
            (_, Command::Unknown) => reply::UNRECOGNIZED,

            // Upstream wants a greeting before RSET; RFC 5321 section 4.1.4 does not.
            (_, Command::Rset(b"")) if ask.rset => {
                return self.ask_command(Question::Rset, Asked::Rset, now);
            }
            (_, Command::Rset(b"")) => {
                self.rset(out, now);
                return None;
            }

            // Who does not wait for the reply to these may be somebody whose octets were
            // put behind another's (RFC 2920 section 3.1, RFC 4954 section 4).
            (_, Command::Hello { .. } | Command::Auth(_)) if more => {
                self.close(&reply::NOT_SYNCHRONISED, out, now);
                return None;
            }
            (_, Command::Hello { name: Err(reply), .. }) => {
                self.alone = true;
                reply
            }
            // Upstream refuses a second greeting. RFC 5321 section 4.1.4 makes it a RSET;
            // the line is read again when the owner knows.
            (State::Mail | State::Chunks, Command::Hello { .. }) => {
                self.drop_transaction();
                self.held = 0;
                return None;
            }
            (_, Command::Hello { esmtp, name: Ok(name) }) => {
                self.alone = true;
                let ticket = self.ask(Question::Hello { esmtp }, now);
                return Some(Step::Event(Event::Hello { ticket, name, esmtp }));
            }
            (state, Command::Auth(argument)) => {
                let ready = matches!(state, State::Ready);
                return self.auth(ready, argument, input, out, now);
            }

            (State::Ready, Command::StartTls(_)) if !self.offers_tls() => reply::NOT_OFFERED,
            (State::Ready, Command::StartTls(_)) if self.tls.is_some() => reply::ALREADY_SECURED,
            (State::Ready, Command::StartTls(b"")) if ask.starttls => {
                return self.ask_command(Question::StartTls, Asked::StartTls, now);
            }
            (State::Ready, Command::StartTls(b"")) => {
                self.start_tls(out, now);
                return None;
            }
            (State::Ready, Command::StartTls(_)) => reply::NO_PARAMETERS,

            (State::Ready, Command::Mail(argument)) => return self.mail(argument, out, now),
            (State::Mail, Command::Rcpt(argument)) => return self.rcpt(argument, out, now),

            (State::Mail, Command::Data(b"")) if self.recipients > 0 => {
                // Until there is a 354: content behind a refused DATA is no commands.
                self.alone = true;
                let ticket = self.ask(Question::Data, now);
                return Some(Step::Event(Event::Data { ticket }));
            }
            (state, Command::Data(argument)) => {
                let open = matches!(state, State::Mail);
                self.alone = true;
                match argument {
                    b"" if open => reply::NO_RECIPIENT,
                    b"" => reply::NOT_NOW,
                    _ => reply::NO_ARGUMENTS,
                }
            }
            (_, Command::Rset(_) | Command::Quit(_)) => reply::NO_ARGUMENTS,
            (_, Command::StartTls(_) | Command::Mail(_) | Command::Rcpt(_)) => reply::NOT_NOW,
        };
        self.say(&reply, out, now);
        None
    }

    /// Replies to the command at hand and ends the session.
    pub(super) fn hang_up<'i>(
        &mut self,
        reply: &reply::Reply<'_>,
        out: &mut Vec<u8>,
        now: Time,
    ) -> Option<Step<'i>> {
        self.say(reply, out, now);
        self.state = State::Closed;
        None
    }

    fn ask_command<'i>(
        &mut self,
        question: Question,
        command: Asked<'i>,
        now: Time,
    ) -> Option<Step<'i>> {
        let ticket = self.ask(question, now);
        Some(Step::Event(Event::Command { ticket, command }))
    }

    fn help<'i>(&mut self, out: &mut Vec<u8>, now: Time) -> Option<Step<'i>> {
        let start = out.len();
        for line in [reply::HELP, reply::HELP_COMMANDS] {
            line.write_head(b'-', out);
            out.extend_from_slice(b"\r\n");
        }
        reply::HELP_END.write(out);
        self.said(&reply::HELP_END, start..out.len(), now);
        None
    }
}
