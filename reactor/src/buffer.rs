//! Octets that a connection cannot do without between two turns.
//!
//! All reading goes to one buffer of the reactor and all replies are written from another, so an
//! idle session owns no buffer. What the engine leaves of the input (half a command, or
//! commands behind an open question) and what the peer does not take of the output is moved to
//! a [`Rest`], and its memory is given back as soon as it is empty.

/// Octets with a front that moves.
#[derive(Default)]
pub(crate) struct Rest {
    octets: Vec<u8>,
    taken: usize,
}

impl Rest {
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.octets[self.taken..]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.octets.len() - self.taken
    }

    /// Takes `n` octets off the front. Nothing is moved, so a thousand commands that each wait
    /// for an answer cost no more than their octets.
    pub(crate) fn consume(&mut self, n: usize) {
        self.taken += n;
        if self.taken >= self.octets.len() {
            *self = Rest::default();
        }
    }

    /// Keeps these octets in place of the old ones.
    pub(crate) fn replace(&mut self, octets: &[u8]) {
        if octets.is_empty() {
            *self = Rest::default();
        } else {
            self.taken = 0;
            self.octets.clear();
            self.octets.extend_from_slice(octets);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_goes_when_the_octets_go() {
        let mut rest = Rest::default();
        rest.replace(b"NOOP\r\nNO");
        rest.consume(6);
        assert_eq!(rest.as_slice(), b"NO");
        assert_eq!(rest.len(), 2);
        rest.consume(2);
        assert!(rest.is_empty());
        assert_eq!(rest.octets.capacity(), 0);
        rest.replace(b"QUIT");
        rest.replace(b"");
        assert_eq!(rest.octets.capacity(), 0);
    }
}
