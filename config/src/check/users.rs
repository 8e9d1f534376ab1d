//! Users that are named.

use crate::action::Method;
use crate::config::Config;
use crate::diagnostic::{Diagnostic, Position};
use crate::surroundings::Lookup;

use super::world::World;

pub(super) fn check(config: &Config, world: &dyn World) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut ask = |name: &str, position: &Position, help: &str| {
        if world.outside().user(name) == Lookup::None {
            let warning = Diagnostic::warning(format!("there is no user {name}"));
            found.push(warning.help(help).at(position.clone()));
        }
    };
    if let Some(position) = config.places.of("daemon user") {
        ask(
            &config.daemon_user,
            position,
            "smtpd does not start when root starts it: add the user",
        );
    }
    for action in config.actions() {
        if let Method::Local(local) = &action.method
            && let Some(user) = &local.user
        {
            let position = action.places.of("user").unwrap_or(&action.position);
            ask(user, position, "no mail of this action can be delivered");
        }
    }
    for processor in config.processors.values() {
        if let Some(user) = &processor.user {
            ask(user, &processor.position, "the filter's process cannot be started");
        }
    }
    found
}
