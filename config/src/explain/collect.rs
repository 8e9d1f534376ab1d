//! The observer that keeps what it is told.

use smtpd_engine::address::Mailbox;

use super::{Answer, Explanation, LookUp, Node, Trial, What};
use crate::account::Account;
use crate::alias::Target;
use crate::expand::{Expansion, Recipient, Stop};
use crate::limits;
use crate::observe::{self, Fate, Found, Key, Miss, Observer};
use crate::rules::{Client, Condition};
use crate::table::{LookupError, Service, TableId};

/// Puts an [`Explanation`] together.
pub(super) struct Collector {
    nodes: Vec<Node>,
    current: usize,
    /// The condition that is tested; `None` when no rule is tried.
    condition: Option<Condition>,
    /// The look-ups of the rule that is tried.
    look_ups: Vec<LookUp>,
    /// The nodes that get the message, in the order of the deliveries.
    deliveries: Vec<usize>,
    stop: Option<Stop>,
}

impl Node {
    fn new(parent: Option<usize>, what: What) -> Node {
        Node {
            parent,
            what,
            internal: false,
            trials: Vec::new(),
            look_ups: Vec::new(),
            included: Vec::new(),
            forwarded: false,
            targets: Vec::new(),
            account: None,
            delivery: None,
            repeated: false,
        }
    }
}

impl LookUp {
    fn new(table: TableId, service: Service, key: Key<'_>, answer: observe::Answer<'_>) -> LookUp {
        let key = match key {
            Key::Text(text) => text.to_owned(),
            Key::Client(Client::Socket) => "local".to_owned(),
            Key::Client(Client::Ip(ip)) => ip.to_canonical().to_string(),
        };
        let answer = answer.map(|found| match found {
            Found::Nothing => Answer::No,
            Found::Value(value) if service != Service::Credentials => {
                Answer::Value(value.to_owned())
            }
            Found::Key | Found::Value(_) => Answer::Yes,
        });
        LookUp { condition: None, table, service, key, answer }
    }
}

/// Keeps look-ups alone.
#[derive(Default)]
pub(super) struct LookUps(pub Vec<LookUp>);

impl Observer for LookUps {
    fn looked_up(
        &mut self,
        table: TableId,
        service: Service,
        key: Key<'_>,
        answer: observe::Answer<'_>,
    ) {
        self.0.push(LookUp::new(table, service, key, answer));
    }
}

impl Collector {
    pub fn new(rcpt: &Mailbox) -> Collector {
        let node = Node::new(None, What::Address(rcpt.clone()));
        Collector {
            nodes: vec![node],
            current: 0,
            condition: None,
            look_ups: Vec::new(),
            deliveries: Vec::new(),
            stop: None,
        }
    }

    pub fn finish(self, expansion: Expansion) -> Explanation {
        Explanation { expansion, stop: self.stop, nodes: self.nodes, last: self.current }
    }

    fn node(&mut self) -> &mut Node {
        &mut self.nodes[self.current]
    }
}

impl Observer for Collector {
    fn step(&mut self, node: usize) {
        if self.current >= limits::EXPLAINED_NODES {
            // The last one keeps its own, which says why the expansion stops there.
            self.node().trials = Vec::new();
        }
        self.current = node;
    }

    fn asked(&mut self, _rcpt: &Mailbox, internal: bool) {
        self.node().internal = internal;
    }

    fn tests(&mut self, condition: Condition) {
        self.condition = Some(condition);
    }

    fn tried(&mut self, rule: usize, outcome: Result<Option<Miss>, LookupError>) {
        self.condition = None;
        let look_ups = std::mem::take(&mut self.look_ups);
        self.node().trials.push(Trial { rule, outcome, look_ups });
    }

    fn looked_up(
        &mut self,
        table: TableId,
        service: Service,
        key: Key<'_>,
        answer: observe::Answer<'_>,
    ) {
        let look_up = LookUp::new(table, service, key, answer);
        match self.condition {
            Some(_) => {
                self.look_ups.push(LookUp { condition: self.condition, ..look_up });
            }
            None => self.node().look_ups.push(look_up),
        }
    }

    fn included(&mut self, path: &str, elements: usize) {
        self.node().included.push((path.to_owned(), elements));
    }

    fn forwarded(&mut self, _user: &str) {
        self.node().forwarded = true;
    }

    fn target(&mut self, target: &Target) {
        self.node().targets.push((target.clone(), None));
    }

    fn fate(&mut self, fate: Fate) {
        let parent = self.current;
        let Some((target, slot)) = self.node().targets.last_mut() else { return };
        *slot = Some(fate);
        let what = match target {
            Target::Address(address) => What::Address(address.clone()),
            Target::User(name) => What::User(name.clone()),
            Target::Filter(command) => What::Program(format!("|{command}")),
            Target::File(path) => What::Program(path.clone()),
            // Neither of them is ever a node.
            Target::Error(_) | Target::Include(_) => return,
        };
        if let Fate::Node(node) = fate {
            debug_assert_eq!(node, self.nodes.len(), "nodes come in the order of their numbers");
            self.nodes.push(Node::new(Some(parent), what));
        }
    }

    fn account(&mut self, user: &str, account: &Account) {
        self.node().account = Some((user.to_owned(), account.clone()));
    }

    fn delivers(&mut self, recipient: &Recipient) {
        self.node().delivery = Some(recipient.clone());
        self.deliveries.push(self.current);
    }

    fn repeats(&mut self, delivery: usize) {
        if let Some(node) = self.deliveries.get(delivery) {
            self.nodes[*node].repeated = true;
        }
    }

    fn stopped(&mut self, why: &Stop) {
        self.stop = Some(why.clone());
    }
}
