//! Which rule takes a recipient.

use crate::machine::{People, config, facts, load_octets, mailbox};
use smtpd_config::{Client, Decision, Facts};

/// The name of the action, `reject`, `none` or `failed`.
fn decide(rules: &str, facts: &Facts<'_>, rcpt: &str) -> String {
    let text = format!("action \"a\" maildir\naction \"b\" maildir\n{rules}\n");
    let config = config(&text);
    match config.decide(facts, &mailbox(rcpt), &People(&[])) {
        Decision::Action { action, .. } => action.name.to_string(),
        Decision::Reject { rule: Some(_) } => "reject".to_owned(),
        Decision::Reject { rule: None } => "none".to_owned(),
        Decision::Failed { .. } => "failed".to_owned(),
    }
}

/// Whether `match CONDITIONS` takes the message.
fn holds(conditions: &str, facts: &Facts<'_>, rcpt: &str) -> bool {
    decide(&format!("match {conditions} action \"a\""), facts, rcpt) == "a"
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = "match from any for domain a.example reject\n\
                 match from any for domain { a.example, b.example } action \"a\"\n\
                 match from any for any action \"b\"";
    let facts = facts("203.0.113.9");
    assert_eq!(decide(rules, &facts, "x@a.example"), "reject");
    assert_eq!(decide(rules, &facts, "x@B.Example"), "a");
    assert_eq!(decide(rules, &facts, "x@c.example"), "b");
    assert_eq!(decide("match for local action \"a\"", &facts, "x@localhost"), "none");
}

/// What an address stands for is judged as local mail is, but only when the rules take the address
/// itself from its client.
#[test]
fn what_comes_back_must_be_welcome_as_it_is_given() {
    let rules = "srs key \"sesame\"\n\
                 match from src 203.0.113.66 for any reject\n\
                 match from any for domain forward.example action \"a\"\n\
                 match from local for any action \"b\"";
    let is = |rules: &str, ip: &str, rcpt: &str| {
        let facts = Facts { sender: None, day: 20_781, ..facts(ip) };
        decide(rules, &facts, rcpt)
    };
    let ours = "SRS0=PMGV=JN=a.example=bob@forward.example";
    assert_eq!(is(rules, "203.0.113.9", ours), "b");
    assert_eq!(is(rules, "203.0.113.66", ours), "reject");
    assert_eq!(is(rules, "203.0.113.9", "bob@a.example"), "none");
    let closed = rules.replace("from any for domain", "from local for domain");
    assert_eq!(is(&closed, "203.0.113.9", ours), "none");
    // One that is not ours is an address like others.
    assert_eq!(is(rules, "203.0.113.9", "SRS0=xxxx=JN=a.example=bob@forward.example"), "a");
}

#[test]
fn from_and_for_are_local_unless_written() {
    for (ip, rcpt, expected) in [
        ("127.0.0.1", "x@localhost", true),
        ("127.8.8.8", "x@LOCALHOST", true),
        ("192.0.2.1", "x@mx.example.org", true),
        ("::ffff:192.0.2.1", "x@[192.0.2.1]", true),
        ("::1", "x@[IPv6:::1]", true),
        ("::1", "x@[192.0.2.2]", false),
        ("192.0.2.2", "x@localhost", false),
        ("127.0.0.1", "x@mx", false),
        ("127.0.0.1", "x@sub.mx.example.org", false),
    ] {
        assert_eq!(holds("", &facts(ip), rcpt), expected, "{ip} {rcpt}");
    }
    let socket = Facts { client: Client::Socket, ..facts("::1") };
    assert!(holds("", &socket, "x@localhost") && holds("from socket", &socket, "x@localhost"));
    assert!(!holds("from socket", &facts("::1"), "x@localhost"));
}

