//! One budget for all mail content in memory.
//!
//! Content is gathered in a [`Buffer`]; what the buffers hold together never passes the
//! budget. One that may not grow tells its owner to go on in a content file. The octets are
//! given back when the last holder lets go of the buffer, which may be the first delivery.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many octets may be in memory, and how many are.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Octets>);

#[derive(Debug)]
struct Octets {
    limit: usize,
    used: AtomicUsize,
}

impl Budget {
    /// A budget of `limit` octets.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Octets { limit, used: AtomicUsize::new(0) }))
    }

    /// Octets in use, those that buffers have reserved ahead included.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// An empty buffer.
    pub fn buffer(&self) -> Buffer {
        Buffer { octets: Vec::new(), budget: self.clone() }
    }

    /// Relaxed order is enough: the number guards no other memory.
    fn reserve(&self, octets: usize) -> bool {
        let within = |used: usize| {
            let sum = used.checked_add(octets)?;
            (sum <= self.0.limit).then_some(sum)
        };
        let used = &self.0.used;
        used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
    }

    fn give_back(&self, octets: usize) {
        self.0.used.fetch_sub(octets, Ordering::Relaxed);
    }
}

/// The content of one message, counted in a [`Budget`] by what it has allocated.
#[derive(Debug)]
pub struct Buffer {
    octets: Vec<u8>,
    budget: Budget,
}

impl Buffer {
    /// Adds `octets`, or leaves the buffer as it is and says false: over the budget.
    #[must_use]
    pub fn extend(&mut self, octets: &[u8]) -> bool {
        let held = self.octets.capacity();
        let wanted = self.octets.len() + octets.len();
        if wanted > held {
            // Doubling keeps the copying linear; near the limit exactly what is needed.
            let more = [wanted.max(2 * held), wanted].map(|capacity| capacity - held);
            let Some(more) = more.into_iter().find(|more| self.budget.reserve(*more)) else {
                return false;
            };
            self.octets.reserve_exact(held + more - self.octets.len());
            // The allocator may round up; what it really gave is what is given back.
            let rounded = self.octets.capacity() - held - more;
            self.budget.0.used.fetch_add(rounded, Ordering::Relaxed);
        }
        self.octets.extend_from_slice(octets);
        true
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.octets
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.budget.give_back(self.octets.capacity());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_stops_at_the_budget_and_gives_it_back() {
        let budget = Budget::new(1000);
        let mut one = budget.buffer();
        assert!(one.extend(&[1; 600]));
        let mut two = budget.buffer();
        assert!(!two.extend(&[2; 500]), "600 and 500 are over 1000");
        assert!(two.is_empty());
        assert!(two.extend(&[2; 400]));
        assert!(!one.extend(&[1]));
        assert_eq!((one.len(), two.len(), budget.used()), (600, 400, 1000));
        let shared = Arc::new(two);
        drop(one);
        assert_eq!(budget.used(), 400);
        drop(shared);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn small_pieces_do_not_cost_an_allocation_each() {
        let budget = Budget::new(1 << 20);
        let mut buffer = budget.buffer();
        let mut allocations = 0;
        for _ in 0..10_000 {
            let before = buffer.octets.capacity();
            assert!(buffer.extend(b"a line of some mail\r\n"));
            allocations += usize::from(buffer.octets.capacity() != before);
        }
        assert!(allocations < 20, "{allocations}");
        assert_eq!(budget.used(), buffer.octets.capacity());
    }
}
