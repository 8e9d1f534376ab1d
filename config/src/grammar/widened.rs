//! A warning of relays that come with the wider meaning of `*.example.org`.
//!
//! OpenSMTPD takes one label for the star, and so do people who test their rules with one. Where a
//! rule of clients from elsewhere passes mail on, more labels are more domains to relay for.

use crate::action::Method;
use crate::diagnostic::Diagnostic;
use crate::rules::{For, From, Match, Verdict};
use crate::table::TableId;

use super::Reader;

impl Reader<'_> {
    /// Warns of each rule that lets more through than OpenSMTPD would.
    pub(super) fn warn_of_widened_rules(&mut self) {
        let mut found = Vec::new();
        for rule in &self.config.matches {
            let Some(pattern) = self.widened_by(rule) else { continue };
            let message = format!("here \"{pattern}\" is for domains at any depth below");
            let warning = Diagnostic::warning(message).help(
                "OpenSMTPD relays for one label in the place of the star only; \
                 name the domains if more would be too much",
            );
            found.push(warning.at(rule.position.clone()));
        }
        found.into_iter().for_each(|warning| self.diagnostics.push(warning));
    }

    /// A pattern by which the rule takes more recipients (or refuses less), if these may be
    /// relayed to for somebody who is not here.
    fn widened_by(&self, rule: &Match) -> Option<String> {
        let from_here = matches!(rule.from.what, From::Local | From::Socket) && !rule.from.not;
        let relays = match rule.verdict {
            Verdict::Action(id) => matches!(self.config.action_at(id).method, Method::Relay(_)),
            Verdict::Reject => true,
        };
        if from_here || !relays {
            return None;
        }
        // More matches are more relays, but for what is refused unless it matches.
        let loosens = |not: bool| not == (rule.verdict == Verdict::Reject);
        let to = match rule.to.what {
            For::Domain(operand) if loosens(rule.to.not) => Some(operand),
            _ => None,
        };
        let rcpt_to = rule.rcpt_to.filter(|test| loosens(test.not)).map(|test| test.what);
        let operands = [to, rcpt_to].into_iter().flatten().filter(|operand| !operand.regex);
        operands.map(|operand| operand.table).find_map(|table| self.star_of(table))
    }

    fn star_of(&self, table: TableId) -> Option<String> {
        let keys = self.content(table).sorted();
        let domain = |key: &str| key.rsplit_once('@').map_or(key, |(_, domain)| domain).to_owned();
        keys.iter().find(|(key, _)| domain(key).starts_with("*.")).map(|(key, _)| (*key).to_owned())
    }
}
