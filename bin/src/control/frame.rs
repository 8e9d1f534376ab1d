//! Frames of the control socket: length, version, kind, payload.
//!
//! ```text
//! 0        4         6      7
//! +--------+---------+------+-----------
//! | length | version | kind | payload ...
//! +--------+---------+------+-----------
//! ```
//!
//! Numbers are big-endian; `length` counts the octets behind it. The first six octets keep their
//! places in every release, so that two releases can at least tell that they differ.

use super::wire::Reader;

/// Version of everything behind the first six octets of a frame: raised whenever a request or a
/// response changes its form or its meaning.
pub const VERSION: u16 = 1;

/// Octets before the payload.
pub const HEAD: usize = 7;

/// Octets of the length itself, which it does not count.
const LENGTH: usize = 4;

/// A frame lent from received octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Which request or response it is.
    pub kind: u8,
    /// The rest.
    pub payload: &'a [u8],
}

/// The octets are no frame of ours. There is no next frame to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadFrame {
    /// Of another version.
    Version(u16),
    /// Longer than allowed, or shorter than its head.
    Length(u32),
}

/// Looks for a frame at the front of `octets`: `None` while it is not whole. A wrong head is told
/// as soon as it is there, without waiting for the payload.
///
/// # Errors
/// [`BadFrame`]; `longest` bounds the payload.
pub fn take<'a>(octets: &mut &'a [u8], longest: usize) -> Result<Option<Frame<'a>>, BadFrame> {
    let mut head = Reader(octets);
    let (Ok(length), Ok(version)) = (head.u32(), head.u16()) else { return Ok(None) };
    if version != VERSION {
        return Err(BadFrame::Version(version));
    }
    let size = length as usize;
    if !(HEAD - LENGTH..=HEAD - LENGTH + longest).contains(&size) {
        return Err(BadFrame::Length(length));
    }
    let Some((frame, rest)) = octets.split_at_checked(LENGTH + size) else { return Ok(None) };
    *octets = rest;
    Ok(Some(Frame { kind: frame[HEAD - 1], payload: &frame[HEAD..] }))
}

/// Appends a frame whose payload `fill` appends.
pub fn put(out: &mut Vec<u8>, kind: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH]);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.push(kind);
    fill(out);
    let length = (out.len() - start - LENGTH) as u32;
    out[start..start + LENGTH].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_whole_or_not_at_all() {
        let mut octets = Vec::new();
        put(&mut octets, 7, |out| out.extend_from_slice(b"payload"));
        put(&mut octets, 8, |_| {});
        for end in 0..HEAD + 7 {
            assert_eq!(take(&mut &octets[..end], 100), Ok(None), "{end}");
        }
        let mut rest = octets.as_slice();
        let first = take(&mut rest, 100).unwrap();
        assert_eq!(first, Some(Frame { kind: 7, payload: b"payload" }));
        assert_eq!(take(&mut rest, 100).unwrap(), Some(Frame { kind: 8, payload: b"" }));
        assert!(rest.is_empty());
    }

    #[test]
    fn a_wrong_head_is_told_before_the_payload_comes() {
        // Length 4, version 2: both sides see the version, whatever follows.
        assert_eq!(take(&mut &b"\0\0\0\x04\0\x02"[..], 100), Err(BadFrame::Version(2)));
        assert_eq!(take(&mut &b"\0\0\0\x68\0\x01"[..], 100), Err(BadFrame::Length(104)));
        assert_eq!(take(&mut &b"\0\0\0\x67\0\x01"[..], 100), Ok(None));
        assert_eq!(take(&mut &b"\0\0\0\x02\0\x01"[..], 100), Err(BadFrame::Length(2)));
        assert_eq!(take(&mut &b"\xff\xff\xff\xff\0\x01"[..], 100), Err(BadFrame::Length(u32::MAX)));
    }
}
