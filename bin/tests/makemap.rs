//! makemap and newaliases as they are called: by name.

#![allow(clippy::unwrap_used)] // helpers of tests, which may

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A directory that is removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path =
            std::env::temp_dir().join(format!("smtpd-makemap-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Exit status, standard output, standard error.
    fn run(&self, line: &str, input: &str) -> (i32, String, String) {
        let mut words = line.split_whitespace();
        let mut child = Command::new(env!("CARGO_BIN_EXE_smtpctl"))
            .arg0(words.next().unwrap())
            .args(words)
            .current_dir(&self.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Whoever reads no input has closed it.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |octets| String::from_utf8(octets).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn done(out: &str) -> (i32, String, String) {
    (0, out.to_owned(), String::new())
}

#[test]
fn a_map_is_made_and_shown() {
    let directory = Directory::new("made");
    directory.write("secrets", "# logins\nLabel: joe@example.org:pass word\n[::1]\thost\n");
    assert_eq!(directory.run("/usr/sbin/makemap secrets", ""), done(""));
    let shown = "label\tjoe@example.org:pass word\n[::1]\thost\n";
    assert_eq!(directory.run("makemap -U secrets.db", ""), done(shown));
    assert_eq!(directory.run("makemap -t set -o names.db -", "a.org\nB.org # c\n"), done(""));
    assert_eq!(directory.run("makemap -U names.db", ""), done("a.org\t<set>\nb.org # c\t<set>\n"));
    assert_eq!(directory.run("makemap hash names", "k v\n"), done(""));
    assert_eq!(directory.run("makemap -U names.db", ""), done("k\tv\n"));
    let (status, _, told) = directory.run("makemap -", "# nothing\n");
    assert_eq!((status, told.as_str()), (0, "makemap: warning: empty map created: -.db\n"));
    assert_eq!(directory.names(), ["-.db", "names.db", "secrets", "secrets.db"]);
}

/// Logins that differ only by case are different; where there is one, case does not matter.
#[test]
fn logins_may_differ_by_case() {
    let directory = Directory::new("logins");
    directory.write("secrets", "Bob bob:1\nANN ann:2\nbob other:3\n");
    assert_eq!(directory.run("makemap secrets", ""), done(""));
    let shown = "Bob\tbob:1\nann\tann:2\nbob\tother:3\n";
    assert_eq!(directory.run("makemap -U secrets.db", ""), done(shown));
    directory.write("secrets", "Bob bob:1\nbob other:3\nBob again:4\n");
    let told = "secrets:3: duplicate entry for Bob\n".to_owned();
    assert_eq!(directory.run("makemap secrets", ""), (1, String::new(), told));
}

/// The map may be read by whom the source may be read by.
#[test]
fn the_mode_is_that_of_the_source() {
    let directory = Directory::new("mode");
    let mode =
        |name: &str| fs::metadata(directory.0.join(name)).unwrap().permissions().mode() & 0o777;
    directory.write("secrets", "a b\n");
    for secret in [0o600, 0o640, 0o644] {
        fs::set_permissions(directory.0.join("secrets"), PermissionsExt::from_mode(secret))
            .unwrap();
        assert_eq!(directory.run("makemap secrets", ""), done(""));
        assert_eq!(mode("secrets.db"), secret);
    }
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(directory.0.join("secrets"), Some(7), Some(8)).unwrap();
        assert_eq!(directory.run("makemap secrets", ""), done(""));
        let metadata = fs::metadata(directory.0.join("secrets.db")).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (7, 8));
    }
    // Standard input has none: that of the map stays, and a new one is for its owner.
    assert_eq!(directory.run("makemap -o secrets.db -", "a b\n"), done(""));
    assert_eq!(directory.run("makemap -o new.db -", "a b\n"), done(""));
    assert_eq!((mode("secrets.db"), mode("new.db")), (0o644, 0o600));
}

#[test]
fn a_mistake_changes_nothing() {
    let directory = Directory::new("mistake");
    directory.write("map", "a: b\n");
    assert_eq!(directory.run("makemap map", ""), done(""));
    for (arguments, text, expected) in [
        (
            "map",
            "a: b\n\nlonely\na c\n",
            "map:3: invalid map entry: it has no value\nmap:4: duplicate entry for a\n",
        ),
        (
            "-t aliases map",
            "ok: joe\nlist: joe,, ann\nbad: a b\n",
            "map:2: invalid entry: alias list: an alias value has an element with nothing in it\n\
             map:3: invalid entry: alias bad: \"a b\" is no user, address, |command, /file or error:4xx text\n",
        ),
        ("-t aliases map", "a: b\nA: c\n", "map:2: duplicate entry for a\n"),
        ("-t set map", "a\nA\n", "map:2: duplicate entry for a\n"),
        ("-o none/map.db map", "a b\n", "none/map.db: No such file or directory (os error 2)\n"),
        ("absent", "", "absent: No such file or directory (os error 2)\n"),
    ] {
        directory.write("map", text);
        let told = directory.run(&format!("makemap {arguments}"), "");
        assert_eq!(told, (1, String::new(), expected.to_owned()), "{arguments}");
        assert_eq!(directory.run("makemap -U map.db", ""), done("a\tb\n"));
    }
    let (status, _, told) = directory.run("makemap -U map", "");
    assert_eq!((status, told.starts_with("map: damaged map")), (1, true), "{told}");
    assert_eq!(directory.names(), ["map", "map.db"]);
}

#[test]
fn a_source_that_is_locked_is_left_alone() {
    let directory = Directory::new("locked");
    directory.write("map", "a b\n");
    let file = fs::File::open(directory.0.join("map")).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let (status, _, told) = directory.run("makemap map", "");
    assert_eq!((status, told.as_str()), (1, "map is locked\n"));
    assert_eq!(directory.names(), ["map"]);
}

#[test]
fn newaliases_makes_the_map_that_the_configuration_names() {
    let directory = Directory::new("newaliases");
    let aliases = directory.0.join("mail/aliases");
    fs::create_dir(directory.0.join("mail")).unwrap();
    directory.write("mail/aliases", "Root: joe\nlist: joe, ann@example.org\n");
    let write = |table: &str| {
        let rest = "action \"a\" maildir alias <aliases>\nmatch for local action \"a\"\n";
        directory.write("conf", &format!("table aliases {table}\n{rest}"));
    };
    // The map that is named is not there yet.
    write(&format!("db:{}.db", aliases.display()));
    let counted = format!("{}: 2 aliases\n", aliases.display());
    assert_eq!(directory.run("newaliases -f conf", ""), done(&counted));
    assert_eq!(
        directory.run("makemap -U mail/aliases.db", ""),
        done("root\tjoe\nlist\tjoe, ann@example.org\n")
    );
    write(&format!("file:{}", aliases.display()));
    let (status, out, note) = directory.run("makemap -bi -- -f conf", "");
    assert_eq!((status, out.as_str()), (0, counted.as_str()), "{note}");
    assert!(note.contains("itself is read"), "{note}");
    let (status, out, _) = directory.run("makemap -O AliasFile=mail/aliases -b i", "");
    assert_eq!((status, out.as_str()), (0, "mail/aliases: 2 aliases\n"));
    write("{ root = joe }");
    assert_eq!(directory.run("newaliases -f conf", "").0, 1);
    directory.write("conf", "nonsense\n");
    let (status, _, told) = directory.run("newaliases -f conf", "");
    assert_eq!((status, told.starts_with("conf:1: ")), (1, true), "{told}");
    assert_eq!(directory.run("newaliases operand", "").2, "usage: newaliases [-f file]\n");
    assert!(Path::new(&aliases).exists());
}
