//! From a recipient to those who get the message.

use crate::machine::{Lists, People, config, facts, load_octets, mailbox};
use smtpd_config::{Account, Agent, Client, Config, Expansion, Facts, User};
use std::sync::Arc;

const PEOPLE: People = People(&["joe", "ann", "bob", "vmail", "joe.doe"]);

/// Who gets it: `user=dest`, `relay=dest`, `owner|command`, `owner>file`, the reply, or `later`.
fn to(config: &Config, rcpt: &str) -> Vec<String> {
    to_from(config, &facts("127.0.0.1"), rcpt)
}

fn to_from(config: &Config, facts: &Facts<'_>, rcpt: &str) -> Vec<String> {
    shown(config.expand(facts, &mailbox(rcpt), &PEOPLE))
}

fn shown(expansion: Expansion) -> Vec<String> {
    let name = |user: &Option<Arc<User>>| {
        user.as_ref().map_or("daemon".to_owned(), |user| user.name.to_string())
    };
    match expansion {
        Expansion::Deliver(recipients) => recipients
            .iter()
            .map(|recipient| match &recipient.agent {
                Agent::Local { user, .. } => format!("{user}={}", recipient.dest),
                Agent::Relay => format!("relay={}", recipient.dest),
                Agent::Command { command, runs_as } => format!("{}|{command}", name(runs_as)),
                Agent::File { path, runs_as } => format!("{}>{path}", name(runs_as)),
            })
            .collect(),
        Expansion::Refuse(reply) => vec![reply.to_string()],
        Expansion::Later => vec!["later".to_owned()],
    }
}

fn aliases(table: &str) -> Config {
    config(&format!(
        "table t {{ {table} }}\n\
         action \"local\" maildir alias <t>\n\
         action \"out\" relay\n\
         match for local action \"local\"\n\
         match from local for any action \"out\"\n"
    ))
}

#[test]
fn a_user_without_an_alias_gets_it() {
    let config = aliases("root = joe");
    assert_eq!(to(&config, "joe@localhost"), ["joe=joe@localhost"]);
    assert_eq!(to(&config, "Joe@localhost"), ["joe=Joe@localhost"]);
    assert_eq!(to(&config, "joe+tag@localhost"), ["joe=joe+tag@localhost"]);
    assert_eq!(to(&config, "x@else.example"), ["relay=x@else.example"]);
}

#[test]
fn refusals_have_the_texts_of_the_reference() {
    let config = aliases(
        "gone = \"error:550 5.1.6 moved\", none = \",\", pipe = \"|x\", full = \"error:450 full\"",
    );
    let one = |rcpt: &str| to(&config, rcpt).concat();
    assert_eq!(one("nobody@localhost"), "550 5.1.1 Invalid recipient: <nobody@localhost>");
    assert_eq!(one("broken@localhost"), "451 4.3.0 Temporary failure: <broken@localhost>");
    assert_eq!(one("gone@localhost"), "550 5.1.6 moved: <gone@localhost>");
    assert_eq!(one("full@localhost"), "450 full: <full@localhost>");
    assert_eq!(one("pipe@localhost"), "daemon|x");
    let pipe = config.expand(&facts("127.0.0.1"), &mailbox("pipe@localhost"), &PEOPLE);
    let refused = "451 4.3.0 Temporary failure: <pipe@localhost>";
    assert_eq!(shown(pipe.without_programs(&mailbox("pipe@localhost"))).concat(), refused);
    assert_eq!(one("later@localhost"), "later");
    assert_eq!(one("none@localhost"), "550 5.1.1 Invalid recipient: <none@localhost>");
    let outside = to_from(&config, &facts("203.0.113.9"), "joe@localhost").concat();
    assert_eq!(outside, "550 5.1.1 Invalid recipient: <joe@localhost>");
}

#[test]
fn an_alias_with_a_mistake_is_a_failure_for_now() {
    let text = b"action \"a\" maildir alias <t>\nmatch for local action \"a\"\n";
    let text = [b"table t file:/t\n".as_slice(), text].concat();
    let mistakes = load_octets(&text, &[("/t", b"list: a b\n")]).unwrap_err();
    assert!(mistakes.starts_with("/t:1: alias list:"), "{mistakes}");
}

