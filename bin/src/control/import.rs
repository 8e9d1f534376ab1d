//! Messages on their way into the queue over the control socket: one after the other, each in
//! pieces that fit into a frame.
//!
//! ```text
//! smtpctl                                   smtpd
//! Facts(first), Facts, ...        -->       More
//! Content, Content, ...           -->       More, or Known: the rest need not come
//! End(name)                       -->       Taken, Known, or Later: ask End again
//! ```
//!
//! The daemon keeps what has come of one message for each connection until its end, until the
//! first facts of the next, or until the connection is closed.

use smtpd_queue::id::MessageId;

use super::limits;
use super::wire::{Malformed, Reader, put_text};

/// A piece of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Of its document, as [`Document`](crate::transfer::document::Document) reads it.
    Facts {
        /// Here a message begins. One that had begun before is given up.
        first: bool,
        /// At most [`limits::PIECE`].
        octets: Vec<u8>,
    },
    /// Of its content; at most [`limits::PIECE`] octets.
    Content(Vec<u8>),
    /// It is whole.
    End {
        /// What it is called where it comes from, so that it does not come twice.
        name: String,
    },
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The next piece is waited for.
    More,
    /// The disk has not answered yet: the same is to be asked again.
    Later,
    /// It is in the queue, or has been imported before.
    Known,
    /// It is in the queue under this id, on disk.
    Taken(MessageId),
}

impl Piece {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Piece::Facts { first, octets } => {
                out.push(u8::from(!first));
                out.extend_from_slice(octets);
            }
            Piece::Content(octets) => {
                out.push(2);
                out.extend_from_slice(octets);
            }
            Piece::End { name } => {
                out.push(3);
                put_text(out, name, limits::NAME);
            }
        }
    }

    pub(super) fn decode(from: &mut Reader<'_>) -> Result<Piece, Malformed> {
        Ok(match from.u8()? {
            tag @ (0 | 1) => Piece::Facts { first: tag == 0, octets: from.rest().to_owned() },
            2 => Piece::Content(from.rest().to_owned()),
            3 => Piece::End { name: from.text(limits::NAME)?.to_owned() },
            _ => return Err(Malformed),
        })
    }
}

impl Progress {
    pub(super) fn encode(self, out: &mut Vec<u8>) {
        match self {
            Progress::More => out.push(0),
            Progress::Later => out.push(1),
            Progress::Known => out.push(2),
            Progress::Taken(id) => {
                out.push(3);
                out.extend_from_slice(&id.as_u32().to_be_bytes());
            }
        }
    }

    pub(super) fn decode(from: &mut Reader<'_>) -> Result<Progress, Malformed> {
        Ok(match from.u8()? {
            0 => Progress::More,
            1 => Progress::Later,
            2 => Progress::Known,
            3 => Progress::Taken(MessageId::from_u32(from.u32()?).ok_or(Malformed)?),
            _ => return Err(Malformed),
        })
    }
}
