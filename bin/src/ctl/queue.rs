//! A queue that smtpctl looks into: through the daemon that has it, or its files when no daemon
//! does.

use std::io::Write;

use smtpd_queue::id::{EnvelopeId, MessageId};
use smtpd_queue::verify::Verified;

use super::Failure;
use crate::control::entry::QueueEntry;
use crate::transfer::document::Document;

/// See the module.
pub trait Queue: Send {
    /// The next envelopes in the order of their ids, of all messages or of one, behind `after`;
    /// none at the end.
    fn page(
        &mut self,
        after: Option<EnvelopeId>,
        message: Option<MessageId>,
    ) -> Result<Vec<QueueEntry>, Failure>;

    /// Whether a daemon schedules what is shown.
    fn is_running(&self) -> bool;

    /// What is known of a message; `None` when it is not in the queue.
    fn document(&mut self, id: MessageId) -> Result<Option<Document>, Failure>;

    /// Checks the oldest segment of the journal behind that number: the number of the newest, and
    /// what was found, or `None` when there is none left.
    fn verify(&mut self, after: u32) -> Result<(u32, Option<Verified>), Failure>;

    /// Some of the messages whose content is in a file of its own, in the order of their ids,
    /// behind `after`; none at the end.
    fn in_files(&mut self, after: Option<MessageId>) -> Result<Vec<MessageId>, Failure>;

    /// Makes the index anew, or has the next start do it.
    fn rebuild(&mut self) -> Result<(), Failure>;

    /// Has what is left of a message scheduled by the daemon; the next start finds all there is.
    fn discover(&mut self, id: MessageId) -> Result<(), Failure>;

    /// Fails when the files were somebody else's meanwhile, so that what was read means nothing.
    fn ensure_undisturbed(&self) -> Result<(), Failure>;

    /// Writes the content of a message, CR LF at the end of its lines.
    fn content(&mut self, id: MessageId, out: &mut dyn Write) -> Result<(), Failure>;
}
