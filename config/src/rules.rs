//! The rules: which action takes a recipient (smtpd.conf(5), `match`).
//!
//! Rules are tried in the order of the file and the first that matches decides. Conditions are
//! tried in the order of [`Condition`]; a look-up that fails ends the evaluation with a
//! temporary failure, and `!` does not turn a failure into a success. Everything that is
//! asked comes through [`Outside`], and an [`Observer`] is told each step, so that the code that
//! decides is also the code that explains.

use std::net::IpAddr;
use std::sync::Arc;

use smtpd_engine::address::{self, Mailbox};

use crate::action::Action;
use crate::config::{ActionId, Config};
use crate::diagnostic::Position;
use crate::observe::{Found, Key, Miss, Never, Observer};
use crate::places::Places;
use crate::surroundings::Outside;
use crate::table::{LookupError, Operand, Query, Service, client_text};

/// One rule. A legacy rule `from local` is two of them where sessions can be authenticated,
/// because there these count as local.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Where it is written.
    pub position: Position,
    /// Where its conditions stand.
    pub places: Places,
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
    /// That name leads back to its address; else whoever owns the address may claim any.
    pub rdns_confirmed: bool,
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
    /// The day, counted from 1970: rewritten senders are good for some days only.
    pub day: u64,
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

impl Condition {
    /// All of them, in that order.
    pub const ALL: [Condition; 8] = [
        Condition::Tag,
        Condition::From,
        Condition::For,
        Condition::Helo,
        Condition::Auth,
        Condition::Tls,
        Condition::MailFrom,
        Condition::RcptTo,
    ];
}

