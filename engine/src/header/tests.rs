use super::*;

fn submission() -> Rewriter {
    Rewriter::submission(Submission {
        domain: "example.org".into(),
        date: "DATE".into(),
        masquerade: None,
        message_id: "<ID@example.org>".into(),
    })
}

/// The message rewritten, whole and in pieces of any length.
fn rewrite(make: impl Fn() -> Rewriter, message: &str) -> (String, u32) {
    let cut = |size: usize| {
        let (mut rewriter, mut out) = (make(), Vec::new());
        for run in message.as_bytes().chunks(size) {
            rewriter.push(run, &mut out);
        }
        rewriter.finish(&mut out);
        (String::from_utf8(out).unwrap(), rewriter.hops())
    };
    let whole = cut(message.len().max(1));
    for size in 1..20 {
        assert_eq!(cut(size), whole, "in pieces of {size}");
    }
    whole
}

fn submit(message: &str) -> String {
    rewrite(submission, message).0
}

#[test]
fn passing_changes_nothing_and_counts() {
    let message = "Received: a\r\n\tReceived: no\r\nX: Received: no\r\nreceived : b\r\nBcc: x\r\n\
                   Receivedx: no\r\nnot a field\r\nRECEIVED:c\r\nTo: a\r\n\r\nReceived: no\r\n";
    assert_eq!(rewrite(Rewriter::pass, message), (message.to_owned(), 3));
    for odd in ["", "\r\n", "x", "Received", "Received:", " Received: x\r\n", ":\r\n\r\n"] {
        assert_eq!(rewrite(Rewriter::pass, odd).0, odd);
    }
}

#[test]
fn a_hundred_hops_are_a_loop() {
    let mut rewriter = Rewriter::pass();
    let mut out = Vec::new();
    rewriter.push("Received: x\r\n".repeat(99).as_bytes(), &mut out);
    assert!(!rewriter.is_loop());
    rewriter.push(b"Received: x\r\n", &mut out);
    assert!(rewriter.is_loop());
}

#[test]
fn a_complete_message_stays_as_it_is() {
    let message =
        "Date: x\r\nMessage-id: <y>\r\nSubject: a\r\n b: c\r\nFrom: a@b\r\n\r\nTo: c\r\nBcc: d\r\n";
    assert_eq!(submit(message), message);
}

#[test]
fn what_is_missing_is_added_behind_the_header() {
    assert_eq!(
        submit("From: a@b\r\n\r\nx\r\n"),
        "From: a@b\r\nDate: DATE\r\nMessage-ID: <ID@example.org>\r\n\r\nx\r\n"
    );
    assert_eq!(
        submit("DATE : x\r\nSubject: y\r\n"),
        "DATE : x\r\nSubject: y\r\nMessage-ID: <ID@example.org>\r\n"
    );
    assert_eq!(submit("\r\nx\r\n"), "Date: DATE\r\nMessage-ID: <ID@example.org>\r\n\r\nx\r\n");
    assert_eq!(submit(""), "Date: DATE\r\nMessage-ID: <ID@example.org>\r\n");
}

#[test]
fn text_without_a_header_gets_one() {
    let header = "Date: DATE\r\nMessage-ID: <ID@example.org>\r\n\r\n";
    for text in [
        "Hello world\r\nTo: x\r\n",
        "Hello\r\n\r\nx\r\n",
        " x: y\r\n",
        ": x\r\n",
        "h\u{e9}: x\r\n",
        "x",
    ] {
        assert_eq!(submit(text), format!("{header}{text}"));
    }
    let broken = submit("Subject: x\r\nhello world\r\n\r\nx\r\n");
    assert_eq!(broken, format!("Subject: x\r\n{header}hello world\r\n\r\nx\r\n"));
}

#[test]
fn bcc_goes_with_its_continuations() {
    let rest = "Date: x\r\nMessage-ID: y\r\n";
    assert_eq!(
        submit(&format!(
            "Bcc: a@b,\r\n c@d\r\n\te@f\r\n{rest}bcc : g\r\nX-Bcc: h\r\n\r\nBcc: i\r\n"
        )),
        format!("{rest}X-Bcc: h\r\n\r\nBcc: i\r\n")
    );
    assert_eq!(submit(&format!("{rest}BCC: a\r\n")), rest);
}

#[test]
fn addresses_get_a_domain() {
    for (before, after) in [
        ("bob", "bob@example.org"),
        ("bob, alice@x , carol", "bob@example.org, alice@x , carol@example.org"),
        ("Bob Smith <bob>", "Bob Smith <bob@example.org>"),
        ("\"Smith, Bob\" < bob >,b", "\"Smith, Bob\" < bob@example.org >,b@example.org"),
        ("<bob> (The (big) Bob, \\) him)", "<bob@example.org> (The (big) Bob, \\) him)"),
        ("bob (Bob),\r\n\tcarol (C)", "bob@example.org (Bob),\r\n\tcarol@example.org (C)"),
        ("\"b b\"", "\"b b\"@example.org"),
        ("<\"b>b\">", "<\"b>b\"@example.org>"),
        ("b.c+d", "b.c+d@example.org"),
        ("jürgen", "jürgen@example.org"),
        ("(only) bob", "(only) bob@example.org"),
    ] {
        let field = |name: &str, value: &str| {
            format!("{name}: {value}\r\nDate: x\r\nMessage-ID: y\r\n\r\n")
        };
        for name in ["From", "to", "CC"] {
            assert_eq!(submit(&field(name, before)), field(name, after));
        }
        assert_eq!(submit(&field("Reply-To", before)), field("Reply-To", before));
    }
}