#[test]
fn clients_are_in_networks() {
    let is = |conditions: &str, ip: &str| holds(conditions, &facts(ip), "x@localhost");
    assert!(is("from src 192.0.2.0/24", "192.0.2.77"));
    assert!(is("from src \"10/8\"", "10.200.0.1"));
    assert!(!is("from src 192.0.2.0/24", "192.0.3.1"));
    assert!(is("!from src 192.0.2.0/24", "192.0.3.1"));
    assert!(is("from src { 192.0.2.7, \"2001:db8::/32\" }", "2001:db8:1::1"));
    assert!(is("from src { 192.0.2.7, \"2001:db8::/32\" }", "::ffff:192.0.2.7"));
    assert!(!is("from src { 192.0.2.7, \"2001:db8::/32\" }", "2001:db9::1"));
    assert!(is("from src <\"<anyhost>\">", "2001:db9::1"));
    let socket = Facts { client: Client::Socket, ..facts("::1") };
    assert!(holds("from src { \"local\" }", &socket, "x@localhost"));
    assert!(!holds("from src 127.0.0.0/8", &socket, "x@localhost"));
}

#[test]
fn addresses_match_by_user_domain_or_both() {
    let sender = |conditions: &str, from: Option<&str>| {
        let from = from.map(mailbox);
        let facts = Facts { sender: from.as_ref(), ..facts("127.0.0.1") };
        holds(conditions, &facts, "x@localhost")
    };
    for entry in [
        "joe@a.example",
        "@a.example",
        "joe",
        "joe@",
        "@*.example",
        "JOE@A.Example",
        "@",
        "joe@*.example",
        "joe+tag",
        "joe+tag@a.example",
    ] {
        assert!(sender(&format!("mail-from \"{entry}\""), Some("Joe+Tag@a.example")), "{entry}");
    }
    for entry in
        ["joe@b.example", "@b.example", "jo", "ann", "joe+other", "ann@*.example", "a.example"]
    {
        assert!(!sender(&format!("mail-from \"{entry}\""), Some("joe+tag@a.example")), "{entry}");
    }
    assert!(sender("mail-from \"@\"", None) && !sender("!mail-from \"@\"", None));
    assert!(!sender("mail-from { \"@a.example\", joe, \"@*\" }", None));
    assert!(sender("!mail-from { \"@a.example\", joe }", None));
    assert!(holds("for rcpt-to \"joe@c.example\"", &facts("::1"), "joe+x@c.example"));
}

#[test]
fn domains_are_compared_as_a_labels() {
    let rcpt = "x@xn--bcher-kva.example";
    for domain in ["bücher.example", "xn--bcher-kva.example", "*.example", "BÜCHER.example"] {
        assert!(holds(&format!("for domain \"{domain}\""), &facts("::1"), rcpt), "{domain}");
    }
    assert!(!holds("for domain \"bucher.example\"", &facts("::1"), rcpt));
    assert!(holds("for rcpt-to \"@bücher.example\"", &facts("::1"), "x@Bücher.example"));
}

#[test]
fn the_session_is_looked_at() {
    let session = Facts {
        tag: Some("Outside"),
        auth: Some("joe"),
        tls: true,
        rdns: Some("host.Example.net"),
        rdns_confirmed: true,
        ..facts("203.0.113.9")
    };
    let is = |conditions: &str| holds(conditions, &session, "x@localhost");
    assert!(is("tag OUTSIDE from any") && !is("!tag OUTSIDE from any") && is("!tag x from any"));
    assert!(is("helo \"*.example.net\" from any") && !is("helo example.net from any"));
    assert!(is("auth from any") && is("auth { joe } from any") && !is("auth ann from any"));
    assert!(is("from auth") && !is("!from auth") && is("!from auth ann"));
    assert!(is("tls from any") && !is("!tls from any"));
    assert!(is("from rdns") && is("from rdns \"*.example.net\"") && !is("from rdns other.example"));
    // What anybody may claim lets nobody in, and may keep him out.
    let claims = Facts { rdns_confirmed: false, ..session };
    for (conditions, expected) in [
        ("from rdns", "none"),
        ("from rdns \"*.example.net\"", "none"),
        ("!from rdns other.example", "none"),
        ("!from rdns", "a"),
    ] {
        let rules = format!("match {conditions} action \"a\"");
        assert_eq!(decide(&rules, &claims, "x@localhost"), expected, "{conditions}");
    }
    for conditions in ["from rdns", "from rdns \"*.example.net\"", "!from rdns other.example"] {
        let rules = format!("match {conditions} reject\nmatch from any action \"a\"");
        assert_eq!(decide(&rules, &claims, "x@localhost"), "reject", "{conditions}");
    }
    let nobody = facts("203.0.113.9");
    assert!(
        !holds("from rdns", &nobody, "x@localhost") && holds("!from rdns", &nobody, "x@localhost")
    );
    assert!(!holds("!from rdns \"a.example\"", &nobody, "x@localhost"));
    assert!(!holds("!auth tls from any", &nobody, "x@localhost"));
    let joe = Facts { auth: Some("joe@a.example"), ..nobody };
    assert!(holds("auth \"@a.example\" from any", &joe, "x@localhost"));
}

