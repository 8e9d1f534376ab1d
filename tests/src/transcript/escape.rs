//! Octets written in a line of text: `C|` and `B|` lines and what failures print.
//!
//! `\r \n \t \0 \\ \xHH` are octets, `\*N{TEXT}` is TEXT N times (TEXT may hold escapes; a `}`
//! in it is written `\}`). Everything else stands for itself, in UTF-8.

/// Longest result: a transcript that means more is a mistake.
const MOST: usize = 64 << 20;

/// The octets that `text` stands for.
pub(super) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut rest = text.bytes().collect::<Vec<_>>().into_iter().peekable();
    let octets = sequence(&mut rest, false)?;
    Ok(octets)
}

type Octets = std::iter::Peekable<std::vec::IntoIter<u8>>;

fn sequence(rest: &mut Octets, in_braces: bool) -> Result<Vec<u8>, String> {
    let mut to = Vec::new();
    loop {
        match rest.next() {
            None if in_braces => return Err("`\\*N{` without its `}`".into()),
            None => return Ok(to),
            Some(b'}') if in_braces => return Ok(to),
            Some(b'\\') => escape(rest, &mut to)?,
            Some(octet) => to.push(octet),
        }
        if to.len() > MOST {
            return Err(format!("stands for more than {MOST} octets"));
        }
    }
}

fn escape(rest: &mut Octets, to: &mut Vec<u8>) -> Result<(), String> {
    match rest.next() {
        Some(b'r') => to.push(b'\r'),
        Some(b'n') => to.push(b'\n'),
        Some(b't') => to.push(b'\t'),
        Some(b'0') => to.push(0),
        Some(b'\\') => to.push(b'\\'),
        Some(b'}') => to.push(b'}'),
        Some(b'x') => {
            let mut digit = || rest.next().and_then(|d| char::from(d).to_digit(16));
            let (Some(high), Some(low)) = (digit(), digit()) else {
                return Err("`\\x` without two hexadecimal digits".into());
            };
            to.push(u8::try_from(high * 16 + low).expect("two digits are an octet"));
        }
        Some(b'*') => {
            let mut times = 0usize;
            while let Some(digit) = rest.peek().and_then(|d| char::from(*d).to_digit(10)) {
                times = times.saturating_mul(10).saturating_add(digit as usize);
                rest.next();
            }
            if rest.next() != Some(b'{') {
                return Err("`\\*` without `N{`".into());
            }
            let once = sequence(rest, true)?;
            if times.saturating_mul(once.len()) > MOST {
                return Err(format!("stands for more than {MOST} octets"));
            }
            to.extend_from_slice(&once.repeat(times));
        }
        _ => return Err("`\\` with nothing known behind it".into()),
    }
    Ok(())
}

/// `octets` as a `C|` line would have them; long ones are cut in the middle.
pub(super) fn escape_for_people(octets: &[u8]) -> String {
    const SHOWN: usize = 300;
    let written = |part: &[u8]| -> String {
        String::from_utf8_lossy(part)
            .chars()
            .map(|c| match c {
                '\r' => "\\r".into(),
                '\n' => "\\n".into(),
                '\t' => "\\t".into(),
                '\0' => "\\0".into(),
                '\\' => "\\\\".into(),
                c if c.is_control() => format!("\\x{:02x}", u32::from(c)),
                c => c.to_string(),
            })
            .collect()
    };
    if octets.len() <= SHOWN {
        return written(octets);
    }
    let (head, tail) = (&octets[..SHOWN / 2], &octets[octets.len() - SHOWN / 2..]);
    format!("{} [... {} octets ...] {}", written(head), octets.len() - SHOWN, written(tail))
}

#[cfg(test)]
mod tests {
    use super::{escape_for_people, unescape};

    #[test]
    fn every_escape() {
        assert_eq!(unescape("a\\r\\n\\t\\0\\\\\\x7f").unwrap(), b"a\r\n\t\0\\\x7f");
        assert_eq!(unescape("<\\*3{ab\\n}>{x}").unwrap(), b"<ab\nab\nab\n>{x}");
        assert_eq!(unescape("\\*2{a\\*2{b}}").unwrap(), b"abbabb");
        assert_eq!(unescape("\\*2{\\}}").unwrap(), b"}}");
    }

    #[test]
    fn mistakes_are_told() {
        for bad in ["\\", "\\q", "\\x1", "\\xg0", "\\*3", "\\*{a", "\\*99999999999{aaaa}"] {
            assert!(unescape(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_printed_can_be_read_back() {
        let octets = b"a\r\n\0\t\\z";
        assert_eq!(unescape(&escape_for_people(octets)).unwrap(), octets);
    }
}