#[test]
fn aliases_lead_on() {
    let config = aliases(
        "root = admin, admin = \"joe, ann@localhost, x@else.example, root\", \
         \"joe+list\" = bob, dot = Joe.Doe",
    );
    assert_eq!(
        to(&config, "root@localhost"),
        ["joe=root@localhost", "ann=ann@localhost", "relay=x@else.example"]
    );
    assert_eq!(to(&config, "joe+list@localhost"), ["bob=joe+list@localhost"]);
    assert_eq!(to(&config, "admin+x@localhost").len(), 3);
    assert_eq!(to(&config, "dot@localhost"), ["joe.doe=dot@localhost"]);
}

#[test]
fn a_name_in_its_own_alias_stands_for_the_user() {
    let config = aliases("joe = \"joe, ann\", bob = \"\\bob\"");
    assert_eq!(to(&config, "joe@localhost"), ["joe=joe@localhost", "ann=joe@localhost"]);
    assert_eq!(to(&config, "bob@localhost"), ["bob=bob@localhost"]);
}

#[test]
fn circles_and_depth_end() {
    let config = aliases("a = b, b = a, c = \"c@localhost\", d = \"d@localhost, joe\"");
    let problem = "524 5.2.4 Mailing list expansion problem: ";
    for rcpt in ["a@localhost", "c@localhost"] {
        assert_eq!(to(&config, rcpt).concat(), format!("{problem}<{rcpt}>"));
    }
    assert_eq!(to(&config, "d@localhost"), ["joe=d@localhost"]);
    let chain = |length: usize| {
        let links: Vec<String> = (0..length).map(|n| format!("a{n} = a{}", n + 1)).collect();
        aliases(&format!("{}, a{length} = joe", links.join(", ")))
    };
    assert_eq!(to(&chain(7), "a0@localhost"), ["joe=a0@localhost"]);
    assert_eq!(to(&chain(9), "a0@localhost").concat(), format!("{problem}<a0@localhost>"));
}

#[test]
fn who_is_reached_twice_gets_it_once() {
    let config = aliases("list = \"joe, a, b\", a = joe, b = \"joe, ann\"");
    assert_eq!(to(&config, "list@localhost"), ["joe=list@localhost", "ann=list@localhost"]);
}

#[test]
fn one_failure_refuses_all() {
    let config = aliases("list = \"joe, nobody\", far = \"joe, x@refused.example\"");
    assert_eq!(
        to(&config, "list@localhost").concat(),
        "550 5.1.1 Invalid recipient: <list@localhost>"
    );
    let config = self::config(
        "table t { far = \"joe, x@refused.example\" }\naction \"a\" maildir alias <t>\nmatch for local action \"a\"\n",
    );
    assert_eq!(
        to(&config, "far@localhost").concat(),
        "550 5.1.1 Invalid recipient: <far@localhost>"
    );
}

/// What an alias leads to is not from the client any more.
#[test]
fn behind_an_alias_from_is_local() {
    let config = config(
        "table t { joe = \"x@else.example\" }\n\
         action \"local\" maildir alias <t>\naction \"out\" relay\n\
         match from any for local action \"local\"\n\
         match from src 203.0.113.0/24 for any reject\n\
         match from local for any action \"out\"\n",
    );
    let facts = facts("203.0.113.9");
    assert_eq!(to_from(&config, &facts, "joe@localhost"), ["relay=x@else.example"]);
    assert!(to_from(&config, &facts, "x@else.example")[0].starts_with("550"));
}

#[test]
fn every_virtual_recipient_must_be_in_the_map() {
    let config = config(
        "table v { \"info@a.example\" = joe, \"@b.example\" = ann, \"joe+x@a.example\" = bob, \
         sales = \"joe, ann\", joe = joe }\n\
         table all { \"@\" = bob, bob = bob }\n\
         action \"v\" maildir virtual <v>\naction \"all\" maildir virtual <all>\n\
         match for domain { a.example, b.example } action \"v\"\n\
         match for domain c.example action \"all\"\n",
    );
    assert_eq!(to(&config, "Info@A.example"), ["joe=Info@A.example"]);
    assert_eq!(to(&config, "info+tag@a.example"), ["joe=info+tag@a.example"]);
    assert_eq!(to(&config, "any.thing@b.example"), ["ann=any.thing@b.example"]);
    assert_eq!(to(&config, "joe+x@a.example"), ["bob=joe+x@a.example"]);
    assert_eq!(to(&config, "sales@a.example").len(), 2);
    assert_eq!(
        to(&config, "ann@a.example").concat(),
        "524 5.2.4 Mailing list expansion problem: <ann@a.example>"
    );
    assert_eq!(to(&config, "x@c.example"), ["bob=x@c.example"]);
}