#[test]
fn a_failed_look_up_ends_the_rules_also_negated() {
    let helo = "x".repeat(1100);
    let facts = Facts { helo: &helo, ..facts("127.0.0.1") };
    for rule in ["match helo a.example reject", "match !helo a.example reject"] {
        let rules = format!("{rule}\nmatch for any action \"a\"");
        assert_eq!(decide(&rules, &facts, "x@localhost"), "failed");
    }
}

#[test]
fn in_legacy_files_the_authenticated_are_local() {
    let text = "table secrets { joe = secret }\n\
                listen on all tls-require certificate mx.example.org auth <secrets>\n\
                accept for local deliver to maildir\n\
                accept from ! local for domain b.example deliver to maildir\n\
                accept ! authenticated from local for domain c.example deliver to maildir\n\
                accept authenticated from local for domain d.example deliver to maildir\n";
    let config = load_octets(text.as_bytes(), &[]).unwrap();
    let taken = |auth: Option<&str>, ip: &str, rcpt: &str| {
        let facts = Facts { auth, ..facts(ip) };
        matches!(config.decide(&facts, &mailbox(rcpt), &People(&[])), Decision::Action { .. })
    };
    let outside = "203.0.113.9";
    assert!(taken(Some("joe"), outside, "x@localhost"));
    assert!(taken(None, "127.0.0.1", "x@localhost"));
    assert!(!taken(None, outside, "x@localhost"));
    assert!(taken(None, outside, "x@b.example"));
    assert!(!taken(Some("joe"), outside, "x@b.example"));
    assert!(!taken(None, "127.0.0.1", "x@b.example"));
    assert!(taken(None, "127.0.0.1", "x@c.example"));
    assert!(!taken(Some("joe"), outside, "x@c.example"));
    assert!(taken(Some("joe"), outside, "x@d.example"));
    assert!(!taken(None, "127.0.0.1", "x@d.example"));
}

/// Equal actions are one, and the name is the same in every file and after every start.
#[test]
fn legacy_actions_are_named_by_what_they_do() {
    let names = |text: &str| -> Vec<String> {
        config(text).actions().map(|action| action.name.to_string()).collect()
    };
    let one = names(
        "accept for local deliver to maildir\naccept from any for domain a.example deliver to maildir\n",
    );
    assert_eq!(one, ["legacy-2861e30692d62b45"]);
    let other = names(
        "table t { a = b }\naccept for local alias <t> deliver to maildir\naccept for any deliver to maildir\n",
    );
    assert_eq!(other[1], one[0]);
    assert_ne!(other[0], one[0]);
}

#[test]
fn patterns_may_be_regular_expressions() {
    let ann = mailbox("Ann@Mail3.Example.net");
    let session = Facts {
        tag: Some("Outside"),
        helo: "[192.0.2.7]",
        sender: Some(&ann),
        ..facts("2001:db8::7")
    };
    let is = |conditions: &str| holds(conditions, &session, "Info@A.B.Example.org");
    assert!(
        is("from src regex \"^\\[2001:db8:\" for any") && !is("from src regex \"^2001\" for any")
    );
    assert!(is("!from src regex \"^192\\.\" for any"));
    assert!(is("from any for domain regex { \"^x\", \"(a|b)\\.example\\.org$\" }"));
    // In any case, the pattern's and the text's.
    assert!(is("mail-from regex \"^ANN@MAIL[0-9]+\\.\" from any for any"));
    assert!(!is("mail-from regex \"^mail\" from any for any"));
    assert!(is("rcpt-to regex \"(?i)INFO@\" from any for any"));
    assert!(
        is("tag regex \"side$\" from any for any") && is("helo regex \"^\\[\" from any for any")
    );
    assert!(is("!helo regex { \"^$\", \"localhost\" } from any for any"));
    let socket = Facts { client: Client::Socket, ..session };
    assert!(holds("from src regex \"^local$\" for any", &socket, "x@y.example"));
}
