//! The diagnostics as JSON, for editors and for what runs on every change (smtpd(8)).

use serde_json::{Value, json};
use smtpd_config::{Diagnostic, Severity};

/// One value for the whole run; its members are only ever added to.
pub(super) fn json(file: &str, ok: bool, diagnostics: &[Diagnostic]) -> Value {
    let diagnostics: Vec<Value> = diagnostics.iter().map(diagnostic).collect();
    json!({ "file": file, "ok": ok, "diagnostics": diagnostics })
}

fn diagnostic(diagnostic: &Diagnostic) -> Value {
    let position = diagnostic.position.as_ref();
    let column = position.map(|at| at.column).filter(|column| *column > 0);
    json!({
        "severity": match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        },
        "file": position.map(|at| &*at.file),
        "line": position.map(|at| at.line),
        "column": column,
        "width": column.map(|_| diagnostic.width),
        "message": diagnostic.message,
        "source": diagnostic.line.as_deref(),
        "expected": diagnostic.expected,
        "help": diagnostic.help,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_is_always_there() {
        let found = [Diagnostic::warning("careful"), Diagnostic::error("no rules")];
        let value = json("/etc/mail/smtpd.conf", false, &found);
        assert_eq!(value["ok"], false);
        assert_eq!(value["diagnostics"][0]["severity"], "warning");
        assert_eq!(value["diagnostics"][1]["message"], "no rules");
        let members = value["diagnostics"][0].as_object().map(|object| object.len());
        assert_eq!(members, Some(9));
    }
}
