//! Names of connections that never come to mean another one.
//!
//! A slot of the slab is used again as soon as its connection ends, while answers to the
//! questions of the old connection may still be under way from other threads. Each connection
//! therefore gets a generation beside its slot; a [`ConnId`] with a generation that is not the
//! slot's own reaches nobody.

use mio::Token;
use std::fmt;

/// Bits of a token that name the slot; the others hold the generation. Where a token has only
/// 32 bits a reactor has at most a million connections, and 4,096 generations: enough for
/// events of the same wake-up, and an engine ticket guards an answer once more.
const INDEX_BITS: u32 = if usize::BITS >= 64 { 32 } else { 20 };
const GENERATION_MASK: u32 = if usize::BITS >= 64 { u32::MAX } else { 0xfff };

/// The most slots that can be named.
pub(crate) const MAX_INDEX: usize = (1 << INDEX_BITS) - 1;

/// One connection of one reactor, for as long as it lives and never for another after it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnId {
    index: u32,
    generation: u32,
}

impl ConnId {
    /// `index` is at most [`MAX_INDEX`], which the slab's bound sees to.
    pub(crate) fn new(index: usize, generation: Generation) -> ConnId {
        debug_assert!(index <= MAX_INDEX);
        ConnId { index: index as u32, generation: generation.0 }
    }

    pub(crate) fn index(self) -> usize {
        self.index as usize
    }

    pub(crate) fn token(self) -> Token {
        Token(((self.generation as usize) << INDEX_BITS) | self.index as usize)
    }
}

/// `SLOT.GENERATION`, for log lines.
impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// Counts the connections of a reactor; 0 is none, so that tokens of that generation are the
/// reactor's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Generation(u32);

impl Generation {
    pub(crate) fn next(self) -> Generation {
        match self.0.wrapping_add(1) & GENERATION_MASK {
            0 => Generation(1),
            n => Generation(n),
        }
    }
}

/// Whose readiness an event tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Whose {
    Waker,
    /// The nth socket that is no connection: a listener.
    Own(usize),
    Connection(ConnId),
}

/// The waker's own token.
pub(crate) const WAKER: Token = Token(0);

/// The token of the nth socket that is no connection.
pub(crate) fn own(nth: usize) -> Token {
    Token(nth + 1)
}

pub(crate) fn whose(token: Token) -> Whose {
    // The generation's bits are all that the shift leaves, so neither part can be cut.
    let generation = (token.0 >> INDEX_BITS) as u32;
    let index = (token.0 & MAX_INDEX) as u32;
    match (generation, index) {
        (0, 0) => Whose::Waker,
        (0, n) => Whose::Own(n as usize - 1),
        _ => Whose::Connection(ConnId { index, generation }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_name_what_they_were_made_from() {
        let mut generation = Generation::default();
        for index in [0, 1, 77, MAX_INDEX] {
            generation = generation.next();
            let conn = ConnId::new(index, generation);
            assert_eq!(whose(conn.token()), Whose::Connection(conn));
        }
        assert_eq!(whose(WAKER), Whose::Waker);
        assert_eq!(whose(own(0)), Whose::Own(0));
        assert_eq!(whose(own(9)), Whose::Own(9));
    }

    #[test]
    fn no_connection_has_generation_zero() {
        assert_eq!(Generation(GENERATION_MASK).next(), Generation(1));
        assert_eq!(Generation::default().next(), Generation(1));
    }
}
