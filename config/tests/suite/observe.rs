//! What an observer is told.

use smtpd_config::alias::Target;
use smtpd_config::expand::{Recipient, Stop};
use smtpd_config::observe::{Answer, Fate, Key, Miss};
use smtpd_config::table::{LookupError, Service, TableId};
use smtpd_config::{Account, Observer};
use smtpd_engine::address::Mailbox;

use crate::machine::{People, config, facts, mailbox};

/// Writes down what it is told.
#[derive(Default)]
struct Notes(Vec<String>);

impl Observer for Notes {
    fn step(&mut self, node: usize) {
        self.0.push(format!("node {node}"));
    }

    fn asked(&mut self, rcpt: &Mailbox, internal: bool) {
        self.0.push(format!("rules {rcpt} {internal}"));
    }

    fn tried(&mut self, rule: usize, outcome: Result<Option<Miss>, LookupError>) {
        let miss = outcome.map(|miss| miss.map(|miss| (miss.condition, miss.never)));
        self.0.push(format!("rule {rule} {miss:?}"));
    }

    fn looked_up(&mut self, _: TableId, service: Service, key: Key<'_>, answer: Answer<'_>) {
        self.0.push(format!("{service:?} {key:?} {answer:?}"));
    }

    fn target(&mut self, target: &Target) {
        self.0.push(format!("{target:?}"));
    }

    fn fate(&mut self, fate: Fate) {
        self.0.push(format!("{fate:?}"));
    }

    fn account(&mut self, user: &str, account: &Account) {
        self.0.push(format!("user {user} {}", matches!(account, Account::User { .. })));
    }

    fn delivers(&mut self, recipient: &Recipient) {
        self.0.push(format!("delivers {}", recipient.dest));
    }

    fn repeats(&mut self, delivery: usize) {
        self.0.push(format!("repeats {delivery}"));
    }

    fn stopped(&mut self, why: &Stop) {
        self.0.push(format!("stopped {why:?}"));
    }
}

#[test]
fn every_step_is_told_in_its_order() {
    let config = config(
        "table t { list = \"joe, a, x@else.example, a\", a = joe }\n\
         action \"local\" maildir alias <t>\n\
         match tag x for any reject\n\
         match from rdns \"y\" for any reject\n\
         match from any for local action \"local\"\n",
    );
    let mut notes = Notes::default();
    config.expand_observed(
        &facts("203.0.113.9"),
        &mailbox("list@localhost"),
        &People(&["joe"]),
        &mut notes,
    );
    let told = [
        "node 0",
        "rules list@localhost false",
        "String Text(\"\") Ok(Nothing)",
        "rule 0 Ok(Some((Tag, None)))",
        "rule 1 Ok(Some((From, Some(NoReverseName))))",
        "rule 2 Ok(None)",
        "Alias Text(\"list\") Ok(Value(\"joe, a, x@else.example, a\"))",
        "User(\"joe\")",
        "Node(1)",
        "User(\"a\")",
        "Node(2)",
        "Address(<x@else.example>)",
        "Node(3)",
        "User(\"a\")",
        "Known",
        "node 1",
        "Alias Text(\"joe\") Ok(Nothing)",
        "user joe true",
        "delivers list@localhost",
        "node 2",
        "Alias Text(\"a\") Ok(Value(\"joe\"))",
        "User(\"joe\")",
        "Known",
        "node 3",
        "rules x@else.example true",
        "String Text(\"\") Ok(Nothing)",
        "rule 0 Ok(Some((Tag, None)))",
        "rule 1 Ok(Some((From, Some(NoClient))))",
        "rule 2 Ok(Some((For, None)))",
        "stopped Refused",
    ];
    assert_eq!(notes.0, told);
}
