//! MAIL, RCPT, DATA, and what each reply means (RFC 5321 section 3.3, RFC 2920, RFC 3461).
//!
//! With PIPELINING the commands are one flight, DATA included; their replies are read one
//! after the other whatever the first ones say. 354 with no recipient accepted is then
//! answered by an empty body, which is nobody's (RFC 2920 section 3.1).

use std::io::Write as _;

use crate::address::Mailbox;
use crate::dsn::{Orcpt, Ret, is_envid};
use crate::time::Time;

use super::{
    Event, Extensions, Failure, Garble, Lack, Mail, NotNow, Pending, Phase, Recipient, Reply,
    Session, State, Step, Whom,
};

/// What is known of the transaction at hand. Its room is used again.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    recipients: u32,
    /// Places of those accepted.
    accepted: Vec<u32>,
    /// Commands that wait for the reply to the one before: no PIPELINING.
    queue: Vec<u8>,
    /// Octets of `queue` that were written.
    written: usize,
    /// All were written at once.
    pipelined: bool,
    /// The content goes in chunks.
    pub(super) chunked: bool,
    /// Chunks that were not answered.
    pub(super) chunks: u32,
    /// The last chunk is to be written when the one before is answered.
    pub(super) ending: bool,
    /// MAIL was refused: what else is said means nothing.
    refused: bool,
}

impl Session {
    /// Begins a transaction: writes MAIL, every RCPT and DATA, or as much of it as can go
    /// before a reply.
    ///
    /// # Errors
    ///
    /// [`NotNow`] unless the session waits for its caller.
    ///
    /// # Panics
    ///
    /// When there are no recipients.
    pub fn mail(&mut self, mail: &Mail<'_>, out: &mut Vec<u8>, now: Time) -> Result<(), NotNow> {
        assert!(!mail.recipients.is_empty(), "a message is for somebody");
        if self.state != State::Idle || self.pending.is_some() {
            return Err(NotNow);
        }
        let utf8 = needs_smtputf8(mail);
        let room = self.extensions.size.filter(|size| *size > 0).unwrap_or(u64::MAX);
        let lack = match () {
            () if utf8 && !self.extensions.smtputf8 => Some(Lack::Smtputf8),
            () if mail.size.is_some_and(|size| size > room) => Some(Lack::Size),
            () => None,
        };
        if let Some(lack) = lack {
            self.pending = Some(Pending::Lacks(lack));
            return Ok(());
        }

        let transaction = &mut self.transaction;
        transaction.recipients = u32::try_from(mail.recipients.len()).unwrap_or(u32::MAX);
        transaction.accepted.clear();
        transaction.queue.clear();
        transaction.written = 0;
        transaction.pipelined = self.extensions.pipelining;
        transaction.chunked = self.params.chunking && self.extensions.chunking;
        (transaction.chunks, transaction.ending, transaction.refused) = (0, false, false);

        let commands = if transaction.pipelined { &mut *out } else { &mut transaction.queue };
        if self.spoiled {
            commands.extend_from_slice(b"RSET\r\n");
        }
        write_mail(mail, &self.extensions, utf8, commands);
        for recipient in mail.recipients {
            write_recipient(recipient, &self.extensions, utf8, commands);
        }
        if !transaction.chunked {
            commands.extend_from_slice(b"DATA\r\n");
        }
        self.go_on(if self.spoiled { State::Reset } else { State::Mail }, out, now);
        Ok(())
    }

    /// Awaits the reply to the next command, which is written unless it was before.
    pub(super) fn go_on(&mut self, state: State, out: &mut Vec<u8>, now: Time) {
        self.state = state;
        self.since = now;
        let transaction = &mut self.transaction;
        let rest = &transaction.queue[transaction.written..];
        // Commands hold no line end but their own.
        if let Some(command) = rest.split_inclusive(|c| *c == b'\n').next() {
            out.extend_from_slice(command);
            transaction.written += command.len();
        }
    }

