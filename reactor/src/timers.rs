//! When each connection is to be looked at, unless something happens to it before.
//!
//! A binary heap with the place of each connection's entry written down, so that there is one
//! entry a connection, and moving or removing it costs O(log n). A deadline that moves *later*
//! (the ordinary case: each command gives the peer its time again) is not written here at all:
//! the entry stays, fires early once, and the connection is asked anew. An idle session so costs
//! a few comparisons every five minutes, a busy one a comparison a turn.

use smtpd_engine::time::Time;

/// Where in the heap a connection's entry is: nowhere.
const ABSENT: u32 = u32::MAX;

/// At most one entry for each slot of the slab.
#[derive(Default)]
pub(crate) struct Timers {
    heap: Vec<(Time, u32)>,
    /// Indexed by slot.
    places: Vec<u32>,
}

impl Timers {
    /// Sees to it that `index` is due at `at` or before. An earlier entry stays.
    pub(crate) fn arm(&mut self, index: usize, at: Time) {
        if at == Time::NEVER {
            return;
        }
        if index >= self.places.len() {
            self.places.resize(index + 1, ABSENT);
        }
        match self.places[index] {
            ABSENT => {
                self.heap.push((at, index as u32));
                self.rise(self.heap.len() - 1);
            }
            place if at < self.heap[place as usize].0 => {
                self.heap[place as usize].0 = at;
                self.rise(place as usize);
            }
            _ => {}
        }
    }

    /// Forgets `index`, whose slot is about to be used for another.
    pub(crate) fn disarm(&mut self, index: usize) {
        if let Some(&place) = self.places.get(index)
            && place != ABSENT
        {
            self.remove(place as usize);
        }
    }

    /// The earliest entry, which may turn out to be too early.
    pub(crate) fn next(&self) -> Option<Time> {
        self.heap.first().map(|&(at, _)| at)
    }

    /// Takes out one slot whose time has come.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<usize> {
        let &(at, index) = self.heap.first()?;
        if at > now {
            return None;
        }
        self.remove(0);
        Some(index as usize)
    }

    fn remove(&mut self, place: usize) {
        let (_, index) = self.heap.swap_remove(place);
        self.places[index as usize] = ABSENT;
        if place < self.heap.len() {
            // What came from the end may belong on either side of where it now is.
            self.rise(place);
            self.sink(place);
        }
    }

    fn rise(&mut self, mut place: usize) {
        while place > 0 {
            let above = (place - 1) / 2;
            if self.heap[above].0 <= self.heap[place].0 {
                break;
            }
            self.heap.swap(above, place);
            self.note(place);
            place = above;
        }
        self.note(place);
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let left = 2 * place + 1;
            let Some(&(mut least, _)) = self.heap.get(left) else {
                break;
            };
            let mut below = left;
            if let Some(&(right, _)) = self.heap.get(left + 1)
                && right < least
            {
                (least, below) = (right, left + 1);
            }
            if self.heap[place].0 <= least {
                break;
            }
            self.heap.swap(place, below);
            self.note(place);
            place = below;
        }
        self.note(place);
    }

    fn note(&mut self, place: usize) {
        let index = self.heap[place].1;
        self.places[index as usize] = place as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Time {
        Time::from_micros(micros)
    }

    #[test]
    fn a_later_deadline_leaves_the_entry_an_earlier_one_moves_it() {
        let mut timers = Timers::default();
        timers.arm(3, at(50));
        timers.arm(3, at(80));
        assert_eq!(timers.next(), Some(at(50)));
        timers.arm(3, at(20));
        assert_eq!(timers.next(), Some(at(20)));
        assert_eq!(timers.pop_due(at(19)), None);
        assert_eq!(timers.pop_due(at(20)), Some(3));
        assert_eq!(timers.next(), None);
    }

    /// Against a plain list, over a long run of seeded changes.
    #[test]
    fn behaves_like_a_list_that_is_searched() {
        let mut timers = Timers::default();
        let mut plain: Vec<Option<Time>> = vec![None; 64];
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        for _ in 0..100_000 {
            let index = random(64) as usize;
            match random(4) {
                0 => {
                    timers.disarm(index);
                    plain[index] = None;
                }
                1 => {
                    let now = at(random(1000));
                    let due = timers.pop_due(now);
                    let least = plain.iter().flatten().min().copied();
                    match due {
                        Some(index) => {
                            assert_eq!(plain[index], least);
                            assert!(least.is_some_and(|least| least <= now));
                            plain[index] = None;
                        }
                        None => assert!(least.is_none_or(|least| least > now)),
                    }
                }
                _ => {
                    let when = at(random(1000));
                    timers.arm(index, when);
                    let old = plain[index].unwrap_or(when);
                    plain[index] = Some(old.min(when));
                }
            }
            assert_eq!(timers.next(), plain.iter().flatten().min().copied());
        }
    }
}
