//! Content files being written: what is too big for a journal record, or found no room in memory.
//!
//! A [`ContentWriter`] is a value that carries out one order after the other and waits for the
//! disk meanwhile. The daemon gives each a thread (`spooler`); all orders about
//! one message go to the same one, so that they are carried out in their order.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use smtpd_queue::backend::{Contents, Writing};
use smtpd_queue::id::MessageId;
use smtpd_queue::request::{Accept, Body, Refusal};

use super::messages::{Asker, Backlog};

/// What a writer is told about a message.
pub enum Order<C> {
    /// These octets are next.
    Write {
        /// The message.
        message: MessageId,
        /// Part of its content.
        octets: Vec<u8>,
        /// Where they are counted as handed over, until they are written.
        backlog: Backlog,
        /// Who is to go on when the backlog is short again; `None` for one who looks by himself.
        conn: Option<C>,
    },
    /// That was all: make it durable, then have the message committed.
    Finish(Box<Accept<Asker<C>>>),
    /// The message was given up by its sender, or its file is no longer needed.
    Remove(MessageId),
}

/// What comes of an order, if anybody is to hear of it.
pub enum Done<C> {
    /// A session that was held may go on.
    Resume(C),
    /// The content is durable: the message may be committed.
    Commit(Accept<Asker<C>>),
    /// The content could not be written: its sender is to be told.
    Refuse(Asker<C>, Refusal),
}

/// See the module.
pub struct ContentWriter {
    contents: Arc<dyn Contents>,
    open: HashMap<MessageId, State>,
}

/// A message's file, or why there is none.
type State = Result<Box<dyn Writing>, io::Error>;

impl ContentWriter {
    /// A writer of these contents.
    #[must_use]
    pub fn new(contents: Arc<dyn Contents>) -> ContentWriter {
        ContentWriter { contents, open: HashMap::new() }
    }

    /// Carries out an order.
    pub fn carry_out<C>(&mut self, order: Order<C>) -> Option<Done<C>> {
        match order {
            Order::Write { message, octets, backlog, conn } => {
                self.write(message, &octets);
                let is_short = backlog.written(octets.len());
                conn.filter(|_| is_short).map(Done::Resume)
            }
            Order::Finish(accept) => Some(self.finish(*accept)),
            Order::Remove(message) => {
                // A file that could not be begun is not its own; one that failed is gone.
                if !matches!(self.open.remove(&message), Some(Err(_))) {
                    self.remove(message);
                }
                None
            }
        }
    }

    fn write(&mut self, message: MessageId, octets: &[u8]) {
        let state = self.open.entry(message).or_insert_with(|| self.contents.begin(message));
        if let Ok(writer) = state
            && let Err(error) = writer.write(octets)
        {
            // Its peer may take its time with the rest; the disk may need the space now.
            *state = Err(error);
            self.remove(message);
        }
    }

    fn finish<C>(&mut self, mut accept: Accept<Asker<C>>) -> Done<C> {
        let message = accept.message.id;
        let state = self.open.remove(&message).unwrap_or_else(|| self.contents.begin(message));
        let finished = state.and_then(|writer| {
            let finished = writer.finish();
            finished.inspect_err(|_| self.remove(message))
        });
        match finished {
            Ok(finished) => {
                accept.content.body = Body::File(finished);
                Done::Commit(accept)
            }
            Err(error) => {
                log::error!("warn: queue: content of {message}: {error}");
                Done::Refuse(accept.token, Refusal::of(&error))
            }
        }
    }

    fn remove(&self, message: MessageId) {
        if let Err(error) = self.contents.remove(message) {
            log::warn!("warn: queue: content of {message} cannot be removed: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use smtpd_queue::commit::{Commit, Options};
    use smtpd_queue::disk::Disk;
    use smtpd_queue::disk::fault::FaultDisk;

    use super::super::messages::Total;
    use super::*;

    #[test]
    fn the_file_of_another_message_with_the_same_id_is_left_alone() {
        let (disk, root) = (FaultDisk::new(Path::new("/spool")), Path::new("/spool"));
        let opened = Commit::open(Arc::new(disk.clone()), root, &Options::new(1)).unwrap();
        let id = opened.ids.take().unwrap();
        let path = root.join("content").join(id.to_string());
        let mut first = ContentWriter::new(Arc::new(opened.spool.clone()));
        let mut second = ContentWriter::new(Arc::new(opened.spool));
        let backlog = Backlog::new(Total::default());
        let piece = |octets: &[u8]| {
            backlog.add(octets.len());
            let (octets, backlog) = (octets.to_vec(), backlog.clone());
            Order::Write { message: id, octets, backlog, conn: Some(()) }
        };
        let _ = first.carry_out(piece(b"the first"));
        let _ = second.carry_out(piece(b"another"));
        assert!(second.carry_out(Order::<()>::Remove(id)).is_none());
        assert_eq!(disk.open(&path).unwrap().size().unwrap(), 9);
        assert!(first.carry_out(Order::<()>::Remove(id)).is_none());
        assert!(disk.open(&path).is_err());
    }
}
