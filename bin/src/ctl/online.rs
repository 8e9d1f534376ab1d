//! The queue of a running daemon, through its control socket.

use std::io::Write;

use smtpd_queue::id::{EnvelopeId, MessageId};
use smtpd_queue::verify::Verified;

use super::Failure;
use super::queue::Queue;
use crate::control::client::{Client, Error};
use crate::control::entry::QueueEntry;
use crate::control::message::{Request, Response};
use crate::transfer::document::Document;

/// See the module.
pub struct Online(pub Client);

impl Online {
    fn tell(&mut self, request: &Request) -> Result<(), Failure> {
        match self.ask(request)? {
            Response::Done => Ok(()),
            _ => Err(Error::Incompatible.into()),
        }
    }

    /// Asks; what the daemon could not do is the command's failure.
    pub fn ask(&mut self, request: &Request) -> Result<Response, Failure> {
        match self.0.ask(request)? {
            Response::Failed(text) => Err(Failure::Command(text)),
            response => Ok(response),
        }
    }
}

impl Queue for Online {
    fn page(
        &mut self,
        after: Option<EnvelopeId>,
        message: Option<MessageId>,
    ) -> Result<Vec<QueueEntry>, Failure> {
        let Response::Queue(entries) = self.ask(&Request::QueuePage { after, message })? else {
            return Err(Error::Incompatible.into());
        };
        // Pages go upwards, or this would never end.
        let last = entries.last().map(|entry| entry.id);
        if last.is_some() && last <= after {
            return Err(Error::Incompatible.into());
        }
        Ok(entries)
    }

    fn is_running(&self) -> bool {
        true
    }

    fn document(&mut self, id: MessageId) -> Result<Option<Document>, Failure> {
        let mut whole: Option<Document> = None;
        let mut after = None;
        loop {
            let response = self.ask(&Request::Message { id, after })?;
            let Response::Message { more, document } = response else {
                return Err(Error::Incompatible.into());
            };
            // None at all, or none any more: the rest was settled meanwhile.
            if document.is_empty() {
                return Ok(whole);
            }
            let mut piece =
                Document::parse(&document).map_err(|_| Failure::from(Error::Incompatible))?;
            let last = piece.envelopes.last().and_then(|part| part.id);
            match &mut whole {
                None => whole = Some(piece),
                Some(whole) => whole.envelopes.append(&mut piece.envelopes),
            }
            if !more {
                return Ok(whole);
            }
            if last.map(EnvelopeId::nth) <= after.map(EnvelopeId::nth) {
                return Err(Error::Incompatible.into());
            }
            after = last;
        }
    }

    fn verify(&mut self, after: u32) -> Result<(u32, Option<Verified>), Failure> {
        match self.ask(&Request::Verify(after))? {
            // Numbers go upwards, or this would never end.
            Response::Verified { last, found }
                if found.as_ref().is_none_or(|found| found.segment > after) =>
            {
                Ok((last, found))
            }
            _ => Err(Error::Incompatible.into()),
        }
    }

    fn in_files(&mut self, after: Option<MessageId>) -> Result<Vec<MessageId>, Failure> {
        match self.ask(&Request::InFiles(after))? {
            Response::InFiles(files) if files.last().is_none_or(|last| Some(*last) > after) => {
                Ok(files)
            }
            _ => Err(Error::Incompatible.into()),
        }
    }

    fn rebuild(&mut self) -> Result<(), Failure> {
        self.tell(&Request::Rebuild)
    }

    fn discover(&mut self, id: MessageId) -> Result<(), Failure> {
        self.tell(&Request::Discover(id))
    }

    fn ensure_undisturbed(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn content(&mut self, id: MessageId, out: &mut dyn Write) -> Result<(), Failure> {
        let mut offset = 0;
        loop {
            let response = self.ask(&Request::Content { id, offset })?;
            let Response::Content(octets) = response else {
                return Err(Error::Incompatible.into());
            };
            out.write_all(&octets)?;
            offset += octets.len() as u64;
            if octets.len() < crate::control::limits::CONTENT {
                return Ok(());
            }
        }
    }
}
