//! An ordered map of octets: all that the [waiting room](crate::waiting) asks of what holds its
//! [blocks](crate::blocks).
//!
//! On disk it is sled (`index.rs`); in memory it is the `BTreeMap` here, for tests and for a
//! queue whose index cannot be used.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;

/// Keys and what they map to now; `None` takes the key out.
pub type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// What a map is closed with: it may be trusted by whoever opens it with the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The sequence number in the journal that it reflects.
    pub sequence: u64,
    /// The [mark](crate::destination::Destinations::mark) of the lanes in it.
    pub lanes: u64,
}

impl Seal {
    /// The last number is that of the format of keys and values.
    pub fn encode(self) -> Vec<u8> {
        [self.sequence.to_be_bytes(), self.lanes.to_be_bytes(), 2_u64.to_be_bytes()].concat()
    }
}

/// An ordered map. Errors are those of the disk below it.
pub trait Ordered {
    /// The last entry whose key is not behind `key`.
    fn floor(&self, key: &[u8]) -> io::Result<Option<(Vec<u8>, Vec<u8>)>>;

    /// Shows the entries from key `from` to before key `to`, in order, until `each` says false.
    fn walk(
        &self,
        from: &[u8],
        to: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> io::Result<()>;

    /// Makes all the changes, in their order.
    fn apply(&mut self, changes: Changes) -> io::Result<()>;

    /// Puts the map away, complete and in order.
    fn close(self: Box<Self>, seal: Seal) -> io::Result<()>;
}

/// Some ordered map.
pub type Map = Box<dyn Ordered + Send>;

impl Ordered for Map {
    fn floor(&self, key: &[u8]) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        (**self).floor(key)
    }

    fn walk(
        &self,
        from: &[u8],
        to: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> io::Result<()> {
        (**self).walk(from, to, each)
    }

    fn apply(&mut self, changes: Changes) -> io::Result<()> {
        (**self).apply(changes)
    }

    fn close(self: Box<Self>, seal: Seal) -> io::Result<()> {
        (*self).close(seal)
    }
}

/// An ordered map in memory.
pub type Memory = BTreeMap<Vec<u8>, Vec<u8>>;

impl Ordered for Memory {
    fn floor(&self, key: &[u8]) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        let range = (Bound::Unbounded, Bound::Included(key));
        let last = self.range::<[u8], _>(range).next_back();
        Ok(last.map(|(key, value)| (key.clone(), value.clone())))
    }

    fn walk(
        &self,
        from: &[u8],
        to: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> io::Result<()> {
        // BTreeMap panics where the range is the wrong way round.
        if from < to {
            let range = (Bound::Included(from), Bound::Excluded(to));
            let mut entries = self.range::<[u8], _>(range);
            while entries.next().is_some_and(|(key, value)| each(key, value)) {}
        }
        Ok(())
    }

    fn apply(&mut self, changes: Changes) -> io::Result<()> {
        for (key, value) in changes {
            match value {
                Some(value) => self.insert(key, value),
                None => self.remove(&key),
            };
        }
        Ok(())
    }
    /// It ends with the process, so the next one fills its own.
    fn close(self: Box<Self>, _: Seal) -> io::Result<()> {
        Ok(())
    }
}
