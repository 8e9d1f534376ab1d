//! Listeners that cannot be bound, or that want the same address and port.

use std::net::SocketAddr;

use crate::config::Config;
use crate::diagnostic::{Diagnostic, Position};

use super::world::World;

pub(super) fn check(config: &Config, world: &dyn World) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut bound: Vec<(SocketAddr, &Position)> = Vec::new();
    for listen in &config.listeners {
        let addresses = match listen.addresses(config, world) {
            Ok(addresses) => addresses,
            Err(diagnostic) => {
                found.push(diagnostic);
                continue;
            }
        };
        // One word for a line, however many addresses collide.
        let collision = addresses.iter().find_map(|address| {
            let other = bound.iter().find(|(other, _)| collide(*address, *other));
            other.map(|(other, position)| (*address, *other, *position))
        });
        if let Some((address, other, position)) = collision {
            let message = match address == other {
                true => format!("{address} is bound at {position} already"),
                false => format!("{address} collides with {other}, bound at {position}"),
            };
            let help = "leave one of the lines out, or give it another port";
            // Where a wildcard stands beside an address, some systems go by the closer one.
            let diagnostic = match address == other || cfg!(target_os = "linux") {
                true => Diagnostic::error(message),
                false => Diagnostic::warning(message),
            };
            found.push(diagnostic.help(help).at(listen.position.clone()));
        }
        bound.extend(addresses.into_iter().map(|address| (address, &listen.position)));
    }
    found
}

/// Whether both cannot be listened on at once. Sockets of IPv6 do not take IPv4.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port()
        && a.is_ipv4() == b.is_ipv4()
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}
