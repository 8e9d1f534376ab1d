//! The configuration as types: what both grammars are read into.
//!
//! A value of these types is complete and consistent: every name it uses is declared, every
//! number is within its bounds. What is configured but not built yet is listed by
//! [`Config::inactive`], so that a program can refuse to start with it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::action::Action;
use crate::diagnostic::Position;
use crate::filter::{Filter, Processor};
use crate::limits;
use crate::listen::{Auth, Listen, SocketListen};
use crate::places::Places;
use crate::rules::Match;
use crate::surroundings::Host;
use crate::table::Tables;
use crate::tls::Ciphers;

/// The grammar a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Actions and matches (6.4 and later).
    Modern,
    /// Accept and reject rules (5.3 to 6.0).
    Legacy,
}

/// A whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which grammar the file was written in.
    pub dialect: Dialect,
    /// The machine it was loaded on.
    pub host: Host,
    /// The TCP listeners, in the order of the file.
    pub listeners: Vec<Listen>,
    /// The listener of the local submission socket; always there.
    pub socket: SocketListen,
    /// Every table, also the anonymous ones.
    pub tables: Tables,
    /// The rules in their order: the first that matches decides.
    pub matches: Vec<Match>,
    /// `pki` and `ca` lines by lower-cased name.
    pub pki: HashMap<String, Pki>,
    /// CA bundles by lower-cased name.
    pub ca: HashMap<String, Ca>,
    /// Filter processes by name.
    pub processors: HashMap<String, Processor>,
    /// Filters by name.
    pub filters: HashMap<String, Filter>,
    /// `mda wrapper` lines by name.
    pub wrappers: HashMap<String, Wrapper>,
    /// `queue ...`
    pub queue: Queue,
    /// `smtp ...`
    pub smtp: Smtp,
    /// `mta ...`
    pub mta: Mta,
    /// `mda limit ...`
    pub mda: LimitSet,
    /// `scheduler limit ...`
    pub scheduler: LimitSet,
    /// `srs ...`
    pub srs: Option<Srs>,
    /// `bounce warn-interval`: the ages at which the sender is told of a delay.
    pub bounce_warn: Vec<Duration>,
    /// `admd`: the administrative domain told to filters.
    pub admd: Option<String>,
    /// `control socket`: where smtpctl and the local submission connect.
    pub control_socket: PathBuf,
    /// `daemon user`: whom the daemon becomes when it is started by root.
    pub daemon_user: String,
    /// `resolver`: the nameservers that are asked, in that order; those of the system when empty.
    pub resolvers: Vec<SocketAddr>,
    /// Where directives stand of which there is one: `queue directory`, `srs key`, ...
    pub places: Places,
    pub(crate) actions: Vec<Arc<Action>>,
    pub(crate) action_names: HashMap<Arc<str>, ActionId>,
    pub(crate) inactive: Vec<Inactive>,
}

/// Index of an action of one [`Config`]. Not stable over a reload: envelopes keep the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ActionId(pub(crate) u32);

/// Something that is configured and whose machinery is not there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inactive {
    /// The line that asks for it.
    pub position: Position,
    /// A sentence: `filters do not work yet`.
    pub what: String,
}

/// Certificate and key of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pki {
    /// The first line that names it.
    pub position: Position,
    /// Certificate chain (PEM).
    pub cert: Option<PathBuf>,
    /// Private key (PEM).
    pub key: Option<PathBuf>,
}

/// Trust anchors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ca {
    /// Where it is declared.
    pub position: Position,
    /// Certificates (PEM).
    pub file: PathBuf,
}

/// A command around the command of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapper {
    /// Where it is declared.
    pub position: Position,
    /// The command; `%{mda}` in it stands for the one of the delivery.
    pub command: String,
}

/// Where and how long mail waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// `queue directory`.
    pub directory: PathBuf,
    /// `queue ttl`: life time of envelopes whose action has no time to live of its own.
    pub ttl: Duration,
    /// `queue compression`.
    pub compression: bool,
    /// `queue encryption`: the first key encrypts, all of them decrypt.
    pub encryption: Vec<QueueKey>,
}

