//! Text files of a table (table(5)): a key and, in maps, its value on each line.
//!
//! White space around a line is dropped, `#` at its beginning makes it a comment. The key ends
//! at the first blank or `:`; one that begins with `[` ends after its `]`. The first entry
//! says whether the file is a list or a map, and a comment `# @list` before it that it is a list
//! although its entries hold a `:`. A backslash joins nothing here, and `#` behind an entry
//! belongs to it: passwords may hold both.

use std::borrow::Cow;

use super::{Entries, Shape};

/// A line that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Counted from 1.
    pub line: u32,
    /// What is wrong with it.
    pub message: Cow<'static, str>,
}

/// Reads a table file. All lines that are wrong, not only the first.
pub(crate) fn parse(octets: &[u8]) -> (Shape, Entries, Vec<BadLine>) {
    let mut entries = Entries::default();
    let (shape, bad) = scan(octets, Shape::Empty, |key, value, line| {
        entries.insert(key, value, line);
        Ok(())
    });
    (shape, entries, bad)
}

/// Goes through the entries of a table file. `expected` is [`Shape::List`] or [`Shape::Map`] when
/// that is known without the first entry. `each` takes key, value and line; what it says of a
/// wrong entry is told like what is found here.
pub fn scan(
    octets: &[u8],
    expected: Shape,
    mut each: impl FnMut(&str, &str, u32) -> Result<(), Cow<'static, str>>,
) -> (Shape, Vec<BadLine>) {
    let mut shape = Some(expected).filter(|shape| matches!(shape, Shape::List | Shape::Map));
    let mut bad = Vec::new();
    for (index, octets) in octets.split(|octet| *octet == b'\n').enumerate() {
        let line = index as u32 + 1;
        let text = octets.trim_ascii();
        if let Some(comment) = text.strip_prefix(b"#") {
            if shape.is_none() && comment.trim_ascii() == b"@list" {
                shape = Some(Shape::List);
            }
            continue;
        }
        if text.is_empty() {
            continue;
        }
        let outcome = match entry(text, &mut shape) {
            Ok((key, value)) => each(key, value, line),
            Err(message) => Err(message.into()),
        };
        if let Err(message) = outcome {
            bad.push(BadLine { line, message });
        }
    }
    (shape.unwrap_or(Shape::Empty), bad)
}

/// An entry's key and value; the first one decides on the shape.
fn entry<'t>(
    text: &'t [u8],
    shape: &mut Option<Shape>,
) -> Result<(&'t str, &'t str), &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "invalid map entry: it is not UTF-8")?;
    if text.contains('\0') {
        return Err("invalid map entry: it has a NUL in it");
    }
    if *shape == Some(Shape::List) {
        return Ok((text, ""));
    }
    match key_and_value(text)? {
        (_, None) if shape.is_none() => {
            *shape = Some(Shape::List);
            Ok((text, ""))
        }
        (key, Some(value)) if !value.is_empty() => {
            *shape = Some(Shape::Map);
            Ok((key, value))
        }
        _ => {
            *shape = shape.or(Some(Shape::Map));
            Err("invalid map entry: it has no value")
        }
    }
}

fn key_and_value(text: &str) -> Result<(&str, Option<&str>), &'static str> {
    let end = if text.starts_with('[') {
        text.find(']').ok_or("invalid map entry: \"]\" is missing")? + 1
    } else {
        text.find([' ', '\t', ':']).unwrap_or(text.len())
    };
    let (key, rest) = text.split_at(end);
    let mut characters = rest.chars();
    let Some(separator) = characters.next() else {
        return Ok((key, None));
    };
    if !matches!(separator, ' ' | '\t' | ':') {
        return Err("invalid map entry: a blank or \":\" is missing after \"]\"");
    }
    let value = characters.as_str().trim_start();
    // `key : value` was right until 2024. No value begins so: `:include:` has no blank.
    let value = match value.strip_prefix(':') {
        Some(rest) if separator != ':' && rest.starts_with([' ', '\t']) => rest.trim_start(),
        _ => value,
    };
    Ok((key, Some(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> (Shape, Vec<(String, String)>) {
        let (shape, entries, bad) = parse(text.as_bytes());
        assert_eq!(bad, []);
        let all = entries.sorted();
        (shape, all.into_iter().map(|(k, e)| (k.to_owned(), e.value.to_string())).collect())
    }

    #[test]
    fn the_first_entry_says_what_the_file_is() {
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(
            entries("# c\n\n  Root:\tjoe, ann\nx y # z\nold : style\ni :include:/l\r\n"),
            (
                Shape::Map,
                vec![
                    pair("i", ":include:/l"),
                    pair("old", "style"),
                    pair("root", "joe, ann"),
                    pair("x", "y # z")
                ]
            )
        );
        assert_eq!(
            entries("a.org\nb.org c\n"),
            (Shape::List, vec![pair("a.org", ""), pair("b.org c", "")])
        );
        assert_eq!(entries("# @list\n::1\n"), (Shape::List, vec![pair("::1", "")]));
        assert_eq!(entries("[::1] host\n"), (Shape::Map, vec![pair("[::1]", "host")]));
        assert_eq!(entries("# nothing\n").0, Shape::Empty);
    }

    #[test]
    fn every_bad_line_is_told() {
        let (_, entries, bad) = parse(b"a: b\nc:\n[x: y\n[x]y\nd\n\xff: z\ne: f\n");
        assert_eq!(entries.len(), 2);
        assert_eq!(bad.iter().map(|b| b.line).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    }
}
