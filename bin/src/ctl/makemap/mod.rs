//! makemap(8): maps out of text files, and back.
//!
//! The options are those of OpenSMTPD, with what scripts written for sendmail's makemap give it.
//! The format is cdb, whatever `-d` asks for.

mod build;
mod newaliases;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::{Path, PathBuf};

use getopts::ParsingStyle;

use build::{Kind, Source, dump};
pub use newaliases::newaliases;

const USAGE: &str = "usage: makemap [-U] [-d dbtype] [-o dbfile] [-t type] file";

/// Runs makemap with the arguments behind its name; the exit status.
pub fn makemap(arguments: &[OsString], out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    match options(arguments) {
        Ok(Order::NewAliases { source: None, arguments }) => newaliases(&arguments, out, err),
        Ok(Order::NewAliases { source: Some(source), .. }) => newaliases::of(&source, out, err),
        Ok(Order::Dump(map)) => told(dump(&map, out).map_err(|line| vec![line]), err),
        Ok(Order::Build { source, kind, map }) => {
            let built = Source::read(&source).map_err(|line| vec![line]);
            let built = built.and_then(|source| source.build(kind, &map));
            if let Ok(0) = built {
                let _ = writeln!(err, "makemap: warning: empty map created: {}", map.display());
            }
            told(built.map(drop), err)
        }
        Err(complaint) => {
            let _ = writeln!(err, "{complaint}");
            1
        }
    }
}

/// Tells what failed; the exit status.
fn told(outcome: Result<(), Vec<String>>, err: &mut dyn Write) -> u8 {
    let Err(lines) = outcome else { return 0 };
    for line in lines {
        // Lines about a place in a file begin with it, for editors.
        let _ = writeln!(err, "{line}");
    }
    1
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
enum Order {
    Build { source: PathBuf, kind: Kind, map: PathBuf },
    Dump(PathBuf),
    NewAliases { source: Option<PathBuf>, arguments: Vec<OsString> },
}

fn options(arguments: &[OsString]) -> Result<Order, String> {
    let mut known = getopts::Options::new();
    known.parsing_style(ParsingStyle::StopAtFirstFree);
    for option in ["b", "C", "d", "o", "O", "t"] {
        known.optmulti(option, "", "", "");
    }
    for flag in ["h", "U"] {
        known.optflagmulti(flag, "", "");
    }
    let given = known.parse(arguments).map_err(|error| format!("makemap: {error}\n{USAGE}"))?;
    let last = |option| given.opt_strs(option).pop();
    let alias_file = given.opt_strs("O").into_iter().rev();
    let alias_file =
        alias_file.map(|text| text.strip_prefix("AliasFile=").map(PathBuf::from)).next().flatten();
    if given.opt_strs("b").iter().any(|mode| mode == "i") {
        let arguments = given.free.iter().map(OsString::from).collect();
        return Ok(Order::NewAliases { source: alias_file, arguments });
    }
    let supported = |kind: &str| match kind {
        // Nobody looks into a map but the daemon, which finds a key in each of them as fast.
        "hash" | "btree" | "dbm" | "cdb" => Ok(()),
        _ => Err(format!("makemap: unsupported DB type '{kind}'")),
    };
    last("d").map_or(Ok(()), |kind| supported(&kind))?;
    let mut kind = match last("t").as_deref() {
        None => Kind::Text,
        Some("aliases") => Kind::Aliases,
        Some("set") => Kind::Set,
        Some(other) => return Err(format!("makemap: unsupported type '{other}'")),
    };
    let (source, map) = match (alias_file, given.free.as_slice()) {
        (Some(source), []) => {
            kind = Kind::Aliases;
            (source, None)
        }
        (_, [source]) => (PathBuf::from(source), None),
        // As sendmail's: the type, and the name without its ending.
        (_, [dbtype, name]) => {
            supported(dbtype)?;
            ("-".into(), Some(with_db(Path::new(name))))
        }
        _ => return Err(USAGE.to_owned()),
    };
    if given.opt_present("U") {
        return Ok(Order::Dump(source));
    }
    let map = last("o").map(PathBuf::from).or(map).unwrap_or_else(|| with_db(&source));
    Ok(Order::Build { source, kind, map })
}

/// The map of a source: `.db` is added, not put in the place of another ending.
fn with_db(source: &Path) -> PathBuf {
    let mut name = source.as_os_str().to_owned();
    name.push(OsStr::new(".db"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Order, String> {
        options(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    fn build(source: &str, kind: Kind, map: &str) -> Result<Order, String> {
        Ok(Order::Build { source: source.into(), kind, map: map.into() })
    }

    #[test]
    fn the_options_are_those_of_the_manual() {
        assert_eq!(read("secrets"), build("secrets", Kind::Text, "secrets.db"));
        assert_eq!(read("-t aliases a.txt"), build("a.txt", Kind::Aliases, "a.txt.db"));
        assert_eq!(read("-d btree -t set -o out in"), build("in", Kind::Set, "out"));
        assert_eq!(read("-"), build("-", Kind::Text, "-.db"));
        assert_eq!(read("hash /etc/map"), build("-", Kind::Text, "/etc/map.db"));
        assert_eq!(read("-h -C x -O AliasFile=/a"), build("/a", Kind::Aliases, "/a.db"));
        assert_eq!(read("-U a.db"), Ok(Order::Dump("a.db".into())));
        let aliases = |source: Option<&str>| {
            Ok(Order::NewAliases { source: source.map(PathBuf::from), arguments: Vec::new() })
        };
        assert_eq!(read("-bi"), aliases(None));
        assert_eq!(read("-b i -O AliasFile=/a"), aliases(Some("/a")));
        for (line, complaint) in [
            ("-d heap x", "makemap: unsupported DB type 'heap'"),
            ("heap x", "makemap: unsupported DB type 'heap'"),
            ("-t list x", "makemap: unsupported type 'list'"),
            ("", USAGE),
            ("a b c", USAGE),
        ] {
            assert_eq!(read(line), Err(complaint.to_owned()), "{line}");
        }
        assert!(read("-x y").is_err_and(|complaint| complaint.ends_with(USAGE)));
    }
}
