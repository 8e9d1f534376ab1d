//! `smtpctl convert` as it is called: what it prints, where, and how it ends.

#![allow(clippy::unwrap_used)] // helpers of tests, which may

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A file that is removed in the end.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, text: &str) -> Temporary {
        let path = std::env::temp_dir().join(format!("smtpctl-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        Temporary(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

/// Exit status, standard output, standard error.
fn convert(name: &str, text: &str, options: &[&str]) -> (u8, String, String) {
    let file = Temporary::new(name, text);
    let mut arguments: Vec<_> = options.iter().map(Into::into).collect();
    arguments.extend(["convert".into(), file.0.clone().into_os_string()]);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = smtpd::ctl::run(&arguments, &mut out, &mut err);
    (status, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

#[test]
fn the_file_is_printed_and_what_to_decide_is_told() {
    let text = "curve $c\naccept for local deliver to maildir\n";
    let (status, out, err) = convert("old", text, &["-D", "c=auto"]);
    assert_eq!(status, 0, "{err}");
    assert!(out.contains("# curve $c\naction \"act1\" maildir\nmatch from local for local action"));
    assert!(err.contains("old:1: warning: curve has no effect any more\n"), "{err}");
}

#[test]
fn nothing_is_printed_of_what_is_not_converted() {
    let modern = "action \"a\" maildir\nmatch for local action \"a\"\n";
    let (status, out, err) = convert("new", modern, &[]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("is in the grammar of today"), "{err}");

    let (status, out, err) = convert("wrong", "accept for locl deliver to maildir\n", &[]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("wrong:1: ") && err.contains("did you mean \"local\"?"), "{err}");
}

#[test]
fn a_dash_stands_for_standard_input() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_smtpctl"))
        .args(["convert", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = b"curve auto\naccept for local deliver to maildir\n";
    child.stdin.take().unwrap().write_all(text).unwrap();
    let output = child.wait_with_output().unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(out.contains("action \"act1\" maildir\nmatch from local for local action"), "{out}");
    assert!(err.contains("-:1: warning: curve has no effect any more\n"), "{err}");
}