#[test]
fn users_come_from_the_system_a_table_or_anywhere() {
    let config = config(
        "table users { ann = \"7:8:/srv/ann\", bad = \"7:8:/srv/bad\" }\n\
         action \"table\" maildir userbase <users>\n\
         action \"any\" maildir ./mail/%{dest.user} userbase any\n\
         action \"as\" maildir user vmail userbase <users>\n\
         action \"nobody\" maildir user nobody\n\
         match for domain a.example action \"table\"\n\
         match for domain b.example action \"any\"\n\
         match for domain c.example action \"as\"\n\
         match for domain d.example action \"nobody\"\n",
    );
    let account =
        |action: &str, user: &str| config.account(config.action(action).unwrap(), user, &PEOPLE);
    let Account::User { user, runs_as } = account("table", "ann") else { panic!() };
    assert_eq!((user.uid, user.gid, runs_as.uid), (7, 8, 7));
    let Account::User { user, runs_as } = account("as", "ann") else { panic!() };
    assert_eq!((user.uid, runs_as.uid, &*runs_as.name), (7, 1003, "vmail"));
    assert_eq!(account("any", "who.ever"), Account::Own);
    assert_eq!(account("nobody", "joe"), Account::Failed);
    assert_eq!(
        to(&config, "joe@a.example").concat(),
        "550 5.1.1 Invalid recipient: <joe@a.example>"
    );
    assert_eq!(to(&config, "Who.Ever+tag@b.example"), ["who.ever=Who.Ever+tag@b.example"]);
    assert_eq!(
        to(&config, "+tag@b.example").concat(),
        "550 5.1.1 Invalid recipient: <+tag@b.example>"
    );
    assert_eq!(
        to(&config, "joe@d.example").concat(),
        "451 4.3.0 Temporary failure: <joe@d.example>"
    );
}

#[test]
fn the_delimiter_can_be_another() {
    let config =
        config("smtp sub-addr-delim \"-\"\naction \"a\" maildir\nmatch for local action \"a\"\n");
    assert_eq!(to(&config, "joe-list@localhost"), ["joe=joe-list@localhost"]);
    assert!(to(&config, "joe+list@localhost")[0].starts_with("550"));
}

#[test]
fn the_socket_is_local() {
    let config = aliases("root = joe");
    let facts = Facts { client: Client::Socket, ..facts("::1") };
    assert_eq!(to_from(&config, &facts, "root@localhost"), ["joe=root@localhost"]);
}

/// A list of thousands is one; a list that multiplies itself ends.
#[test]
fn long_lists_are_bounded() {
    let mut table = String::new();
    for level in 0..6 {
        let next: Vec<String> = (0..30).map(|n| format!("l{}x{n}@localhost", level + 1)).collect();
        for n in 0..30 {
            table += &format!("l{level}x{n}: {}\n", next.join(", "));
        }
    }
    for n in 0..30 {
        table += &format!("l6x{n}: joe\n");
    }
    let text = b"table t file:/t\naction \"a\" maildir alias <t>\nmatch for local action \"a\"\n";
    let config = load_octets(text, &[("/t", table.as_bytes())]).unwrap();
    assert_eq!(to(&config, "l0x0@localhost").len(), 30);
}

const LISTS: Lists = Lists {
    people: People(&["joe", "ann", "bob", "root", "eve", "max", "kim", "pat", "vmail"]),
    included: &[
        ("/list", "# members\nann, ann@localhost\n\nx@else.example\n:include:/list\n"),
        ("/nobody", "# nobody yet\n"),
        ("/circle", "round, bob\n"),
    ],
    forwards: &[
        ("joe", Some("\\joe, ann\n\"|/bin/x a, b\" # mine\n/var/mail/joe\n")),
        ("bob", Some("")),
        ("root", Some("|/bin/false")),
        ("eve", None),
        ("max", Some("kim\n")),
        ("kim", Some("max, x@else.example\n")),
        ("pat", Some("error:550 gone\n")),
        ("vmail", Some("a b\n")),
    ],
};

fn with_lists(delivery: &str, table: &str, rcpt: &str) -> Vec<String> {
    let config = config(&format!(
        "table t {{ {table} }}\naction \"local\" {delivery} alias <t>\naction \"out\" relay\n\
         match for local action \"local\"\nmatch from local for any action \"out\"\n"
    ));
    shown(config.expand(&facts("127.0.0.1"), &mailbox(rcpt), &LISTS))
}

