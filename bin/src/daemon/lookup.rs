//! Recipients and senders that cannot be judged from memory: the question, its way to the look-up thread and
//! the answer's way back.
//!
//! The thread runs the very code that a reactor runs, over users and tables that may be waited for. A yes is
//! not the answer's text but the list of those who get the message: it lies in a [`Slot`], put
//! there before the answer is sent, and its session takes it out only if the answer was in time.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};

use smtpd_config::table::LookupError;
use smtpd_config::{
    self as config, Client, Config, Decision, Expansion, Facts, Outside, Recipient, Senders,
};
use smtpd_engine::address::Mailbox;
use smtpd_engine::reply::{self, Reply};
use smtpd_engine::server::Ticket;
use smtpd_queue::envelope::Agent;

use super::threads;
use crate::log::topic::{self, Topic};
use crate::log::vis::vis_shown;

/// Where the look-up thread leaves what a recipient became.
#[derive(Debug, Default)]
pub struct Slot(Mutex<Option<Vec<Recipient>>>);

impl Slot {
    fn put(&self, recipients: Vec<Recipient>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(recipients);
    }

    /// What is in it, once.
    #[must_use]
    pub fn take(&self) -> Option<Vec<Recipient>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// [`Facts`] that outlive the event they were gathered in.
#[derive(Debug)]
pub struct OwnFacts {
    client: Client,
    rdns: Option<Box<str>>,
    rdns_confirmed: bool,
    helo: Box<str>,
    tag: Option<Box<str>>,
    auth: Option<Box<str>>,
    tls: bool,
    sender: Option<Mailbox>,
    day: u64,
}

impl OwnFacts {
    /// A copy.
    #[must_use]
    pub fn new(facts: &Facts<'_>) -> OwnFacts {
        OwnFacts {
            client: facts.client,
            rdns: facts.rdns.map(Into::into),
            rdns_confirmed: facts.rdns_confirmed,
            helo: facts.helo.into(),
            tag: facts.tag.map(Into::into),
            auth: facts.auth.map(Into::into),
            tls: facts.tls,
            sender: facts.sender.cloned(),
            day: facts.day,
        }
    }

    /// What the rules are shown.
    #[must_use]
    pub fn lend(&self) -> Facts<'_> {
        Facts {
            client: self.client,
            rdns: self.rdns.as_deref(),
            rdns_confirmed: self.rdns_confirmed,
            helo: &self.helo,
            tag: self.tag.as_deref(),
            auth: self.auth.as_deref(),
            tls: self.tls,
            sender: self.sender.as_ref(),
            day: self.day,
        }
    }
}

/// A recipient or a sender to be judged, and who asks.
#[derive(Debug)]
pub struct Question<C> {
    /// The connection.
    pub conn: C,
    /// Its session's question.
    pub ticket: Ticket,
    /// The configuration that the session began with.
    pub config: Arc<Config>,
    /// What is to be judged.
    pub about: About,
}

/// What is to be judged.
#[derive(Debug)]
pub enum About {
    /// Whether and how a recipient gets the message.
    Recipient {
        /// What the rules look at.
        facts: Box<OwnFacts>,
        /// The recipient.
        rcpt: Mailbox,
        /// Where the list goes when the answer is yes.
        slot: Arc<Slot>,
    },
    /// Whether somebody who is authenticated may be the sender.
    Sender {
        /// What the listener says.
        senders: Senders,
        /// Who he is.
        user: Box<str>,
        /// Who he wants to be; `None` for the null sender.
        sender: Option<Mailbox>,
    },
}

impl<C> Question<C> {
    /// Judges it; `outside` may wait. `None` when it has to be asked where more waiting is
    /// allowed.
    pub fn judge(&self, outside: &dyn Outside) -> Option<Reply<'static>> {
        match &self.about {
            About::Recipient { facts, rcpt, slot } => {
                let facts = facts.lend();
                let expansion = self.config.expand(&facts, rcpt, outside).without_programs(rcpt);
                trace(&self.config, &facts, rcpt, &expansion, outside);
                match expansion {
                    Expansion::Deliver(recipients) => {
                        slot.put(recipients);
                        Some(reply::RCPT_OK)
                    }
                    Expansion::Refuse(reply) => Some(reply),
                    Expansion::Later => None,
                }
            }
            About::Sender { senders, user, sender } => {
                sender_reply(&self.config, (senders, user), sender.as_ref(), outside)
            }
        }
    }

    /// Nobody waits for the answer any more.
    fn is_void(&self) -> bool {
        matches!(&self.about, About::Recipient { slot, .. } if Arc::strong_count(slot) == 1)
    }
}

