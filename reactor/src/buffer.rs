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

    /// Takes `n` octets off the front. They are moved only when little is left, so a thousand
    /// commands that each wait for an answer cost no more than their octets, and half a command
    /// behind a full buffer does not keep the buffer.
    pub(crate) fn consume(&mut self, n: usize) {
        self.taken += n;
        if self.len() <= self.octets.capacity() / 8 {
            self.octets = self.as_slice().to_vec();
            self.taken = 0;
        }
    }

    /// Keeps these octets in place of the old ones.
    pub(crate) fn replace(&mut self, octets: &[u8]) {
        if octets.is_empty() && self.is_empty() {
            return;
        }
        *self = Rest { octets: octets.to_vec(), taken: 0 };
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

    #[test]
    fn a_few_octets_do_not_keep_a_full_buffer() {
        let mut rest = Rest::default();
        rest.replace(&[b'x'; 65_536]);
        for _ in 0..65_530 {
            rest.consume(1);
        }
        assert_eq!(rest.as_slice(), b"xxxxxx");
        assert!(rest.octets.capacity() < 64, "{}", rest.octets.capacity());
        rest.replace(&[b'x'; 65_536]);
        rest.replace(b"NO");
        assert!(rest.octets.capacity() < 64, "{}", rest.octets.capacity());
    }
}
