//! What smtpctl reads of the queue through the daemon: messages as JSON, and their contents piece
//! by piece.
//!
//! Between two pieces of one content its reader stays open, since checksums are made from the
//! beginning. How many are open is bounded: whoever asks out of order, or beside too many others,
//! waits for the part before to be read once more.

use std::io::{self, Read};
use std::sync::Arc;

use smtpd_queue::backend::Reads;
use smtpd_queue::id::{EnvelopeId, MessageId};
use smtpd_queue::reader::ContentReader;

use crate::control::limits;
use crate::transfer::document::Document;

/// Contents that are open at a time.
const OPEN: usize = 4;

/// Reads the queue for the control socket.
pub struct Reading {
    /// The queue.
    pub reader: Arc<dyn Reads>,
    /// The last one used is the last.
    open: Vec<Open>,
}

/// A content that is being read.
struct Open {
    message: MessageId,
    offset: u64,
    content: ContentReader,
}

impl Reading {
    /// Begins without anything open.
    pub fn new(reader: Arc<dyn Reads>) -> Reading {
        Reading { reader, open: Vec::new() }
    }

    /// See [`Operator::message`](crate::control::Operator::message).
    pub fn message(
        &self,
        id: MessageId,
        after: Option<EnvelopeId>,
    ) -> Result<(Vec<u8>, bool), String> {
        let found = self.reader.message(id).map_err(|error| format!("message {id}: {error}"))?;
        let Some(found) = found else { return Ok((Vec::new(), false)) };
        let mut document = Document::of(&found);
        if let Some(after) = after {
            let place = |id: EnvelopeId| id.nth();
            document.envelopes.retain(|part| part.id.map(place) > Some(place(after)));
        }
        if document.envelopes.is_empty() {
            return Ok((Vec::new(), false));
        }
        Ok(document.to_json_within(limits::RESPONSE - 1))
    }

    /// See [`Operator::content`](crate::control::Operator::content).
    pub fn content(&mut self, id: MessageId, offset: u64) -> Result<Vec<u8>, String> {
        self.piece(id, offset).map_err(|error| format!("message {id}: {error}"))
    }

    fn piece(&mut self, id: MessageId, offset: u64) -> io::Result<Vec<u8>> {
        let known = self.open.iter().position(|open| (open.message, open.offset) == (id, offset));
        let mut open = match known {
            Some(known) => self.open.remove(known),
            None => self.begin(id, offset)?,
        };
        let mut octets = Vec::new();
        open.content.by_ref().take(limits::CONTENT as u64).read_to_end(&mut octets)?;
        if octets.len() == limits::CONTENT {
            open.offset += octets.len() as u64;
            if self.open.len() == OPEN {
                self.open.remove(0);
            }
            self.open.push(open);
        }
        Ok(octets)
    }

    fn begin(&self, id: MessageId, offset: u64) -> io::Result<Open> {
        let found = self.reader.message(id)?.ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "is not in the queue any more")
        })?;
        let mut content = self.reader.open(&found.content)?;
        io::copy(&mut content.by_ref().take(offset), &mut io::sink())?;
        Ok(Open { message: id, offset, content })
    }
}
