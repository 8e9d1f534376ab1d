//! Where an accepted message goes from here: a Maildir, a command, a server.

use std::path::PathBuf;

use smtpd_config::explain::{LookUp, Node};
use smtpd_config::route::{HopTls, NextHop, NoRoute, Server};
use smtpd_config::{Account, Agent, Config, Delivery, Facts, Method, Outside, Values};
use smtpd_engine::address::Mailbox;

use crate::daemon::deliver;

/// The way of one delivery.
pub enum Way {
    /// Into a Maildir; or why there is none: the message is held then.
    Maildir(Result<PathBuf, String>),
    /// Into the user's mailbox of the system.
    Mbox,
    /// Into a command, as it is written.
    Command(String),
    /// Added to a file, as it is written.
    File(String),
    /// To an LMTP server, as it is written in the configuration.
    Lmtp(String),
    /// To another server; or why there is no way: the message waits then.
    Relay(Result<NextHop, NoRoute>, Vec<LookUp>),
    /// To nobody by itself: the action only passes on.
    Nowhere,
}

/// The way that a node's delivery goes for the recipient `rcpt`; `None` when it has none.
pub fn way(
    config: &Config,
    facts: &Facts<'_>,
    rcpt: &Mailbox,
    node: &Node,
    outside: &dyn Outside,
) -> Option<Way> {
    let recipient = node.delivery.as_ref()?;
    match &recipient.agent {
        Agent::Command { command, .. } => return Some(Way::Command(command.to_string())),
        Agent::File { path, .. } => return Some(Way::File(path.to_string())),
        Agent::Local { .. } | Agent::Relay => {}
    }
    let local = match &recipient.action.method {
        Method::Relay(relay) => {
            let (hop, look_ups) = config.explain_route(relay, recipient.dest.domain(), outside);
            return Some(Way::Relay(hop, look_ups));
        }
        Method::Local(local) => local,
    };
    Some(match &local.delivery {
        Delivery::Mbox => Way::Mbox,
        Delivery::Mda(command) => Way::Command(command.as_str().to_owned()),
        Delivery::Lmtp { destination, .. } => Way::Lmtp(destination.as_str().to_owned()),
        Delivery::ForwardOnly | Delivery::ExpandOnly => Way::Nowhere,
        Delivery::Maildir { path, .. } => {
            let (user, home) = match &node.account {
                Some((name, Account::User { user, .. })) => (name, Some(user.home.as_path())),
                Some((name, _)) => (name, None),
                None => return Some(Way::Nowhere),
            };
            let values = Values {
                sender: facts.sender,
                rcpt,
                dest: &recipient.dest,
                user,
                home,
                delimiters: &config.smtp.sub_addr_delim,
            };
            Way::Maildir(deliver::maildir(path.as_ref(), &values))
        }
    })
}

impl Way {
    /// The tables that were asked for it.
    pub fn look_ups(&self) -> &[LookUp] {
        match self {
            Way::Relay(_, look_ups) => look_ups,
            _ => &[],
        }
    }

    /// In words.
    pub fn told(&self) -> String {
        match self {
            Way::Maildir(Ok(path)) => format!("Maildir {}", path.display()),
            Way::Maildir(Err(why)) => format!("held: {why}"),
            Way::Mbox => "mailbox of the system".to_owned(),
            Way::Command(command) => format!("command {command}"),
            Way::File(path) => format!("added to the file {path}"),
            Way::Lmtp(server) => format!("LMTP to {server}"),
            Way::Relay(Ok(NextHop::Mx { better_than: None, tls }), _) => {
                format!("relay to the MX hosts of the domain, {}", tls_told(*tls))
            }
            Way::Relay(Ok(NextHop::Mx { better_than: Some(name), tls }), _) => {
                let tls = tls_told(*tls);
                format!("relay to those MX hosts of the domain that are before {name}, {tls}")
            }
            Way::Relay(Ok(NextHop::Servers(servers)), _) => {
                let servers: Vec<String> = servers.iter().map(server_told).collect();
                format!("relay to {}", servers.join(", or "))
            }
            Way::Relay(Err(why), _) => format!("waits: {why}"),
            Way::Nowhere => "nothing".to_owned(),
        }
    }
}

fn server_told(server: &Server) -> String {
    let Server { url, port, tls, login: _ } = server;
    let login = url.label.as_ref().map(|label| format!(", as {label}")).unwrap_or_default();
    format!("{} port {port}, {}{login}", url.host, tls_told(*tls))
}

fn tls_told(tls: HopTls) -> &'static str {
    match tls {
        HopTls::Never => "without TLS",
        HopTls::Opportunistic => "with TLS if it is offered",
        HopTls::Required { verify: true } => "with TLS and a verified certificate",
        HopTls::Required { verify: false } => "with TLS and any certificate",
        HopTls::Immediate { verify: true } => "with TLS at once and a verified certificate",
        HopTls::Immediate { verify: false } => "with TLS at once and any certificate",
    }
}
