//! A map in the place of the index on disk: it works for a while, and then never again, as sled
//! may. The store must go on without it.

use std::cell::Cell;
use std::io;

use smtpd_queue::ordered::{Changes, Memory, Ordered, Seal};

/// See the module.
pub struct Index {
    map: Memory,
    /// Calls that succeed.
    left: Cell<usize>,
}

impl Index {
    /// An empty one, of which so many calls succeed.
    pub fn new(calls: usize) -> Self {
        Self { map: Memory::new(), left: Cell::new(calls) }
    }

    fn called(&self) -> io::Result<()> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.unwrap_or_default());
        left.map(drop).ok_or_else(|| io::Error::other("the index is broken"))
    }
}

impl Ordered for Index {
    fn floor(&self, key: &[u8]) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        self.called()?;
        self.map.floor(key)
    }

    fn walk(
        &self,
        from: &[u8],
        to: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> io::Result<()> {
        self.called()?;
        self.map.walk(from, to, each)
    }

    fn apply(&mut self, changes: Changes) -> io::Result<()> {
        self.called()?;
        self.map.apply(changes)
    }

    fn close(self: Box<Self>, _seal: Seal) -> io::Result<()> {
        Ok(())
    }
}
