//! Constant databases: the format of maps that makemap(8) writes (D. J. Bernstein's cdb).
//!
//! A file begins with 256 pairs of numbers, the place and the length of as many hash tables. Keys
//! and values follow, then the tables, whose slots are a key's hash and the place of its record.
//! All numbers are 32 bits, little endian.
//!
//! A file may be damaged, cut off while it is open, or no such file at all: every number out of it
//! is compared with the file before it is used, no search is longer than [`PROBES`] slots and a
//! walk only goes forward. What is wrong is [`Error::Damaged`], never a panic or an endless loop.

mod write;

use std::fmt;
use std::io;

pub use write::Writer;

use crate::surroundings::ReadAt;

/// Octets of the 256 pairs at the beginning.
const HEADER: u64 = 2_048;

/// Slots looked at for one key. Tables are at most half full and keys differ, so a search takes a
/// handful; a file that needs more was not made from different keys.
pub const PROBES: u32 = 65_536;

/// Octets of one key or value.
pub const ITEM: u32 = 1 << 20;

/// Why a map cannot be read.
#[derive(Debug)]
pub enum Error {
    /// The system's.
    Io(io::Error),
    /// It is no map, or not all of one; what shows it.
    Damaged(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(error) => error.fmt(f),
            Error::Damaged(what) => write!(f, "damaged map: {what}"),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        match error.kind() {
            // It was longer when it was opened.
            io::ErrorKind::UnexpectedEof => Error::Damaged("the file has become shorter"),
            _ => Error::Io(error),
        }
    }
}

/// An open map.
pub struct Reader<F> {
    file: F,
    size: u64,
    /// Place and number of slots of each hash table.
    tables: Box<[(u32, u32); 256]>,
    /// Where the records end.
    end: u64,
}

impl<F: ReadAt> Reader<F> {
    /// Reads the beginning of a map.
    ///
    /// # Errors
    /// When the file cannot be read or is no map.
    pub fn open(file: F) -> Result<Reader<F>, Error> {
        let size = file.size();
        if size < HEADER {
            return Err(Error::Damaged("the file is shorter than a map's header"));
        }
        if size > u64::from(u32::MAX) {
            return Err(Error::Damaged("the file is longer than 4 GiB"));
        }
        let mut header = [0; HEADER as usize];
        file.read_exact_at(&mut header, 0)?;
        let mut tables = Box::new([(0, 0); 256]);
        let mut end = size;
        for (table, octets) in tables.iter_mut().zip(header.chunks_exact(8)) {
            *table = pair(octets);
            let (place, slots) = (u64::from(table.0), u64::from(table.1));
            if slots == 0 {
                continue;
            }
            if place < HEADER || place + slots * 8 > size {
                return Err(Error::Damaged("a hash table is not within the file"));
            }
            end = end.min(place);
        }
        Ok(Reader { file, size, tables, end })
    }

    /// Octets of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The same map with all of its file in memory.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn into_memory(self) -> Result<Reader<Vec<u8>>, Error> {
        let mut octets = vec![0; self.size as usize];
        self.file.read_exact_at(&mut octets, 0)?;
        let Reader { size, tables, end, .. } = self;
        Ok(Reader { file: octets, size, tables, end })
    }

    /// The value of a key; the first one when the key is there twice.
    ///
    /// # Errors
    /// When the file cannot be read, or is damaged where the key would be.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let hash = hash(key);
        let (table, slots) = self.tables[(hash & 255) as usize];
        if slots == 0 {
            return Ok(None);
        }
        let first = (hash >> 8) % slots;
        for nth in 0..slots {
            if nth == PROBES {
                return Err(Error::Damaged("a search does not end"));
            }
            let slot = (u64::from(first) + u64::from(nth)) % u64::from(slots);
            let (found, record) = self.pair_at(u64::from(table) + slot * 8)?;
            if record == 0 {
                return Ok(None);
            }
            if found == hash
                && let Some(value) = self.value_of(u64::from(record), key)?
            {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// The value of the record there, if it is the key's.
    fn value_of(&self, record: u64, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let (key_length, length) = self.lengths(record)?;
        if key_length as usize != key.len() {
            return Ok(None);
        }
        if self.octets(record + 8, key_length)? != key {
            return Ok(None);
        }
        self.octets(record + 8 + u64::from(key_length), length).map(Some)
    }

    /// Goes through all records in the order of the file.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged, and those of `each`.
    pub fn walk<E: From<Error>>(
        &self,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut record = HEADER;
        while record < self.end {
            let (key_length, length) = self.lengths(record)?;
            let both = self.octets(record + 8, key_length + length)?;
            let (key, value) = both.split_at(key_length as usize);
            each(key, value)?;
            record += 8 + u64::from(key_length) + u64::from(length);
        }
        Ok(())
    }

    /// The lengths of a record's key and value, both of which lie among the records.
    fn lengths(&self, record: u64) -> Result<(u32, u32), Error> {
        if record < HEADER || record + 8 > self.end {
            return Err(Error::Damaged("a record is not where records are"));
        }
        let (key, value) = self.pair_at(record)?;
        if record + 8 + u64::from(key) + u64::from(value) > self.end {
            return Err(Error::Damaged("a record ends behind the records"));
        }
        if key > ITEM || value > ITEM {
            return Err(Error::Damaged("a record is too long"));
        }
        Ok((key, value))
    }

    fn pair_at(&self, place: u64) -> Result<(u32, u32), Error> {
        let mut octets = [0; 8];
        self.file.read_exact_at(&mut octets, place)?;
        Ok(pair(&octets))
    }

    fn octets(&self, place: u64, length: u32) -> Result<Vec<u8>, Error> {
        let mut octets = vec![0; length as usize];
        self.file.read_exact_at(&mut octets, place)?;
        Ok(octets)
    }
}

fn pair(octets: &[u8]) -> (u32, u32) {
    let number = |at: usize| {
        u32::from_le_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
    };
    (number(0), number(4))
}

fn hash(key: &[u8]) -> u32 {
    key.iter().fold(5_381, |hash: u32, octet| (hash << 5).wrapping_add(hash) ^ u32::from(*octet))
}

#[cfg(test)]
mod tests;
