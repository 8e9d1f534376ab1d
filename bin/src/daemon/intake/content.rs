//! The content of a message on its way in: in memory while it is small, in a file when it is not.
//!
//! What the engine lends is copied once or twice and never searched line by line: the header
//! passes a rewriter, the body is appended. A message goes to a file when it is larger than a
//! journal record takes, or when all messages together use up the memory set aside for them; from
//! then on pieces go to the content writers, and the session is held back while they are behind.

use memchr::memmem;
use smtpd_engine::header::Rewriter;
use smtpd_queue::budget::Buffer;
use smtpd_queue::id::MessageId;
use smtpd_queue::spool::INLINE;

use super::Backstage;
use crate::daemon::messages::{Backlog, Total};

/// Octets of a piece: large enough that the hand-over costs nothing beside the write.
const PIECE: usize = 128 << 10;

/// Content that is arriving.
pub struct Content {
    id: MessageId,
    rewriter: Rewriter,
    store: Store,
    /// Whether some line begins with a dot.
    dot_lines: bool,
    /// Whether the next octet begins a line.
    line_start: bool,
    /// Where what a writer has not written is counted.
    behind: Total,
}

enum Store {
    Memory(Buffer),
    File { piece: Vec<u8>, backlog: Backlog },
}

/// Content that has arrived: in memory, or (`None`) in the hands of its writer.
pub struct Whole {
    /// What the journal record takes.
    pub memory: Option<Buffer>,
    /// Whether some line begins with a dot.
    pub dot_lines: bool,
    /// How often the message has been received before (RFC 5321 section 6.3).
    pub is_loop: bool,
}

impl Content {
    /// Begins with `trace`, the field that says how the message came here.
    pub fn new<B: Backstage>(
        id: MessageId,
        (buffer, behind): (Buffer, Total),
        rewriter: Rewriter,
        trace: &[u8],
        conn: B::Conn,
        backstage: &mut B,
    ) -> Content {
        let store = Store::Memory(buffer);
        let mut content =
            Content { id, rewriter, store, dot_lines: false, line_start: true, behind };
        content.store(trace, conn, backstage);
        content
    }

    /// Takes a run of mail data. `scratch` is empty, and is left so.
    pub fn push<B: Backstage>(
        &mut self,
        run: &[u8],
        scratch: &mut Vec<u8>,
        conn: B::Conn,
        backstage: &mut B,
    ) {
        self.rewriter.push(run, scratch);
        self.store(scratch, conn, backstage);
        scratch.clear();
    }

    /// The mail data is over.
    pub fn finish<B: Backstage>(
        mut self,
        scratch: &mut Vec<u8>,
        conn: B::Conn,
        backstage: &mut B,
    ) -> Whole {
        self.rewriter.finish(scratch);
        self.store(scratch, conn, backstage);
        scratch.clear();
        let memory = match self.store {
            Store::Memory(buffer) => Some(buffer),
            Store::File { piece, backlog } => {
                backstage.write(self.id, piece, &backlog, conn);
                None
            }
        };
        Whole { memory, dot_lines: self.dot_lines, is_loop: self.rewriter.is_loop() }
    }

    /// Whether a file of this content has been begun, which must be removed if nothing comes of
    /// the message.
    pub fn is_in_file(&self) -> bool {
        matches!(self.store, Store::File { .. })
    }

    /// Whether its writer is so far behind that the session must wait.
    pub fn is_held(&self) -> bool {
        matches!(&self.store, Store::File { backlog, .. } if backlog.is_full())
    }

    fn store<B: Backstage>(&mut self, octets: &[u8], conn: B::Conn, backstage: &mut B) {
        let Some(last) = octets.last() else { return };
        self.dot_lines = self.dot_lines
            || (self.line_start && octets.starts_with(b"."))
            || memmem::find(octets, b"\n.").is_some();
        self.line_start = *last == b'\n';
        if let Store::Memory(buffer) = &mut self.store {
            if buffer.len() + octets.len() <= INLINE && buffer.extend(octets) {
                return;
            }
            let mut piece = Vec::with_capacity(PIECE.max(buffer.len() + octets.len()));
            piece.extend_from_slice(buffer);
            self.store = Store::File { piece, backlog: Backlog::new(self.behind.clone()) };
        }
        if let Store::File { piece, backlog } = &mut self.store {
            piece.extend_from_slice(octets);
            if piece.len() >= PIECE {
                let full = std::mem::replace(piece, Vec::with_capacity(PIECE));
                backstage.write(self.id, full, backlog, conn);
            }
        }
    }
}
