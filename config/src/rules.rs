//! The rules: which action takes a recipient (smtpd.conf(5), `match`).
//!
//! Rules are tried in the order of the file and the first that matches decides. Conditions are
//! tried in the order of [`Condition`]; a look-up that fails ends the evaluation with a
//! temporary failure, and `!` does not turn a failure into a success. The decision asks nothing
//! of the outside, so that the code that decides is also the code that explains.

use std::net::IpAddr;
use std::sync::Arc;

use smtpd_engine::address::{self, Mailbox};

use crate::action::Action;
use crate::config::{ActionId, Config};
use crate::diagnostic::Position;
use crate::table::{LookupError, Operand, Service};

/// One rule. A legacy rule `from local` is two of them where sessions can be authenticated,
/// because there these count as local.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Where it is written.
    pub position: Position,
    /// Listener's tag.
    pub tag: Option<Test<Operand>>,
    /// Where the message comes from.
    pub from: Test<From>,
    /// Whom it is for.
    pub to: Test<For>,
    /// HELO name.
    pub helo: Option<Test<Operand>>,
    /// Authenticated, as anybody or as one of the table.
    pub auth: Option<Test<Option<Operand>>>,
    /// The session uses TLS.
    pub tls: Option<Test<()>>,
    /// Envelope sender.
    pub mail_from: Option<Test<Operand>>,
    /// Recipient after the expansion so far.
    pub rcpt_to: Option<Test<Operand>>,
    /// What happens to what matches.
    pub verdict: Verdict,
}

/// A condition, perhaps negated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Test<T> {
    /// `!`
    pub not: bool,
    /// The condition without it.
    pub what: T,
}

/// `from ...`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// One of this machine's addresses, or the socket.
    Local,
    /// The socket.
    Socket,
    /// Anywhere.
    Any,
    /// A client address.
    Src(Operand),
    /// A client with a reverse name, any or of the table.
    Rdns(Option<Operand>),
}

/// `for ...`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// A domain that is this machine's name or address.
    Local,
    /// Any domain.
    Any,
    /// A domain of the table.
    Domain(Operand),
}

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The message is refused.
    Reject,
    /// The message is taken.
    Action(ActionId),
}

/// Who talks to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// A program of this machine, over the submission socket.
    Socket,
    /// A host.
    Ip(IpAddr),
}

/// What is known of the session and the transaction when a recipient is to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The peer.
    pub client: Client,
    /// Its reverse name, when it has one.
    pub rdns: Option<&'a str>,
    /// The argument of HELO or EHLO.
    pub helo: &'a str,
    /// The listener's tag.
    pub tag: Option<&'a str>,
    /// The user name it is authenticated with.
    pub auth: Option<&'a str>,
    /// The session uses TLS.
    pub tls: bool,
    /// The reverse-path; `None` for the null one.
    pub sender: Option<&'a Mailbox>,
}

/// What the rules say of one recipient.
#[derive(Debug, Clone, Copy)]
pub enum Decision<'c> {
    /// The action takes it.
    Action {
        /// Index of the rule.
        rule: usize,
        /// Its action.
        action: &'c Arc<Action>,
    },
    /// A rule refuses it, or (`None`) no rule matches.
    Reject {
        /// Index of the rule.
        rule: Option<usize>,
    },
    /// A look-up failed: refused for now.
    Failed {
        /// Index of the rule.
        rule: usize,
        /// What failed.
        error: LookupError,
    },
}

/// The conditions of a rule in the order they are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// `tag`
    Tag,
    /// `from`
    From,
    /// `for`
    For,
    /// `helo`
    Helo,
    /// `auth`
    Auth,
    /// `tls`
    Tls,
    /// `mail-from`
    MailFrom,
    /// `rcpt-to`
    RcptTo,
}

impl Config {
    /// What the rules say of a recipient as the client gave it.
    pub fn decide(&self, facts: &Facts<'_>, rcpt: &Mailbox) -> Decision<'_> {
        self.decide_for(facts, rcpt, false)
    }

    /// The same, also for an address that an alias led to (`internal`): then `from` sees the
    /// key `local` instead of the client.
    pub(crate) fn decide_for(
        &self,
        facts: &Facts<'_>,
        rcpt: &Mailbox,
        internal: bool,
    ) -> Decision<'_> {
        for (rule, candidate) in self.matches.iter().enumerate() {
            match self.first_failing(candidate, facts, rcpt, internal) {
                Ok(Some(_)) => {}
                Ok(None) => {
                    return match candidate.verdict {
                        Verdict::Reject => Decision::Reject { rule: Some(rule) },
                        Verdict::Action(id) => {
                            Decision::Action { rule, action: self.action_at(id) }
                        }
                    };
                }
                Err(error) => return Decision::Failed { rule, error },
            }
        }
        Decision::Reject { rule: None }
    }

