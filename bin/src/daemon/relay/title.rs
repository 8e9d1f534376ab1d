//! What a relay is called where administrators see it: `[relay:example.org,smtp]`, in upstream's
//! words.

use std::fmt::Write;

use smtpd_config::action::Route;
use smtpd_config::route::{HopTls, NextHop, Server};
use smtpd_config::table::TableId;
use smtpd_config::url::Scheme;
use smtpd_config::{Config, Relay};

/// The name of an action's way to a domain. Several servers are joined by `+`; port, TLS and label
/// are those of the first.
#[must_use]
pub fn title(config: &Config, relay: &Relay, hop: &NextHop, domain: &str) -> String {
    let mut title = String::from("[relay:");
    let (first, tls) = match hop {
        NextHop::Mx { tls, .. } => {
            title.push_str(domain);
            (None, *tls)
        }
        NextHop::Servers(servers) => {
            for (nth, server) in servers.iter().enumerate() {
                let plus = if nth == 0 { "" } else { "+" };
                put(&mut title, plus, &server.url.host);
            }
            let first = servers.first();
            (first, first.map_or(HopTls::Opportunistic, |server| server.tls))
        }
    };
    if let Some(port) = first.and_then(|server| server.url.port) {
        put(&mut title, ",port=", &port.to_string());
    }
    let is_lmtp = first.is_some_and(|server| server.url.scheme == Scheme::Lmtp);
    title.push_str(match tls {
        _ if is_lmtp => ",lmtp",
        HopTls::Never => ",smtp+notls",
        HopTls::Opportunistic => ",smtp",
        HopTls::Required { .. } => ",smtp+tls",
        HopTls::Immediate { .. } => ",smtps",
    });
    let name = |table: TableId| &*config.tables.get(table).name;
    let label = first.and_then(|server: &Server| server.url.label.as_deref());
    if let (Some(table), Some(label)) = (relay.auth, label) {
        put(&mut title, ",auth=", name(table));
        put(&mut title, ":", label);
    }
    if let Some(pki) = &relay.pki {
        put(&mut title, ",pki_name=", pki);
    }
    if first.is_some() {
        title.push_str(",mx");
    }
    if let Route::Backup(mx) = &relay.route {
        put(&mut title, ",backup=", mx.as_deref().unwrap_or(&config.host.name));
    }
    if let Some(table) = relay.src {
        put(&mut title, ",sourcetable=", name(table));
    }
    if let Some(table) = relay.helo_src {
        put(&mut title, ",helotable=", name(table));
    }
    if let Some(helo) = &relay.helo {
        put(&mut title, ",heloname=", helo);
    }
    title.push(']');
    title
}

fn put(title: &mut String, word: &str, value: &str) {
    // A String takes everything.
    let _ = write!(title, "{word}{value}");
}