    /// MAIL was refused, and all recipients with it.
    pub(super) fn mail_refused<'i>(&mut self, reply: Reply<'i>) -> Step<'i> {
        self.transaction.refused = true;
        if self.transaction.pipelined {
            self.state = State::Recipient(0);
        } else {
            self.idle();
        }
        failed(Whom::Rest, Failure::Refused { phase: Phase::Mail, reply })
    }

    /// RCPT was accepted.
    pub(super) fn accepted(&mut self, nth: u32, out: &mut Vec<u8>, now: Time) {
        if !self.transaction.refused {
            self.transaction.accepted.push(nth);
            self.refusals = 0;
        }
        self.next_recipient(nth, out, now);
    }

    /// RCPT was refused; the others do not care.
    pub(super) fn recipient_refused<'i>(
        &mut self,
        nth: u32,
        reply: Reply<'i>,
        out: &mut Vec<u8>,
        now: Time,
    ) -> Option<Step<'i>> {
        if self.transaction.refused {
            self.next_recipient(nth, out, now);
            return None;
        }
        self.refusals = self.refusals.saturating_add(1);
        // What is on its way is heard to its end; what is not does not go.
        let more = nth + 1 < self.transaction.recipients && !self.transaction.pipelined;
        if more && self.is_tired() {
            self.pending = Some(Pending::TooManyRefusals);
        } else {
            self.next_recipient(nth, out, now);
        }
        Some(failed(Whom::One(nth as usize), Failure::Refused { phase: Phase::Recipient, reply }))
    }

    fn next_recipient(&mut self, nth: u32, out: &mut Vec<u8>, now: Time) {
        let transaction = &self.transaction;
        let nobody = transaction.accepted.is_empty();
        if nth + 1 < transaction.recipients {
            self.go_on(State::Recipient(nth + 1), out, now);
        } else if nobody && (transaction.chunked || !transaction.pipelined) {
            self.idle();
        } else if transaction.chunked {
            self.begin_content(now);
        } else {
            self.go_on(State::Data, out, now);
        }
    }

    /// DATA was answered with 354.
    pub(super) fn data_accepted(&mut self, out: &mut Vec<u8>, now: Time) -> Option<Step<'static>> {
        let nobody = self.transaction.accepted.is_empty();
        if self.transaction.refused || (nobody && self.params.lmtp) {
            // It did not listen: who knows what it would make of a body. Over LMTP nobody
            // would be answered for.
            return Some(self.garbled(Garble::Class));
        }
        self.begin_content(now);
        if nobody {
            self.finish(out, now);
        }
        None
    }

    /// DATA was refused; so were the recipients that are left.
    pub(super) fn data_refused<'i>(&mut self, reply: Reply<'i>) -> Option<Step<'i>> {
        self.idle();
        let somebody = !self.transaction.accepted.is_empty();
        somebody.then(|| failed(Whom::Rest, Failure::Refused { phase: Phase::Data, reply }))
    }

    /// The reply to the end of the data.
    pub(super) fn answered<'i>(&mut self, reply: Reply<'i>) -> Option<Step<'i>> {
        self.spoiled = false;
        self.idle();
        // An empty body for nobody may even be accepted.
        let somebody = !self.transaction.accepted.is_empty();
        somebody.then(|| outcome(Whom::Rest, reply))
    }

    /// The same over LMTP: one for each accepted recipient, in their order.
    pub(super) fn answered_for<'i>(&mut self, told: u32, reply: Reply<'i>) -> Option<Step<'i>> {
        let nth = *self.transaction.accepted.get(told as usize)?;
        let told = told + 1;
        if told as usize == self.transaction.accepted.len() {
            self.spoiled = false;
            self.idle();
        } else {
            self.state = State::End { told };
        }
        Some(outcome(Whom::One(nth as usize), reply))
    }

    /// All chunks so far have their replies, or one more of them.
    pub(super) fn chunk_accepted(&mut self, out: &mut Vec<u8>, now: Time) {
        self.transaction.chunks -= 1;
        if self.transaction.ending && self.takes_content() {
            self.finish(out, now);
        }
    }

    /// Whether content may be written now.
    pub(super) fn takes_content(&self) -> bool {
        let transaction = &self.transaction;
        self.state == State::Content && (transaction.pipelined || transaction.chunks == 0)
    }
}

/// What the reply behind the data means for them.
fn outcome(whom: Whom, reply: Reply<'_>) -> Step<'_> {
    match reply.class() {
        2 => Step::Event(Event::Delivered { whom, reply }),
        _ => failed(whom, Failure::Refused { phase: Phase::EndOfData, reply }),
    }
}

fn failed(whom: Whom, failure: Failure<'_>) -> Step<'_> {
    Step::Event(Event::Failed { whom, failure })
}

fn needs_smtputf8(mail: &Mail<'_>) -> bool {
    let utf8 = |mailbox: &Mailbox| !mailbox.as_str().is_ascii();
    mail.utf8_header
        || mail.from.mailbox().is_some_and(utf8)
        || mail.recipients.iter().any(|recipient| utf8(&recipient.to))
}

fn write_mail(mail: &Mail<'_>, offered: &Extensions, utf8: bool, to: &mut Vec<u8>) {
    const ROOM: &str = "a vector takes every octet";
    write!(to, "MAIL FROM:<{}>", mail.from).expect(ROOM);
    if let Some(size) = mail.size.filter(|_| offered.size.is_some()) {
        write!(to, " SIZE={size}").expect(ROOM);
    }
    if mail.eight_bit && offered.eight_bit_mime {
        to.extend_from_slice(b" BODY=8BITMIME");
    }
    if utf8 {
        to.extend_from_slice(b" SMTPUTF8");
    }
    if let Some(ret) = mail.ret.filter(|_| offered.dsn) {
        to.extend_from_slice(match ret {
            Ret::Full => b" RET=FULL",
            Ret::Headers => b" RET=HDRS",
        });
    }
    if let Some(envid) = mail.envid.filter(|envid| offered.dsn && is_envid(envid)) {
        write!(to, " ENVID={envid}").expect(ROOM);
    }
    to.extend_from_slice(b"\r\n");
}

fn write_recipient(recipient: &Recipient, offered: &Extensions, utf8: bool, to: &mut Vec<u8>) {
    const ROOM: &str = "a vector takes every octet";
    write!(to, "RCPT TO:<{}>", recipient.to).expect(ROOM);
    if let Some(notify) = recipient.notify.filter(|_| offered.dsn) {
        write!(to, " NOTIFY={notify}").expect(ROOM);
    }
    let orcpt = recipient.orcpt.as_deref().filter(|_| offered.dsn).and_then(Orcpt::parse);
    if let Some(orcpt) = orcpt.filter(|orcpt| utf8 || orcpt.as_str().is_ascii()) {
        write!(to, " ORCPT={}", orcpt.as_str()).expect(ROOM);
    }
    to.extend_from_slice(b"\r\n");
}