/// The reply to MAIL by somebody who has logged in as that user. `None` when it has to be asked
/// where more waiting is allowed.
#[must_use]
pub fn sender_reply(
    config: &Config,
    (senders, user): (&Senders, &str),
    sender: Option<&Mailbox>,
    outside: &dyn Outside,
) -> Option<Reply<'static>> {
    match config.may_send_as(senders, user, sender, outside) {
        Ok(true) => Some(reply::OK),
        Ok(false) => Some(reply::SENDER_REJECTED),
        Err(LookupError::Later) => None,
        Err(_) => Some(reply::TEMPORARY_FAILURE),
    }
}

/// Who delivers, as the queue knows it.
///
/// # Panics
/// When it is a command or a file, which [`Expansion::without_programs`] has refused.
#[must_use]
pub fn agent(agent: config::Agent) -> Agent {
    match agent {
        config::Agent::Local { user, .. } => Agent::Mda { user: user.into() },
        config::Agent::Relay => Agent::Mta,
        config::Agent::Command { .. } | config::Agent::File { .. } => {
            panic!("a command or file was accepted, which nobody delivers")
        }
    }
}

/// Tells of a rewritten sender that does not come back to us, and traces which rule took a recipient
/// and what it became (topics rules and expand).
pub fn trace(
    config: &Config,
    facts: &Facts<'_>,
    rcpt: &Mailbox,
    expansion: &Expansion,
    outside: &dyn Outside,
) {
    if matches!(expansion, Expansion::Later) {
        return;
    }
    if let Some(Err(why)) = config.comes_back(facts, rcpt) {
        log::info!("SRS failed to decode: {}: {why}", vis_shown(rcpt));
    }
    if topic::on(Topic::Rules) {
        let rule = match config.decide(facts, rcpt, outside) {
            Decision::Action { rule, .. } | Decision::Failed { rule, .. } => Some(rule),
            Decision::Reject { rule } => rule,
        };
        let rcpt = vis_shown(rcpt);
        match rule {
            Some(rule) => {
                let position = &config.matches[rule].position;
                let text = format_args!("rules: <{rcpt}>: rule #{} matched: {position}", rule + 1);
                topic::trace(Topic::Rules, text);
            }
            None => topic::trace(Topic::Rules, format_args!("rules: <{rcpt}>: no rule matched")),
        }
    }
    if topic::on(Topic::Expand)
        && let Expansion::Deliver(recipients) = expansion
    {
        for recipient in recipients {
            let (rcpt, dest) = (vis_shown(rcpt), vis_shown(&recipient.dest));
            let action = vis_shown(&recipient.action.name);
            let text = format_args!("expand: <{rcpt}> -> <{dest}> by action \"{action}\"");
            topic::trace(Topic::Expand, text);
        }
    }
}

/// The way to the look-up thread.
pub type Sender<C> = mpsc::Sender<Question<C>>;

/// Starts the look-up threads: one that asks `quick`, and `slow` others that ask what it is put off
/// by, so that what is slow holds up only what needs it. They end when the last sender is gone.
///
/// # Errors
/// When the system starts no more threads.
pub fn start<C: Send + 'static>(
    (quick, waiting): (impl Outside + Send + 'static, impl Outside + Clone + Send + 'static),
    slow: usize,
    answer: impl Fn(C, Ticket, Reply<'static>) + Clone + Send + 'static,
) -> io::Result<Sender<C>> {
    let (sender, questions) = mpsc::channel();
    let (put_off, others) = mpsc::channel();
    let others = Arc::new(Mutex::new(others));
    for _ in 0..slow {
        let (others, waiting, answer) = (others.clone(), waiting.clone(), answer.clone());
        threads::start("lookup", move || {
            let next = || others.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
            while let Some(question) = next() {
                if let Some(question) = serve(question, &waiting, &answer) {
                    // What may be waited for does not put anybody off.
                    answer(question.conn, question.ticket, reply::TEMPORARY_FAILURE);
                }
            }
        })?;
    }
    threads::start("lookup", move || {
        for question in questions {
            if let Some(question) = serve(question, &quick, &answer)
                && let Err(mpsc::SendError(question)) = put_off.send(question)
            {
                // There are no others: nothing is put off for them.
                answer(question.conn, question.ticket, reply::TEMPORARY_FAILURE);
            }
        }
    })?;
    Ok(sender)
}

/// Answers a question; gives it back when it is put off.
fn serve<C>(
    question: Question<C>,
    outside: &dyn Outside,
    answer: &impl Fn(C, Ticket, Reply<'static>),
) -> Option<Question<C>> {
    if question.is_void() {
        // Whoever asked has gone, or has given up waiting and asked something else.
        return None;
    }
    // What one recipient brings to light must not end the look-ups of all others.
    let judged = catch_unwind(AssertUnwindSafe(|| question.judge(outside)));
    match judged.unwrap_or(Some(reply::TEMPORARY_FAILURE)) {
        Some(reply) => {
            answer(question.conn, question.ticket, reply);
            None
        }
        None => Some(question),
    }
}
