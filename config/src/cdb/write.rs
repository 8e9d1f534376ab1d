//! Writing a map: records as they come, the hash tables at the end, the header last.

use std::io::{self, Seek, SeekFrom, Write};

use super::{HEADER, ITEM, hash};

/// Writes a map into a file that is empty.
pub struct Writer<F> {
    file: F,
    /// Hash and place of each record, by the table it belongs to.
    slots: Vec<Vec<(u32, u32)>>,
    /// Where the next record goes.
    place: u64,
}

impl<F: Write + Seek> Writer<F> {
    /// Begins a map. Many small writes follow: the file should be buffered.
    ///
    /// # Errors
    /// The system's.
    pub fn new(mut file: F) -> io::Result<Writer<F>> {
        file.write_all(&[0; HEADER as usize])?;
        Ok(Writer { file, slots: vec![Vec::new(); 256], place: HEADER })
    }

    /// Adds a record. A key that comes twice is found with its first value.
    ///
    /// # Errors
    /// The system's; a key or value too long, or a map of more than 4 GiB.
    pub fn add(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let length = |octets: &[u8]| match u32::try_from(octets.len()) {
            Ok(length) if length <= ITEM => Ok(length),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "key or value too long")),
        };
        let (key_length, value_length) = (length(key)?, length(value)?);
        let hash = hash(key);
        let place = self.here()?;
        self.slots[(hash & 255) as usize].push((hash, place));
        self.file.write_all(&key_length.to_le_bytes())?;
        self.file.write_all(&value_length.to_le_bytes())?;
        self.file.write_all(key)?;
        self.file.write_all(value)?;
        self.place += 8 + u64::from(key_length) + u64::from(value_length);
        Ok(())
    }

    /// Writes the tables and the header, and gives the file back: it is not synced.
    ///
    /// # Errors
    /// The system's, or a map of more than 4 GiB.
    pub fn finish(mut self) -> io::Result<F> {
        let mut header = Vec::with_capacity(HEADER as usize);
        for records in std::mem::take(&mut self.slots) {
            // Half of the slots stay free, so that a search ends soon.
            let count = records.len() * 2;
            header.extend(self.here()?.to_le_bytes());
            header.extend(u32::try_from(count).map_err(|_| too_large())?.to_le_bytes());
            let mut table = vec![(0, 0); count];
            for (hash, place) in records {
                let mut slot = (hash >> 8) as usize % count;
                while table[slot] != (0, 0) {
                    slot = (slot + 1) % count;
                }
                table[slot] = (hash, place);
            }
            for (hash, place) in table {
                self.file.write_all(&hash.to_le_bytes())?;
                self.file.write_all(&place.to_le_bytes())?;
            }
            self.place += count as u64 * 8;
        }
        self.here()?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&header)?;
        Ok(self.file)
    }

    fn here(&self) -> io::Result<u32> {
        u32::try_from(self.place).map_err(|_| too_large())
    }
}

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "a map cannot be larger than 4 GiB")
}
