//! What of a message is returned with a report (RFC 3461 section 4.3, RFC 6522).

use std::io::{self, Read};

use memchr::memmem;

use super::{Kind, RETURNED};
use crate::envelope::{Message, Ret};

/// What of a message is returned, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Original {
    /// The whole message.
    Whole(Vec<u8>),
    /// Its header, or as many lines of it as there is room for.
    Header(Vec<u8>),
    /// Nothing: it cannot be read any more.
    Nothing,
}

impl Original {
    /// Reads from the `content` of a message, which has so many `octets`, what a report returns:
    /// all of it when the sender asked for that, the report is of a failure and it is not too
    /// long; else the header.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn read(
        message: &Message,
        kind: Kind,
        content: &mut dyn Read,
        octets: u64,
    ) -> io::Result<Self> {
        let most = RETURNED as u64;
        let whole = message.ret == Some(Ret::Full) && kind == Kind::Failed && octets < most;
        let mut read = Vec::new();
        content.take(most).read_to_end(&mut read)?;
        if whole {
            return Ok(Self::Whole(read));
        }
        let end = match read.starts_with(b"\r\n") {
            true => Some(0),
            false => memmem::find(&read, b"\r\n\r\n").map(|at| at + 2),
        };
        // The end may not be in what was read: as many whole lines as there are. A message that
        // ends in its header need not end with a line.
        let end = end.or_else(|| match octets < most {
            true => Some(read.len()),
            false => memmem::rfind(&read, b"\r\n").map(|at| at + 2),
        });
        read.truncate(end.unwrap_or_default());
        Ok(Self::Header(read))
    }

    /// The octets that are returned, if any are.
    pub(super) fn octets(&self) -> Option<&[u8]> {
        match self {
            Self::Whole(octets) | Self::Header(octets) => Some(octets),
            Self::Nothing => None,
        }
    }
}
