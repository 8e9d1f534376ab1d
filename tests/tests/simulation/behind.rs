//! What is behind the intake: queues, where the daemon has channels.

use std::collections::VecDeque;

use smtpd::daemon::intake::{Backstage, client};
use smtpd::daemon::lookup::Question;
use smtpd::daemon::messages::{Asker, Backlog, Waiting};
use smtpd::daemon::writer::Order;
use smtpd::sys::Zone;
use smtpd_queue::id::MessageId;
use smtpd_queue::request::{Accept, Request};

/// Writers of content files, and delivery workers.
pub const THREADS: usize = 2;

/// See the module.
#[derive(Default)]
pub struct Behind {
    /// For the commit.
    pub requests: Vec<Request<Asker<u64>>>,
    /// For the writers of content files.
    pub orders: [VecDeque<Order<u64>>; THREADS],
    /// For the look-ups.
    pub questions: Vec<Question<u64>>,
    /// For the resolver.
    pub names: Vec<client::Question<u64>>,
    /// The wall clock.
    pub wall: u64,
}

impl Behind {
    fn order(&mut self, message: MessageId, order: Order<u64>) {
        self.orders[message.as_u32() as usize % THREADS].push_back(order);
    }
}

impl Backstage for Behind {
    type Conn = u64;

    fn commit(&mut self, accept: Accept<Waiting<u64>>) {
        self.requests.push(Request::Accept(accept.map(Asker::Peer)));
    }

    fn write(&mut self, message: MessageId, octets: Vec<u8>, backlog: &Backlog, conn: u64) {
        backlog.add(octets.len());
        let backlog = backlog.clone();
        self.order(message, Order::Write { message, octets, backlog, conn: Some(conn) });
    }

    fn finish(&mut self, accept: Box<Accept<Waiting<u64>>>) {
        let accept = Box::new(accept.map(Asker::Peer));
        self.order(accept.message.id, Order::Finish(accept));
    }

    fn remove(&mut self, message: MessageId) {
        self.order(message, Order::Remove(message));
    }

    fn name(&mut self, question: client::Question<u64>) {
        self.names.push(question);
    }

    fn look_up(&mut self, question: Question<u64>) {
        self.questions.push(question);
    }

    fn wall(&mut self) -> u64 {
        self.wall
    }

    fn zone(&mut self, _seconds: i64) -> Zone {
        Zone::default()
    }
}
