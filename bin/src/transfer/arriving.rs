//! The content of a message that is imported: its lines are completed, and it is measured, so that
//! one that was cut is found and one that was imported before is known again.

use super::document::Document;
use super::imported::Imported;
use super::lines::Lines;

/// Octets of a content at the most: more than any server takes.
pub const LONGEST: u64 = 1 << 30;

/// See the module. Where the octets go is left to whoever has one.
#[derive(Default)]
pub struct Arriving {
    lines: Lines,
    /// Octets taken.
    read: u64,
    /// Octets given.
    octets: u64,
    checksum: u32,
}

impl Arriving {
    /// Appends to `out` what a piece of content becomes in the queue.
    ///
    /// # Errors
    /// When it is more than a queue takes.
    pub fn take(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let start = out.len();
        self.read += piece.len() as u64;
        if self.read > LONGEST {
            return Err("content: is too large".to_owned());
        }
        self.lines.take(piece, out);
        self.measure(&out[start..]);
        Ok(())
    }

    /// The content is over; appends what completes its last line.
    ///
    /// # Errors
    /// When the document says that it is longer or shorter.
    pub fn end(&mut self, document: &Document, out: &mut Vec<u8>) -> Result<(), String> {
        let start = out.len();
        self.lines.end(out);
        self.measure(&out[start..]);
        match document.octets {
            Some(expected) if expected != self.read => {
                Err(format!("content: has {} octets, not as many as \"octets\" says", self.read))
            }
            _ => Ok(()),
        }
    }

    fn measure(&mut self, octets: &[u8]) {
        self.octets += octets.len() as u64;
        self.checksum = crc32c::crc32c_append(self.checksum, octets);
    }

    /// Whether some line begins with a dot.
    #[must_use]
    pub fn dot_lines(&self) -> bool {
        self.lines.dot_lines
    }

    /// How a message of that name with this content is remembered.
    #[must_use]
    pub fn line(&self, name: &str) -> String {
        Imported::line(name, self.checksum, self.octets)
    }
}
