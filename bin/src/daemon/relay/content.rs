//! The content of a message on its way to the reactor: lent from memory, or read in pieces by
//! threads that may wait for the disk.
//!
//! Of a message that is read there are two pieces in memory, the one that is being sent and the
//! next, however slowly the peer takes them.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smtpd_queue::backend::Reads;
use smtpd_queue::budget::Buffer;
use smtpd_queue::reader::ContentReader;
use smtpd_queue::request::Stored;

/// Octets in one piece.
const PIECE: usize = 64 << 10;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'c> {
    /// These octets.
    Octets(&'c [u8]),
    /// They are being read.
    Later,
    /// Nothing: this was all.
    End,
    /// They cannot be read.
    Broken,
}

/// The content of one message for one session.
#[derive(Debug)]
pub enum Source {
    /// It is in memory.
    Memory(Arc<Buffer>),
    /// It is read.
    Read {
        /// Where the pieces come from.
        feed: Feed,
        /// The piece at hand, and where it begins in the content.
        piece: Vec<u8>,
        /// Octets before it.
        start: u64,
    },
}

impl Source {
    /// The content of `stored`; also whether a piece has to be read now, by [`Feed::fill`].
    #[must_use]
    pub fn new(stored: &Stored) -> (Source, Option<Feed>) {
        match &stored.memory {
            Some(memory) => (Source::Memory(Arc::clone(memory)), None),
            None => {
                let feed = Feed::new(stored.clone());
                let first = feed.clone();
                (Source::Read { feed, piece: Vec::new(), start: 0 }, Some(first))
            }
        }
    }

    /// The run that begins at the octet `from`; also whether the next piece is to be read now.
    pub fn next(&mut self, from: u64) -> (Next<'_>, Option<Feed>) {
        match self {
            Source::Memory(memory) => {
                let from = usize::try_from(from).unwrap_or(usize::MAX);
                match memory.get(from..) {
                    Some(rest) if !rest.is_empty() => (Next::Octets(rest), None),
                    _ => (Next::End, None),
                }
            }
            Source::Read { feed, piece, start } => {
                let mut wanted = None;
                if from >= *start + piece.len() as u64 {
                    *start += piece.len() as u64;
                    match feed.take() {
                        Taken::Piece(next) => {
                            *piece = next;
                            wanted = Some(feed.clone());
                        }
                        Taken::Later => {
                            piece.clear();
                            return (Next::Later, None);
                        }
                        Taken::End => {
                            piece.clear();
                            return (Next::End, None);
                        }
                        Taken::Broken => return (Next::Broken, None),
                    }
                }
                let skip = usize::try_from(from.saturating_sub(*start)).unwrap_or(usize::MAX);
                match piece.get(skip..) {
                    Some(rest) if !rest.is_empty() => (Next::Octets(rest), wanted),
                    _ => (Next::End, wanted),
                }
            }
        }
    }
}

/// Pieces of one content: a session takes them, threads fill it.
#[derive(Clone, Debug)]
pub struct Feed(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    stored: Stored,
    /// Away while somebody reads.
    reader: Option<Opened>,
    piece: Option<Vec<u8>>,
    is_over: bool,
    is_broken: bool,
}

/// Content that was opened. It does not show itself.
struct Opened(ContentReader);

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("content")
    }
}

enum Taken {
    Piece(Vec<u8>),
    Later,
    End,
    Broken,
}

impl Feed {
    fn new(stored: Stored) -> Feed {
        let state = State { stored, reader: None, piece: None, is_over: false, is_broken: false };
        Feed(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change under the lock is whole; it is held over no reading.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Taken {
        let mut state = self.state();
        match state.piece.take() {
            Some(piece) => Taken::Piece(piece),
            None if state.is_broken => Taken::Broken,
            None if state.is_over => Taken::End,
            None => Taken::Later,
        }
    }

    /// Reads the next piece, unless all is read.
    pub fn fill(&self, reads: &dyn Reads) {
        let (reader, stored) = {
            let mut state = self.state();
            if state.is_over || state.is_broken || state.piece.is_some() {
                return;
            }
            (state.reader.take(), state.stored.clone())
        };
        let read = || -> io::Result<(ContentReader, Vec<u8>)> {
            let mut reader = match reader {
                Some(Opened(reader)) => reader,
                None => reads.open(&stored)?,
            };
            let mut piece = Vec::with_capacity(PIECE);
            reader.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
            Ok((reader, piece))
        };
        let read = read();
        let mut state = self.state();
        match read {
            Ok((_, piece)) if piece.is_empty() => state.is_over = true,
            Ok((reader, piece)) => {
                state.reader = Some(Opened(reader));
                state.piece = Some(piece);
            }
            Err(error) => {
                log::warn!("warn: queue: {}: content: {error}", stored.message);
                state.is_broken = true;
            }
        }
    }
}