    /// The first condition of the rule that does not hold, `None` when all do.
    ///
    /// # Errors
    /// When a look-up fails; the rules after this one must not be asked then.
    pub fn first_failing(
        &self,
        rule: &Match,
        facts: &Facts<'_>,
        rcpt: &Mailbox,
        internal: bool,
    ) -> Result<Option<Condition>, LookupError> {
        if let Some(tag) = &rule.tag
            && self.contains(tag.what, Service::String, facts.tag.unwrap_or(""))? == tag.not
        {
            return Ok(Some(Condition::Tag));
        }
        if !self.comes_from(rule.from, facts, internal)? {
            return Ok(Some(Condition::From));
        }
        if self.is_for(rule.to.what, rcpt)? == rule.to.not {
            return Ok(Some(Condition::For));
        }
        if let Some(helo) = &rule.helo
            && self.contains(helo.what, Service::Domain, facts.helo)? == helo.not
        {
            return Ok(Some(Condition::Helo));
        }
        if let Some(auth) = &rule.auth
            && self.is_authenticated(auth.what, facts)? == auth.not
        {
            return Ok(Some(Condition::Auth));
        }
        if let Some(tls) = &rule.tls
            && facts.tls == tls.not
        {
            return Ok(Some(Condition::Tls));
        }
        if let Some(from) = &rule.mail_from
            && self.has_address(from.what, facts.sender)? == from.not
        {
            return Ok(Some(Condition::MailFrom));
        }
        if let Some(to) = &rule.rcpt_to
            && self.has_address(to.what, Some(rcpt))? == to.not
        {
            return Ok(Some(Condition::RcptTo));
        }
        Ok(None)
    }

    fn comes_from(
        &self,
        from: Test<From>,
        facts: &Facts<'_>,
        internal: bool,
    ) -> Result<bool, LookupError> {
        let holds = match from.what {
            From::Any => true,
            From::Local => {
                internal
                    || match facts.client {
                        Client::Socket => true,
                        Client::Ip(ip) => self.is_local_address(ip),
                    }
            }
            // These look at the client, and behind an alias there is none: never, also negated.
            From::Socket | From::Rdns(_) if internal => return Ok(false),
            From::Socket => facts.client == Client::Socket,
            From::Src(operand) => {
                let client = if internal { Client::Socket } else { facts.client };
                self.tables.get(operand.table).contains_client(client)
            }
            From::Rdns(operand) => match (facts.rdns, operand) {
                (None, None) => false,
                // A table cannot say anything of a client without a name, also negated.
                (None, Some(_)) => return Ok(false),
                (Some(_), None) => true,
                (Some(name), Some(operand)) => self.contains(operand, Service::Domain, name)?,
            },
        };
        Ok(holds != from.not)
    }

    fn is_for(&self, to: For, rcpt: &Mailbox) -> Result<bool, LookupError> {
        match to {
            For::Any => Ok(true),
            For::Local => Ok(self.is_local_domain(rcpt.domain())),
            For::Domain(operand) => self.contains(operand, Service::Domain, rcpt.domain()),
        }
    }

    /// Whether mail for that domain is for this machine: `localhost`, the server name, or one of
    /// its addresses as a literal (RFC 5321 section 4.1.3).
    pub fn is_local_domain(&self, domain: &str) -> bool {
        if domain.starts_with('[') {
            return address::literal(domain).is_some_and(|ip| self.is_local_address(ip));
        }
        domain.eq_ignore_ascii_case("localhost") || domain.eq_ignore_ascii_case(&self.host.name)
    }

    fn is_authenticated(
        &self,
        operand: Option<Operand>,
        facts: &Facts<'_>,
    ) -> Result<bool, LookupError> {
        match (operand, facts.auth) {
            // The system vouches for who writes to its socket.
            (None, user) => Ok(user.is_some() || facts.client == Client::Socket),
            (Some(_), None) => Ok(false),
            (Some(operand), Some(user)) if user.contains('@') => {
                self.contains(operand, Service::MailAddr, user)
            }
            (Some(operand), Some(user)) => self.contains(operand, Service::String, user),
        }
    }

    fn has_address(
        &self,
        operand: Operand,
        address: Option<&Mailbox>,
    ) -> Result<bool, LookupError> {
        self.contains(operand, Service::MailAddr, address.map_or("@", Mailbox::as_str))
    }

    fn contains(&self, operand: Operand, service: Service, key: &str) -> Result<bool, LookupError> {
        let service = if operand.regex { Service::Regex } else { service };
        self.tables.get(operand.table).contains(service, key, self.smtp.sub_addr_delim)
    }
}
