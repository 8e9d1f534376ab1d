//! The primitives of what the journal holds: octets of a known length, numbers of seven bits
//! an octet.
//!
//! Reading never panics and never allocates more than what it was shown; whatever is wrong is
//! [`Malformed`]. A checksum has been verified before, so malformed means written by another
//! program, or a mistake of ours.

use std::fmt;
use std::io;

/// Not what we would have written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed record")
    }
}

impl std::error::Error for Malformed {}

impl From<Malformed> for io::Error {
    fn from(malformed: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, malformed)
    }
}

/// Adds a number, least significant seven bits first.
pub(crate) fn put_number(into: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

/// Adds a text behind its length.
pub(crate) fn put_text(into: &mut Vec<u8>, text: &str) {
    put_number(into, text.len() as u64);
    into.extend_from_slice(text.as_bytes());
}

/// Adds a text that may be missing: its length and one more, or zero.
pub(crate) fn put_optional(into: &mut Vec<u8>, text: Option<&str>) {
    match text {
        None => into.push(0),
        Some(text) => {
            put_number(into, text.len() as u64 + 1);
            into.extend_from_slice(text.as_bytes());
        }
    }
}

/// Reads from the front of some octets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Take<'a>(pub(crate) &'a [u8]);

impl<'a> Take<'a> {
    /// The next `N` octets.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*array)
    }

    /// The next octet.
    pub(crate) fn octet(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[octet]| octet)
    }

    /// The next four octets, least significant first.
    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next eight octets, least significant first.
    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// What [`put_number`] wrote.
    pub(crate) fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let octet = self.octet()?;
            let bits = u64::from(octet & 0x7f);
            if bits << shift >> shift != bits {
                return Err(Malformed);
            }
            number |= bits << shift;
            if octet < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    /// A number that fits a smaller type.
    pub(crate) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Malformed> {
        T::try_from(self.number()?).map_err(|_| Malformed)
    }

    /// What [`put_text`] wrote.
    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        let length = self.small()?;
        self.utf8(length)
    }

    /// What [`put_optional`] wrote.
    pub(crate) fn optional(&mut self) -> Result<Option<&'a str>, Malformed> {
        match self.small::<usize>()? {
            0 => Ok(None),
            more => self.utf8(more - 1).map(Some),
        }
    }

    fn utf8(&mut self, length: usize) -> Result<&'a str, Malformed> {
        let (text, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| Malformed)
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A generator of noise (xorshift64*), the same for the same seed on any machine.
    pub(crate) struct Noise(u64);

    impl Noise {
        pub(crate) fn new(seed: u64) -> Self {
            Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
        }

        pub(crate) fn next(&mut self) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
        }

        pub(crate) fn below(&mut self, bound: usize) -> usize {
            (self.next() >> 33) as usize % bound
        }

        pub(crate) fn octets(&mut self, length: usize) -> Vec<u8> {
            (0..length).map(|_| (self.next() >> 56) as u8).collect()
        }

        /// Changes a few octets, or cuts some off.
        pub(crate) fn damage(&mut self, octets: &mut Vec<u8>) {
            for _ in 0..=self.below(3) {
                if octets.is_empty() {
                    return;
                }
                let at = self.below(octets.len());
                match self.below(4) {
                    0 => octets.truncate(at),
                    1 => octets[at] = 0xff,
                    2 => octets[at] ^= 1 << self.below(8),
                    _ => octets[at] = (self.next() >> 56) as u8,
                }
            }
        }
    }

    #[test]
    fn numbers_and_texts_come_back() {
        let mut octets = Vec::new();
        let numbers = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX];
        for number in numbers {
            put_number(&mut octets, number);
        }
        put_text(&mut octets, "käse");
        put_optional(&mut octets, None);
        put_optional(&mut octets, Some(""));
        let mut take = Take(&octets);
        for number in numbers {
            assert_eq!(take.number(), Ok(number));
        }
        assert_eq!(take.text(), Ok("käse"));
        assert_eq!(take.optional(), Ok(None));
        assert_eq!(take.optional(), Ok(Some("")));
        assert_eq!(take.end(), Ok(()));
    }

    #[test]
    fn what_nobody_writes_is_refused() {
        let too_big = [0xff; 10];
        assert_eq!(Take(&too_big).number(), Err(Malformed));
        assert_eq!(Take(&[0x80; 12]).number(), Err(Malformed));
        assert_eq!(Take(&[5, b'a']).text(), Err(Malformed), "shorter than it says");
        assert_eq!(Take(&[1, 0xff]).text(), Err(Malformed), "not UTF-8");
        assert_eq!(Take(&[0xff, 0xff, 3]).small::<u8>(), Err(Malformed));
        assert_eq!(Take(&[0]).end(), Err(Malformed));
        assert_eq!(Take(&[0; 3]).u32(), Err(Malformed));
        assert_eq!(Take(&[0; 7]).u64(), Err(Malformed));
    }
}