impl Config {
    /// What the rules say of a recipient as the client gave it.
    pub fn decide(&self, facts: &Facts<'_>, rcpt: &Mailbox, outside: &dyn Outside) -> Decision<'_> {
        match self.comes_back(facts, rcpt) {
            // As an alias it is judged as it is given before what it leads to.
            Some(Ok(original)) => match self.decide_for(facts, rcpt, false, outside, &mut ()) {
                Decision::Action { .. } => {
                    self.decide_for(facts, &original, true, outside, &mut ())
                }
                refused => refused,
            },
            Some(Err(_)) | None => self.decide_for(facts, rcpt, false, outside, &mut ()),
        }
    }

    /// The same, also for an address that an alias led to (`internal`): then `from` sees the
    /// key `local` instead of the client.
    pub(crate) fn decide_for<O: Observer>(
        &self,
        facts: &Facts<'_>,
        rcpt: &Mailbox,
        internal: bool,
        outside: &dyn Outside,
        observer: &mut O,
    ) -> Decision<'_> {
        observer.asked(rcpt, internal);
        let mut trial = Trial { config: self, facts, rcpt, internal, outside, observer };
        for (rule, candidate) in self.matches.iter().enumerate() {
            let outcome = trial.first_miss(candidate);
            trial.observer.tried(rule, outcome);
            match outcome {
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

    /// Whether mail for that domain is for this machine: `localhost`, the server name, or one of
    /// its addresses as a literal (RFC 5321 section 4.1.3).
    pub fn is_local_domain(&self, domain: &str) -> bool {
        if domain.starts_with('[') {
            return address::literal(domain).is_some_and(|ip| self.is_local_address(ip));
        }
        domain.eq_ignore_ascii_case("localhost") || domain.eq_ignore_ascii_case(&self.host.name)
    }
}

/// One recipient before the rules.
struct Trial<'t, O> {
    config: &'t Config,
    facts: &'t Facts<'t>,
    rcpt: &'t Mailbox,
    internal: bool,
    outside: &'t dyn Outside,
    observer: &'t mut O,
}

impl<O: Observer> Trial<'_, O> {
    /// The first condition of the rule that does not hold, `None` when all do.
    ///
    /// # Errors
    /// When a look-up fails; the rules after this one must not be asked then.
    fn first_miss(&mut self, rule: &Match) -> Result<Option<Miss>, LookupError> {
        for condition in Condition::ALL {
            self.observer.tests(condition);
            let never = match condition {
                Condition::From => self.never(rule.from.what, rule.verdict),
                _ => None,
            };
            if never.is_some() || !self.holds(rule, condition)? {
                return Ok(Some(Miss { condition, never }));
            }
        }
        Ok(None)
    }

    /// Whether a condition holds; one that the rule does not have does.
    fn holds(&mut self, rule: &Match, condition: Condition) -> Result<bool, LookupError> {
        let facts = self.facts;
        // Whether `*.example.org` takes domains at any depth. That is what everybody means by it;
        // in a condition on who sends, it stays one label where more would let more in.
        let deep = |not: bool| rule.verdict == Verdict::Reject && !not;
        let (found, not) = match condition {
            Condition::Tag => {
                let Some(Test { not, what }) = rule.tag else { return Ok(true) };
                let tag = facts.tag.unwrap_or("");
                (self.contains(what, Service::String, tag, false)?, not)
            }
            Condition::From => {
                let Test { not, what } = rule.from;
                (self.comes_from(what, rule.verdict, deep(not))?, not)
            }
            Condition::For => (self.is_for(rule.to.what)?, rule.to.not),
            Condition::Helo => {
                let Some(Test { not, what }) = rule.helo else { return Ok(true) };
                (self.contains(what, Service::Domain, facts.helo, deep(not))?, not)
            }
            Condition::Auth => {
                let Some(Test { not, what }) = rule.auth else { return Ok(true) };
                (self.is_authenticated(what)?, not)
            }
            Condition::Tls => {
                let Some(Test { not, .. }) = rule.tls else { return Ok(true) };
                (facts.tls, not)
            }
            Condition::MailFrom => {
                let Some(Test { not, what }) = rule.mail_from else { return Ok(true) };
                (self.has_address(what, facts.sender, deep(not))?, not)
            }
            Condition::RcptTo => {
                let Some(Test { not, what }) = rule.rcpt_to else { return Ok(true) };
                (self.has_address(what, Some(self.rcpt), true)?, not)
            }
        };
        Ok(found != not)
    }

    /// Why `from` cannot hold, negated or not: it looks at what is not there.
    fn never(&self, from: From, verdict: Verdict) -> Option<Never> {
        match from {
            From::Socket | From::Rdns(_) if self.internal => Some(Never::NoClient),
            From::Rdns(Some(_)) if self.rdns(verdict).is_none() => Some(Never::NoReverseName),
            _ => None,
        }
    }

    /// The client's name as a rule sees it. One that anybody could claim is good for refusing only.
    fn rdns(&self, verdict: Verdict) -> Option<&str> {
        self.facts.rdns.filter(|_| self.facts.rdns_confirmed || verdict == Verdict::Reject)
    }

    fn comes_from(
        &mut self,
        from: From,
        verdict: Verdict,
        deep: bool,
    ) -> Result<bool, LookupError> {
        let facts = self.facts;
        match from {
            From::Any => Ok(true),
            From::Local => Ok(self.internal
                || match facts.client {
                    Client::Socket => true,
                    Client::Ip(ip) => self.config.is_local_address(ip),
                }),
            From::Socket => Ok(facts.client == Client::Socket),
            From::Src(operand) => {
                let client = if self.internal { Client::Socket } else { facts.client };
                self.contains_client(operand, client)
            }
            From::Rdns(None) => Ok(self.rdns(verdict).is_some()),
            From::Rdns(Some(operand)) => {
                self.contains(operand, Service::Domain, facts.rdns.unwrap_or(""), deep)
            }
        }
    }

    fn is_for(&mut self, to: For) -> Result<bool, LookupError> {
        match to {
            For::Any => Ok(true),
            For::Local => Ok(self.config.is_local_domain(self.rcpt.domain())),
            For::Domain(operand) => {
                self.contains(operand, Service::Domain, self.rcpt.domain(), true)
            }
        }
    }

    fn is_authenticated(&mut self, operand: Option<Operand>) -> Result<bool, LookupError> {
        match (operand, self.facts.auth) {
            // The system vouches for who writes to its socket.
            (None, user) => Ok(user.is_some() || self.facts.client == Client::Socket),
            (Some(_), None) => Ok(false),
            (Some(operand), Some(user)) if user.contains('@') => {
                self.contains(operand, Service::MailAddr, user, false)
            }
            (Some(operand), Some(user)) => self.contains(operand, Service::String, user, false),
        }
    }

    fn has_address(
        &mut self,
        operand: Operand,
        address: Option<&Mailbox>,
        deep: bool,
    ) -> Result<bool, LookupError> {
        self.contains(operand, Service::MailAddr, address.map_or("@", Mailbox::as_str), deep)
    }

    fn contains(
        &mut self,
        operand: Operand,
        service: Service,
        key: &str,
        deep: bool,
    ) -> Result<bool, LookupError> {
        let service = if operand.regex { Service::Regex } else { service };
        let config = self.config;
        let query = Query { service, key, delimiters: &config.smtp.sub_addr_delim, deep };
        let found = config.tables.get(operand.table).contains(&query, self.outside);
        self.observer.looked_up(operand.table, service, Key::Text(key), found.map(Found::key));
        found
    }

    fn contains_client(&mut self, operand: Operand, client: Client) -> Result<bool, LookupError> {
        if operand.regex {
            return self.contains(operand, Service::NetAddr, &client_text(client), false);
        }
        let found = self.config.tables.get(operand.table).contains_client(client, self.outside);
        let (service, answer) = (Service::NetAddr, found.map(Found::key));
        self.observer.looked_up(operand.table, service, Key::Client(client), answer);
        found
    }
}