/// Where a key of the queue comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum QueueKey {
    /// No key, always the first one: the others only decrypt.
    None,
    /// Asked for on the terminal at start.
    Prompt,
    /// A line of standard input.
    Stdin,
    /// Written in the file: 32 ASCII characters.
    Key(String),
}

impl std::fmt::Debug for QueueKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            QueueKey::None => "None",
            QueueKey::Prompt => "Prompt",
            QueueKey::Stdin => "Stdin",
            QueueKey::Key(_) => "Key(***)",
        })
    }
}

/// What SMTP sessions are held to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smtp {
    /// Recipients of one transaction.
    pub max_rcpt: u32,
    /// Transactions of one session.
    pub max_mails: u32,
    /// Sessions at once of one IPv4 address or IPv6 /64; loopback has no bound.
    pub max_conn_per_src: u32,
    /// Octets of a message.
    pub max_message_size: u64,
    /// Characters that separate user and sub-address in a local part.
    pub sub_addr_delim: String,
    /// Cipher list of listeners and relays without one of their own.
    pub ciphers: Option<Ciphers>,
}

/// Limits of outgoing mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mta {
    /// Envelopes remembered of a suspended destination.
    pub max_deferred: u32,
    /// `mta preconnect`: connections are opened when a recipient is taken.
    pub preconnect: bool,
    /// Limits without `for domain`.
    pub limits: MtaLimits,
    /// Limits of single relay domains.
    pub domains: HashMap<String, MtaLimits>,
}

/// Address family of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4 only.
    Inet4,
    /// IPv6 only.
    Inet6,
}

/// Outgoing mail to one domain, or to all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MtaLimits {
    /// Restriction to one address family.
    pub family: Option<Family>,
    /// `mta limit KEY N`.
    pub limits: LimitSet,
}

/// Numbers that are set by `... limit KEY N`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitSet {
    defaults: &'static [(&'static str, u32)],
    set: HashMap<&'static str, u32>,
}

impl LimitSet {
    /// Words of `mda limit` with their defaults.
    pub const MDA: &'static [(&'static str, u32)] = &[
        ("max-session", 50),
        // Upstream has 7. Ours are batches, and more than two at once wait for one directory.
        ("max-session-per-user", 2),
        ("task-hiwat", 50),
        ("task-lowat", 30),
        ("task-release", 10),
    ];

    /// Words of `scheduler limit` with their defaults.
    pub const SCHEDULER: &'static [(&'static str, u32)] = &[
        ("max-inflight", 5_000),
        ("max-evp-batch-size", 32),
        ("max-msg-batch-size", 1_024),
        ("max-schedule", 10),
    ];

    /// Words of `mta limit` with their defaults. Delays are seconds.
    pub const MTA: &'static [(&'static str, u32)] = &[
        ("max-conn-per-host", 10),
        ("max-conn-per-route", 5),
        ("max-conn-per-source", 100),
        ("max-conn-per-connector", 20),
        ("max-conn-per-relay", 100),
        ("max-conn-per-domain", 100),
        ("conn-delay-host", 0),
        ("conn-delay-route", 5),
        ("conn-delay-source", 0),
        ("conn-delay-connector", 0),
        ("conn-delay-relay", 2),
        ("conn-delay-domain", 0),
        ("reconn-delay-route", 3),
        ("session-mail-max", 100),
        // Ours: messages to one domain, not bounded unless they are written.
        ("max-mails-per-minute", u32::MAX),
        ("max-mails-per-hour", u32::MAX),
        ("session-transaction-delay", 0),
        ("session-keepalive", 10),
        ("max-failures-per-session", 25),
        ("task-hiwat", 50),
        ("task-lowat", 30),
        ("task-release", 10),
    ];

    pub(crate) fn new(defaults: &'static [(&'static str, u32)]) -> LimitSet {
        LimitSet { defaults, set: HashMap::new() }
    }

    /// The words that can be set.
    pub fn words(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.defaults.iter().map(|(word, _)| *word)
    }

    /// The value of a word of this set, `None` for another word.
    pub fn get(&self, word: &str) -> Option<u32> {
        let (_, default) = self.defaults.iter().find(|(known, _)| *known == word)?;
        Some(self.set.get(word).copied().unwrap_or(*default))
    }

    /// What the file sets, in the order of the words.
    pub fn configured(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.words().filter_map(|word| Some((word, *self.set.get(word)?)))
    }

    /// Sets a word; false when there is no such word.
    pub(crate) fn set(&mut self, word: &str, value: u32) -> bool {
        match self.words().find(|known| *known == word) {
            Some(known) => {
                self.set.insert(known, value);
                true
            }
            None => false,
        }
    }
}

