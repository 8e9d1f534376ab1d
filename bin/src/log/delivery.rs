//! The line of a local delivery attempt: `SESSION mda delivery evpid=... result=... stat=...`.

use std::fmt::{self, Display, Formatter};

use log::info;
use smtpd_queue::id::EnvelopeId;

use super::span::Span;
use super::vis::{vis, vis_shown};

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Delivered.
    Ok,
    /// To be tried again.
    TempFail,
    /// Will not be tried again.
    PermFail,
}

impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Ok => "Ok",
            Outcome::TempFail => "TempFail",
            Outcome::PermFail => "PermFail",
        })
    }
}

/// The facts of one attempt.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a, From, To> {
    /// Number of the delivery session.
    pub session: u64,
    /// The envelope.
    pub envelope: EnvelopeId,
    /// Reverse-path, showing itself as nothing when it is null.
    pub from: From,
    /// Where it is delivered, after aliases.
    pub to: To,
    /// The forward-path as given in RCPT, when it is another.
    pub rcpt: Option<To>,
    /// The user in whose name it is delivered.
    pub user: &'a str,
    /// Seconds since the message was accepted.
    pub delay: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// `Delivered`, or what went wrong.
    pub stat: &'a str,
}

/// Logs an attempt of local delivery.
pub fn mda<From: Display, To: Display>(attempt: &Attempt<'_, From, To>) {
    info!("{}", Line(attempt));
}

struct Line<'a, From, To>(&'a Attempt<'a, From, To>);

impl<From: Display, To: Display> Display for Line<'_, From, To> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Attempt { session, envelope, from, to, rcpt, user, delay, outcome, stat } = self.0;
        let (from, to) = (vis_shown(from), vis_shown(to));
        write!(f, "{session:016x} mda delivery evpid={envelope} from=<{from}> to=<{to}> ")?;
        if let Some(rcpt) = rcpt {
            write!(f, "rcpt=<{}> ", vis_shown(rcpt))?;
        }
        write!(
            f,
            "user={} delay={} result={outcome} stat={}",
            vis(user.as_bytes()),
            Span(*delay),
            vis(stat.as_bytes())
        )
    }
}
