//! A stranger from somewhere in the internet, to be shown to the rules: what they let him do they
//! let anybody do. It is the very code that decides which says so.

use std::net::IpAddr;

use smtpd_engine::address::Mailbox;

use crate::config::Config;
use crate::listen::{Auth, Tls};
use crate::rules::{Client, Decision, Facts, From, Match, Test};
use crate::table::{Operand, Shape};

use super::world::World;

/// Addresses in places that have nothing to do with each other. A rule that knows all of one
/// family means everybody; documentation addresses would not do, as examples are full of them.
const IPV4: [&str; 4] = ["11.22.33.44", "99.88.77.66", "155.66.77.88", "201.22.33.44"];
const IPV6: [&str; 2] = ["2600:1234::1", "2a03:4321::1"];

/// What a listener that can be reached from outside gives to the facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Door<'c> {
    tag: Option<&'c str>,
    tls: bool,
}

/// The stranger, in front of one configuration.
pub(super) struct Stranger<'c> {
    config: &'c Config,
    world: &'c dyn World,
    doors: Vec<Door<'c>>,
}

impl<'c> Stranger<'c> {
    pub fn new(config: &'c Config, world: &'c dyn World) -> Stranger<'c> {
        Stranger { config, world, doors: doors(config, world) }
    }

    /// The sender with which a stranger gets his mail for `rcpt` through to this rule, wherever
    /// he is; `None` when he cannot, or when it cannot be said.
    pub fn passes(&self, index: usize, rcpt: &Mailbox) -> Option<Mailbox> {
        let config = self.config;
        let rule = &config.matches[index];
        // He has no account, and his reverse name is his own to choose, but that is work.
        if rule.auth.is_some_and(|auth| !auth.not) || matches!(rule.from.what, From::Rdns(_)) {
            return None;
        }
        let sender = sender(config, rule)?;
        let helo = match rule.helo {
            Some(Test { not: false, what }) => first_key(config, what)?.replace('*', "x"),
            _ => "stranger.example".to_owned(),
        };
        self.doors.iter().find(|door| {
            let reaches = |address: &&str| {
                let Ok(ip) = address.parse::<IpAddr>() else { return false };
                let facts = Facts {
                    client: Client::Ip(ip),
                    rdns: Some("stranger.example"),
                    rdns_confirmed: false,
                    helo: &helo,
                    tag: door.tag,
                    auth: None,
                    tls: door.tls,
                    sender: Some(&sender),
                    day: 0,
                };
                let decision = config.decide(&facts, rcpt, self.world.outside());
                matches!(decision, Decision::Action { rule, .. } if rule == index)
            };
            IPV4.iter().all(&reaches) || IPV6.iter().all(reaches)
        })?;
        Some(sender)
    }
}

/// The listeners that a stranger may send mail to.
fn doors<'c>(config: &'c Config, world: &dyn World) -> Vec<Door<'c>> {
    let mut doors = Vec::new();
    for listen in &config.listeners {
        // Behind `auth` nobody is a stranger, nor behind a certificate.
        let known = matches!(listen.auth, Auth::Require(_))
            || matches!(listen.tls, Tls::Require { verify: true } | Tls::Smtps { verify: true });
        let addresses = listen.addresses(config, world).unwrap_or_default();
        let outside = addresses.iter().any(|address| !address.ip().is_loopback());
        if known || !outside {
            continue;
        }
        let tag = listen.tag.as_deref();
        let secure = [false, true].into_iter().filter(|tls| match listen.tls {
            Tls::Never => !tls,
            Tls::Offer => true,
            Tls::Require { .. } | Tls::Smtps { .. } => *tls,
        });
        for tls in secure {
            let door = Door { tag, tls };
            if !doors.contains(&door) {
                doors.push(door);
            }
        }
    }
    doors
}

/// A sender that the rule takes.
fn sender(config: &Config, rule: &Match) -> Option<Mailbox> {
    let text = match rule.mail_from {
        Some(Test { not: false, what }) => {
            let key = first_key(config, what)?.replace('*', "x");
            match key.rsplit_once('@') {
                Some(("", "")) => "stranger@stranger.example".to_owned(),
                Some(("", domain)) => format!("stranger@{domain}"),
                Some((user, "")) => format!("{user}@stranger.example"),
                Some(_) => key,
                None => format!("{key}@stranger.example"),
            }
        }
        _ => "stranger@stranger.example".to_owned(),
    };
    Mailbox::parse(&text).ok()
}

/// The first key of a table in memory.
fn first_key(config: &Config, operand: Operand) -> Option<String> {
    let table = config.tables.get(operand.table);
    if operand.regex || table.shape == Shape::Dynamic {
        return None;
    }
    table.entries.sorted().first().map(|(key, _)| (*key).to_owned())
}