/// `srs`: sender rewriting of forwarded mail.
#[derive(Clone, PartialEq, Eq)]
pub struct Srs {
    /// Key that signs.
    pub key: String,
    /// Second key accepted when addresses come back.
    pub backup: Option<String>,
    /// Days a rewritten address is good for.
    pub days: u32,
}

impl std::fmt::Debug for Srs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Srs {{ key: ***, days: {} }}", self.days)
    }
}

impl Config {
    /// Everything configured whose machinery is not there yet, in the order of the file. A
    /// daemon must not start with it: what is written down would silently not happen.
    pub fn inactive(&self) -> &[Inactive] {
        &self.inactive
    }

    /// Every action in the order of the file.
    pub fn actions(&self) -> impl Iterator<Item = &Arc<Action>> {
        self.actions.iter()
    }

    /// The action with that name: how a queued envelope finds what to do with it today.
    pub fn action(&self, name: &str) -> Option<&Arc<Action>> {
        self.action_names.get(name).map(|id| self.action_at(*id))
    }

    /// Whether some listener can authenticate.
    pub(crate) fn has_auth(&self) -> bool {
        self.listeners.iter().any(|listen| listen.auth != Auth::Never)
    }

    /// The action of that index.
    pub fn action_at(&self, id: ActionId) -> &Arc<Action> {
        &self.actions[id.0 as usize]
    }

    /// How long an envelope of that action may be tried.
    pub fn ttl(&self, action: &Action) -> Duration {
        action.ttl.unwrap_or(self.queue.ttl)
    }

    /// Whether an address is one of this machine's.
    pub fn is_local_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_loopback() || self.host.addresses.contains(&address)
    }

    pub(crate) fn new(dialect: Dialect, host: Host) -> Config {
        Config {
            dialect,
            host,
            listeners: Vec::new(),
            socket: SocketListen::default(),
            tables: Tables::default(),
            matches: Vec::new(),
            pki: HashMap::new(),
            ca: HashMap::new(),
            processors: HashMap::new(),
            filters: HashMap::new(),
            wrappers: HashMap::new(),
            queue: Queue {
                directory: PathBuf::from(limits::QUEUE_DIRECTORY),
                ttl: limits::QUEUE_TTL,
                compression: false,
                encryption: Vec::new(),
            },
            smtp: Smtp {
                max_rcpt: limits::MAX_RCPT,
                max_mails: limits::MAX_MAILS,
                max_conn_per_src: limits::MAX_CONN_PER_SRC,
                max_message_size: limits::MESSAGE_SIZE,
                sub_addr_delim: "+".to_owned(),
                ciphers: None,
            },
            mta: Mta {
                max_deferred: 100,
                preconnect: false,
                limits: MtaLimits { family: None, limits: LimitSet::new(LimitSet::MTA) },
                domains: HashMap::new(),
            },
            mda: LimitSet::new(LimitSet::MDA),
            scheduler: LimitSet::new(LimitSet::SCHEDULER),
            srs: None,
            bounce_warn: vec![Duration::from_secs(4 * 3_600)],
            admd: None,
            control_socket: PathBuf::from(limits::CONTROL_SOCKET),
            daemon_user: limits::DAEMON_USER.to_owned(),
            resolvers: Vec::new(),
            places: Places::default(),
            actions: Vec::new(),
            action_names: HashMap::new(),
            inactive: Vec::new(),
        }
    }
}