#[test]
fn an_alias_may_include_a_list() {
    let table = "list = \":include:/list, bob\", empty = \":include:/nobody\", \
                 gone = \"include:/absent\", ring = \"include:/circle\", round = ring";
    let to = |rcpt: &str| with_lists("maildir", table, rcpt);
    assert_eq!(
        to("list@localhost"),
        ["ann=list@localhost", "ann=ann@localhost", "relay=x@else.example", "bob=list@localhost"]
    );
    assert_eq!(to("ring@localhost"), ["bob=ring@localhost"]);
    // An alias of nothing is none.
    for rcpt in ["empty@localhost", "gone@localhost"] {
        assert_eq!(to(rcpt).concat(), format!("550 5.1.1 Invalid recipient: <{rcpt}>"));
    }
    let aliases = aliases("list = \":include:/list\"");
    assert_eq!(self::to(&aliases, "list@localhost"), ["later"]);
}

#[test]
fn a_forward_is_followed() {
    let to = |rcpt: &str| with_lists("maildir", "list = \"joe, max\"", rcpt);
    let mine = ["joe=joe@localhost", "ann=joe@localhost", "joe|/bin/x a, b", "joe>/var/mail/joe"];
    assert_eq!(to("joe@localhost"), mine);
    assert_eq!(to("joe+tag@localhost").len(), 4);
    assert_eq!(to("bob@localhost"), ["bob=bob@localhost"]);
    // Two who forward to each other: the circle ends, and the one way out of it is taken.
    assert_eq!(to("max@localhost"), ["relay=x@else.example"]);
    assert_eq!(to("list@localhost").len(), 5);
    assert_eq!(to("pat@localhost").concat(), "550 gone: <pat@localhost>");
    let problem = "Mailing list expansion problem";
    assert_eq!(to("eve@localhost").concat(), format!("524 5.2.4 {problem}: <eve@localhost>"));
    assert_eq!(to("vmail@localhost").concat(), format!("424 4.2.4 {problem}: <vmail@localhost>"));
    // What root has written runs as root: no commands, no files.
    assert_eq!(to("root@localhost").concat(), "451 4.3.0 Temporary failure: <root@localhost>");
}

/// In whose name another delivers, there is no `.forward`.
#[test]
fn a_forward_of_somebody_else_is_not_followed() {
    assert_eq!(with_lists("maildir user vmail", "a = b", "joe@localhost"), ["joe=joe@localhost"]);
    assert!(with_lists("maildir user vmail", "a = b", "vmail@localhost")[0].starts_with("424"));
}

#[test]
fn some_actions_only_forward_or_expand() {
    let table = "list = \"max, x@b.example\", pipe = \"|x\", bad = \"error:550 gone\"";
    let to = |delivery: &str, rcpt: &str| with_lists(delivery, table, rcpt).concat();
    let starts = |text: String, code: &str| assert!(text.starts_with(code), "{text}");
    for delivery in ["forward-only", "expand-only"] {
        assert_eq!(to(delivery, "max@localhost"), "relay=x@else.example");
        assert_eq!(to(delivery, "list@localhost"), "relay=x@b.examplerelay=x@else.example");
    }
    starts(to("forward-only", "ann@localhost"), "424 4.2.4");
    starts(to("expand-only", "ann@localhost"), "524 5.2.4");
    for rcpt in ["joe@localhost", "pipe@localhost", "bad@localhost"] {
        starts(to("forward-only", rcpt), "451 4.3.0");
    }
    assert_eq!(to("expand-only", "pipe@localhost"), "daemon|x");
    starts(to("expand-only", "bad@localhost"), "550 gone");
}

/// What several lists lead to is reached once below each address, a command in each name.
#[test]
fn commands_and_files_are_reached_once() {
    let table = "list = \"a, b, |x\", a = \"|x, /f\", b = \"/f, c@localhost\", c = \"|x\"";
    assert_eq!(
        with_lists("maildir", table, "list@localhost"),
        ["daemon|x", "daemon>/f", "daemon|x"]
    );
}

#[test]
fn each_of_several_delimiters_begins_a_sub_address() {
    let config = config(
        "smtp sub-addr-delim \"+-\"\ntable t { joe-list = bob }\n\
         action \"a\" maildir alias <t>\nmatch for local mail-from ann action \"a\"\n",
    );
    let ann = mailbox("ann-x+y@a.example");
    let facts = Facts { sender: Some(&ann), ..facts("127.0.0.1") };
    let to = |rcpt: &str| to_from(&config, &facts, rcpt).concat();
    assert_eq!(to("joe+a-b@localhost"), "joe=joe+a-b@localhost");
    assert_eq!(to("joe-a+b@localhost"), "joe=joe-a+b@localhost");
    assert_eq!(to("joe-list@localhost"), "bob=joe-list@localhost");
}