#[test]
fn what_is_no_address_is_left_alone() {
    for value in [
        "",
        ",",
        " , ,",
        "<>",
        "Bob Smith",
        "bob@",
        "@bob",
        "a@b",
        "<a@b>",
        "<@x:bob>",
        "undisclosed-recipients:;",
        "group: bob, carol; ",
        "g: \"x;\" (;) a, b;",
        "bob <carol",
        "\"bob",
        "bob (carol",
        "<bob> <carol>",
        "a..b",
        ".a",
        "b[o]b",
        "b\\ob",
        "<b o b>",
        ";",
        ")",
        ">",
        "b)b",
        "\\",
        "\"\\",
        "(\\",
    ] {
        let message = format!("Date: x\r\nMessage-ID: y\r\nTo: {value}\r\n\r\n");
        assert_eq!(submit(&message), message);
    }
    let group = submit("Date: x\r\nMessage-ID: y\r\nTo: g: bob;, carol\r\n\r\n");
    assert_eq!(group, "Date: x\r\nMessage-ID: y\r\nTo: g: bob;, carol@example.org\r\n\r\n");
}

#[test]
fn a_field_too_long_to_hold_passes() {
    let long =
        format!("Date: x\r\nMessage-ID: y\r\nTo: {}bob\r\n\r\nx\r\n", "bob,\r\n ".repeat(10_000));
    assert_eq!(submit(&long), long);
    let name = format!("{}: x\r\n\r\n", "n".repeat(1024));
    assert!(submit(&name).ends_with(&format!("\r\n\r\n{name}")), "no field, so the body");
}

#[test]
fn noise() {
    let mut seed = 0x9E37_79B9_7F4A_7C15u64;
    let words: Vec<&str> =
        "To: |Bcc:|Received:|bob|,|<|>|(|)|\"|\\|:|;|\r\n|\r\n\r\n| |\t|@|\n|\r|ü"
            .split('|')
            .collect();
    for _ in 0..2000 {
        let mut message = String::from("To: ");
        for _ in 0..30 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            message.push_str(words[(seed >> 20) as usize % words.len()]);
        }
        let _ = submit(&message);
        assert_eq!(rewrite(Rewriter::pass, &message).0, message);
    }
}

#[test]
fn from_gets_another_address() {
    let masquerade = |message: &str| {
        let make = || {
            Rewriter::submission(Submission {
                domain: "example.org".into(),
                date: "DATE".into(),
                masquerade: Some("me@a.example".into()),
                message_id: "<ID@example.org>".into(),
            })
        };
        let complete =
            format!("{message}Date: x\r\nMessage-ID: <y>\r\nTo: joe\r\n\r\nFrom: x@y\r\n");
        let rewritten = rewrite(make, &complete).0;
        let end = "Date: x\r\nMessage-ID: <y>\r\nTo: joe@example.org\r\n\r\nFrom: x@y\r\n";
        rewritten.strip_suffix(end).expect("only From changes").to_owned()
    };
    for (from, becomes) in [
        ("From: x@y.example\r\n", "From: me@a.example\r\n"),
        ("from :x\r\n", "from :me@a.example\r\n"),
        ("From: \"A, B\" <x@y>\r\n", "From: \"A, B\" <me@a.example>\r\n"),
        ("From: A B\r\n <x@y> (c, <d>)\r\n", "From: A B\r\n <me@a.example> (c, <d>)\r\n"),
        ("From: x@y (A)\r\n", "From: me@a.example (A)\r\n"),
        ("From: <>\r\n", "From: <me@a.example>\r\n"),
        ("From: \"<boss@y>\" <x@y>\r\n", "From: \"<boss@y>\" <me@a.example>\r\n"),
        // What might show somebody else's address is not kept.
        ("From: x@y, boss@y\r\n", "From: me@a.example\r\n"),
        ("From: A <x@y> <boss@y>\r\n", "From: me@a.example\r\n"),
        ("From: A <x@y> boss@y\r\n", "From: me@a.example\r\n"),
        ("From: all: x@y, z@y;\r\n", "From: me@a.example\r\n"),
        ("From: A <x@y\r\n", "From: me@a.example\r\n"),
        ("From: A (<x@y>\r\n", "From: me@a.example\r\n"),
        ("From: two words\r\n", "From: me@a.example\r\n"),
        ("From:\r\n", "From: me@a.example\r\n"),
        ("From: x\r\nFrom: <y>\r\n", "From: me@a.example\r\nFrom: <me@a.example>\r\n"),
        ("Sender: x@y\r\nX-From: z@y\r\n", "Sender: x@y\r\nX-From: z@y\r\n"),
    ] {
        assert_eq!(masquerade(from), becomes, "{from:?}");
    }
    // One that is too long to be held back does not get past it.
    let long = format!("From: <x@y>{}\r\n", ",<z@y>".repeat(20_000));
    assert_eq!(masquerade(&long), "From: me@a.example\r\n");
}
