//! The threads that write content files: content too big for a journal record, or that found no
//! room in memory.
//!
//! Each message has one writer thread, so its pieces stay in order; the syncs of several messages
//! overlap. A message that is whole and durable goes on to the commit thread, which answers its
//! sender. A writer that is behind holds its sessions back by the octets it has not written yet
//! ([`Backlog`]), and TCP holds the peers.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use smtpd_queue::backend::Contents;
use smtpd_queue::id::MessageId;
use smtpd_queue::request::{Accept, Refusal};

use super::messages::{Asker, Backlog};
use super::threads;
use super::writer::{ContentWriter, Done, Order};

/// Threads that write content files. Their syncs overlap on one disk; more would only queue there.
const WRITERS: usize = 4;

/// What the writers tell the others.
pub trait Listener<C>: Clone + Send + 'static {
    /// A session that was held may go on.
    fn resume(&self, conn: C);
    /// The content is durable: the message may be committed.
    fn commit(&self, accept: Accept<Asker<C>>);
    /// The content could not be written: its sender is to be told.
    fn refuse(&self, asker: Asker<C>, why: Refusal);
}

/// The way to the writers.
pub struct Spooler<C> {
    writers: Vec<Sender<Order<C>>>,
}

impl<C> Clone for Spooler<C> {
    fn clone(&self) -> Spooler<C> {
        Spooler { writers: self.writers.clone() }
    }
}

impl<C: Copy + Send + 'static> Spooler<C> {
    /// Starts the threads. They end when the last handle is gone and all is written.
    ///
    /// # Errors
    /// When the system starts no more threads.
    pub fn start(
        contents: &Arc<dyn Contents>,
        listener: &impl Listener<C>,
    ) -> io::Result<(Spooler<C>, Vec<JoinHandle<()>>)> {
        let mut writers = Vec::new();
        let mut handles = Vec::new();
        for n in 0..WRITERS {
            let (sender, orders) = mpsc::channel();
            let (writer, listener) = (ContentWriter::new(contents.clone()), listener.clone());
            handles.push(threads::start(&format!("content{n}"), move || {
                write(writer, &listener, orders);
            })?);
            writers.push(sender);
        }
        Ok((Spooler { writers }, handles))
    }

    /// Hands a piece of content to the message's writer. `conn` is who may have to be resumed.
    pub fn write(&self, message: MessageId, octets: Vec<u8>, backlog: &Backlog, conn: Option<C>) {
        backlog.add(octets.len());
        self.order(message, Order::Write { message, octets, backlog: backlog.clone(), conn });
    }

    /// Tells the writer that the content is whole.
    pub fn finish(&self, accept: Box<Accept<Asker<C>>>) {
        self.order(accept.message.id, Order::Finish(accept));
    }

    /// Has the content file of a message removed, whether it is there or not.
    pub fn remove(&self, message: MessageId) {
        self.order(message, Order::Remove(message));
    }

    fn order(&self, message: MessageId, order: Order<C>) {
        let writer = &self.writers[message.as_u32() as usize % self.writers.len()];
        // A writer ends only with its last handle, and this is one.
        let _ = writer.send(order);
    }
}

fn write<C>(mut writer: ContentWriter, listener: &impl Listener<C>, orders: Receiver<Order<C>>) {
    for order in orders {
        match writer.carry_out(order) {
            Some(Done::Resume(conn)) => listener.resume(conn),
            Some(Done::Commit(accept)) => listener.commit(accept),
            Some(Done::Refuse(asker, why)) => listener.refuse(asker, why),
            None => {}
        }
    }
}
