//! Compression of single pieces: LZ4 blocks, whose length is written elsewhere.

use crate::wire::Malformed;

/// An LZ4 block gives no more than this many octets for each of its own.
const RATIO: usize = 255;

/// The block, if it and `beside` more octets are smaller than what went in.
pub(super) fn compress(plain: &[u8], beside: usize) -> Option<Vec<u8>> {
    let block = lz4_flex::block::compress(plain);
    (block.len() + beside < plain.len()).then_some(block)
}

/// The `length` octets that a block holds, and nothing else: no length that is written beside
/// a block can make this allocate more than the block could give.
pub(super) fn expand(block: &[u8], length: usize) -> Result<Vec<u8>, Malformed> {
    if length > block.len().saturating_mul(RATIO) {
        return Err(Malformed);
    }
    let mut plain = vec![0; length];
    match lz4_flex::block::decompress_into(block, &mut plain) {
        Ok(octets) if octets == length => Ok(plain),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::Noise;

    #[test]
    fn what_becomes_smaller_comes_back() {
        let text = b"a line of text\r\n".repeat(100);
        let block = compress(&text, 4).unwrap();
        assert!(block.len() < 100);
        assert_eq!(expand(&block, text.len()), Ok(text.clone()));
        assert_eq!(expand(&block, text.len() - 1), Err(Malformed));
        assert_eq!(expand(&block, text.len() + 1), Err(Malformed));
        assert!(compress(&Noise::new(1).octets(1000), 0).is_none(), "noise does not");
    }

    #[test]
    fn the_ratio_is_one_no_block_exceeds() {
        for length in [1_000, 100_000, 16 << 20] {
            let block = compress(&vec![0; length], 0).unwrap();
            assert!(expand(&block, length).is_ok(), "{length} octets in {}", block.len());
        }
    }

    #[test]
    fn noise_is_malformed_and_costs_nothing() {
        let mut noise = Noise::new(2);
        for round in 0..20_000 {
            let block = noise.octets(round % 100);
            let _ = expand(&block, noise.below(20_000));
        }
        assert_eq!(expand(&[0; 10], usize::MAX), Err(Malformed));
    }
}
