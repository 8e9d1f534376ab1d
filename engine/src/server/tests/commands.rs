use super::*;

const EHLO: &str = "250-mx.example Hello client.example [192.0.2.1], pleased to meet you
250-PIPELINING
250-8BITMIME
250-ENHANCEDSTATUSCODES
250-SIZE 36700160
250-DSN
250-CHUNKING
250-SMTPUTF8
250 HELP
";

#[test]
fn a_message() {
    let mut play = Play::new(params(), peer(), None);
    assert_eq!(play.say(""), "220 mx.example ESMTP OpenSMTPD\n");
    assert_eq!(play.say("EHLO client.example\r\n"), EHLO);
    assert_eq!(play.say("MAIL FROM:<a@b.example> SIZE=3\r\n"), "250 2.0.0 Ok\n");
    assert_eq!(
        play.say("RCPT TO:<c@d.example>\r\n"),
        "250 2.1.5 Destination address valid: Recipient ok\n"
    );
    assert_eq!(play.say("DATA\r\n"), "354 Enter mail, end with \".\" on a line by itself\n");
    assert_eq!(play.say("x\r\n"), "");
    assert_eq!(play.say(".\r\n"), "250 2.0.0 00000001 Message accepted for delivery\n");
    assert_eq!(play.say("QUIT\r\n"), "221 2.0.0 Bye\n");
    assert_eq!(play.rest, Rest::Closed);
    assert_eq!(
        play.told,
        [
            "connected",
            "- => 220 mx.example ESMTP OpenSMTPD",
            "hello client.example true",
            &format!("EHLO client.example => {}", EHLO.trim_end().replace('\n', "|")),
            "mail <a@b.example> Some(3) false",
            "MAIL FROM:<a@b.example> SIZE=3 => 250 2.0.0 Ok",
            "rcpt <c@d.example> None",
            "RCPT TO:<c@d.example> => 250 2.1.5 Destination address valid: Recipient ok",
            "data",
            "DATA => 354 Enter mail, end with \".\" on a line by itself",
            "body \"x\\r\\n\"",
            "end 3",
            ". => 250 2.0.0 00000001 Message accepted for delivery",
            "QUIT => 221 2.0.0 Bye",
        ]
    );
    assert!(!play.session.early_talker());
}

#[test]
fn replies_are_told_as_wanted() {
    for (report, told) in [(Report::Nothing, 0), (Report::Failures, 2), (Report::All, 4)] {
        let mut play = Play::greeted(Params { report, ..params() });
        play.send("NOOP\r\nFOO\r\nNOOP\r\nDATA\r\n");
        assert_eq!(play.told.len(), told, "{report:?}");
    }
}

#[test]
fn each_command_before_its_time() {
    let mut play = Play::new(params(), peer(), None);
    play.send("");
    for command in ["MAIL FROM:<a@b>", "RCPT TO:<a@b>", "STARTTLS", "AUTH PLAIN", "DATA"] {
        assert_eq!(
            play.say(format!("{command}\r\n")),
            "503 5.5.1 Invalid command: Command not allowed at this point.\n"
        );
    }
    assert_eq!(
        play.say("BDAT 4\r\nQUIT"),
        "503 5.5.1 Invalid command: Command not allowed at this point.\n"
    );
    assert_eq!(play.say("RSET\r\n"), "250 2.0.0 Reset state\n");
    assert_eq!(play.say("NOOP x\r\n"), "250 2.0.0 Ok\n");
    assert_eq!(play.rest, Rest::Wait(Wait::Input));
}

#[test]
fn commands_at_any_time() {
    let mut play = Play::greeted(params());
    assert_eq!(
        play.say("VRFY x\r\n"),
        "252 2.5.2 Cannot VRFY user, but will accept message and attempt delivery\n"
    );
    assert_eq!(play.say("EXPN x\r\n"), "502 5.5.1 Invalid command: Command not implemented\n");
    assert_eq!(play.say("ETRN x\r\n"), "500 5.5.1 Invalid command: Command unrecognized\n");
    assert_eq!(play.say("\r\n"), "500 5.5.1 Invalid command: Command unrecognized\n");
    assert_eq!(
        play.say("RSET x\r\n"),
        "500 5.5.4 Invalid command arguments: command does not accept arguments.\n"
    );
    let help = play.say("HELP x\r\n");
    assert!(help.starts_with("214-2.0.0 This is Hermes 0."), "{help}");
    assert!(help.ends_with("\n214 2.0.0 End of HELP info\n"), "{help}");
    assert_eq!(play.say("noop  \r\n"), "250 2.0.0 Ok\n");
}

#[test]
fn a_greeting_again_is_a_reset() {
    let mut play = Play::mail(params());
    assert_eq!(play.say("EHLO client.example\r\n"), EHLO);
    assert_eq!(play.told[..2], ["reset", "hello client.example true"]);
    assert!(play.say("RCPT TO:<a@b>\r\n").starts_with("503 "));
    play.send("MAIL FROM:<>\r\n");
    assert_eq!(play.say("HELO x\r\n"), "250 mx.example Hello x [192.0.2.1], pleased to meet you\n");
    assert!(!play.session.esmtp());
    // A name that is refused resets nothing.
    play.send("MAIL FROM:<>\r\n");
    assert_eq!(play.say("EHLO \r\n"), "501 5.5.1 Invalid command: EHLO requires domain name\n");
    assert!(play.say("RCPT TO:<a@b>\r\n").starts_with("250 "));
}

#[test]
fn rset_ends_a_transaction_once() {
    let mut play = Play::mail(params());
    play.send("RSET\r\nRSET\r\n");
    assert_eq!(
        play.told,
        ["reset", "RSET => 250 2.0.0 Reset state", "RSET => 250 2.0.0 Reset state"]
    );
}

#[test]
fn arguments_of_mail_and_rcpt() {
    let mut play = Play::greeted(params());
    for (line, reply) in [
        ("MAIL", "501 5.5.4 Invalid command arguments: Syntax error"),
        ("MAIL FROM <a@b>", "501 5.5.4 Invalid command arguments: Syntax error"),
        ("MAIL FROM:a@b", "553 5.1.0 Sender address syntax error"),
        ("MAIL FROM:<a@b> FOO=\u{7}", "500 5.5.2 Syntax error: Control character in command"),
        (
            "MAIL FROM:<a@b> FOO=bar",
            "555 5.5.4 Invalid command arguments: Unsupported option FOO=bar",
        ),
        ("MAIL FROM:<a@b> RET=x", "501 5.5.4 Invalid command arguments: Bad value of option RET=x"),
        (
            "MAIL FROM:<a@b> SIZE=36700161",
            "552 5.3.4 Message too big for system: Transaction failed, message too big",
        ),
        (
            "MAIL FROM:<ä@b>",
            "553 5.6.7 Non-ASCII addresses not permitted: SMTPUTF8 parameter missing",
        ),
        ("MAIL FROM:<no@b>", "530 5.7.0 Sender rejected"),
        ("MAIL FROM: <@r,@s:a@b> SIZE=36700160  ", "250 2.0.0 Ok"),
        ("MAIL FROM:<a@b>", "503 5.5.1 Invalid command: Command not allowed at this point."),
    ] {
        play.session.failures = 0;
        assert_eq!(play.say(format!("{line}\r\n")), format!("{reply}\n"), "{line}");
    }
    for (line, reply) in [
        ("DATA", "503 5.5.4 Invalid command arguments: No recipient specified"),
        ("DATA x", "500 5.5.4 Invalid command arguments: command does not accept arguments."),
        ("RCPT FROM:<a@b>", "501 5.5.4 Invalid command arguments: Syntax error"),
        ("RCPT TO:<>", "501 5.1.3 Recipient address syntax error"),
        (
            "RCPT TO:<ä@b>",
            "553 5.6.7 Non-ASCII addresses not permitted: SMTPUTF8 parameter missing",
        ),
        (
            "RCPT TO:<a@b> NOTIFY=NEVER,DELAY",
            "553 5.5.4 NOTIFY option NEVER cannot be combined with other options",
        ),
        ("RCPT TO:<a@b> ORCPT=x", "553 5.5.4 ORCPT address syntax error"),
        ("RCPT TO:<no@b>", "550 5.1.1 Invalid recipient"),
        ("RCPT TO:<a@b> NOTIFY=DELAY", "250 2.1.5 Destination address valid: Recipient ok"),
        ("rcpt to: <postmaster>", "250 2.1.5 Destination address valid: Recipient ok"),
    ] {
        play.session.failures = 0;
        assert_eq!(play.say(format!("{line}\r\n")), format!("{reply}\n"), "{line}");
    }
    let told: Vec<_> = play.told.iter().filter(|line| line.starts_with("rcpt <")).collect();
    assert_eq!(told.len(), 3);
    assert!(told[1].starts_with("rcpt <a@b> Some("));
    // NOTIFY is not inherited.
    assert_eq!(told[2], "rcpt <postmaster@mx.example> None");
}

#[test]
fn smtputf8_covers_the_transaction() {
    let mut play = Play::greeted(params());
    play.send("MAIL FROM:<jürgen@bücher.example> SMTPUTF8\r\nRCPT TO:<ä@b>\r\nRSET\r\n");
    play.send("MAIL FROM:<a@b>\r\n");
    assert!(play.told.contains(&"mail <jürgen@xn--bcher-kva.example> None true".to_owned()));
    assert!(play.told.contains(&"rcpt <ä@b> None".to_owned()));
    assert!(play.say("RCPT TO:<ä@b>\r\n").starts_with("553 5.6.7 "));
}

#[test]
fn limits_of_recipients_and_mails() {
    let mut play = Play::greeted(Params { max_recipients: 2, max_mails: 2, ..params() });
    play.send("MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nRCPT TO:<a@b>\r\n");
    for _ in 0..30 {
        // Not a failure: the client is to go on with the two.
        assert_eq!(
            play.say("RCPT TO:<a@b>\r\n"),
            "452 4.5.3 Too many recipients: Too many recipients\n"
        );
    }
    play.send("DATA\r\n");
    play.send(".\r\n");
    for _ in 0..2 {
        play.send("MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\n");
        play.send(".\r\n");
    }
    assert!(
        play.say("MAIL FROM:<a@b>\r\n")
            .starts_with("452 4.5.3 Too many recipients: Too many messages sent")
    );
}

#[test]
fn pipelining() {
    let mut play = Play::greeted(params());
    let replies = play.say(
        "MAIL FROM:<a@b>\r\nRCPT TO:<no@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\n\
         MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n.\r\nQUIT\r\n",
    );
    let codes: Vec<_> = replies.lines().map(|line| &line[..3]).collect();
    assert_eq!(codes, ["250", "550", "250", "354", "250", "250", "250", "354", "250", "221"]);
}

#[test]
fn synchronisation() {
    const LOST: &str = "503 5.5.0 Invalid command: Pipelining not allowed here\n";
    let mut play = Play::new(params(), peer(), None);
    play.send("");
    assert_eq!(play.say("EHLO x\r\nMAIL FROM:<a@b>\r\n"), LOST);
    assert_eq!(play.rest, Rest::Closed);
    assert_eq!(play.told.last().unwrap(), &format!("- => {}", LOST.trim_end()));

    // Content behind a DATA that got no 354 is no commands.
    for line in ["DATA", "RCPT TO:<no@b>\r\nDATA"] {
        let mut play = Play::greeted(params());
        play.send("MAIL FROM:<a@b>\r\n");
        let replies = play.say(format!("{line}\r\nRSET\r\n.\r\n"));
        assert!(replies.ends_with(&format!(
            "503 5.5.4 Invalid command arguments: No recipient specified\n{LOST}"
        )));
        assert_eq!(play.rest, Rest::Closed);
    }
    let mut play = Play::mail(params());
    play.hold = true;
    play.send("DATA\r\nMAIL FROM:<evil@b>\r\n");
    play.answer(reply::TEMPORARY_FAILURE);
    assert_eq!(play.text(), format!("451 4.3.0 Temporary failure\n{LOST}"));
    assert_eq!(play.rest, Rest::Closed);

    // Whoever said HELO was not offered PIPELINING.
    let mut play = Play::new(params(), peer(), None);
    play.send("");
    play.send("HELO x\r\n");
    play.send("MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\n");
    play.out.clear();
    assert_eq!(play.say("x\r\n.\r\nMAIL FROM:<evil@b>\r\n"), LOST);
    assert_eq!(play.told[play.told.len() - 2], "reset");
    assert!(!play.told.iter().any(|line| line.starts_with("end")));

    let secure = Params { auth: Demand::Offered, ..params() };
    let mut play = Play::new(secure, peer(), Some(TlsInfo::usual()));
    play.send("");
    play.send("EHLO x\r\n");
    assert_eq!(play.say("AUTH LOGIN\r\ndXNlcg==\r\n"), LOST);
}

#[test]
fn early_talkers_are_known() {
    let mut play = Play::new(params(), peer(), None);
    let replies = play.say("EHLO client.example\r\n");
    assert!(replies.starts_with("220 ") && replies.ends_with(EHLO));
    assert!(play.session.early_talker());
}

#[test]
fn who_is_not_welcome_can_only_quit() {
    let mut play = Play::new(params(), peer(), None);
    play.hold = true;
    play.send("");
    play.answer(Reply::new(554, Some((7, 1)), "go away"));
    assert_eq!(
        play.say("EHLO x\r\n"),
        "503 5.5.1 Invalid command: Command not allowed at this point.\n"
    );
    assert_eq!(
        play.say("BDAT 3\r\nabc"),
        "503 5.5.1 Invalid command: Command not allowed at this point.\n"
    );
    assert_eq!(
        play.say("EHLO x\r\n"),
        "503 5.5.1 Invalid command: Command not allowed at this point.\n"
    );
    assert_eq!(play.say("QUIT\r\n"), "221 2.0.0 Bye\n");
}

#[test]
fn other_programs_are_hung_up_on() {
    for line in ["GET / HTTP/1.1", "Host: x", "POST /", "Received: from"] {
        let mut play = Play::greeted(params());
        assert_eq!(
            play.say(format!("{line}\r\nMAIL FROM:<a@b>\r\n")),
            "421 4.7.0 Not an SMTP command\n"
        );
        assert_eq!(play.told, [format!("{line} => 421 4.7.0 Not an SMTP command")]);
        assert_eq!(play.rest, Rest::Closed);
    }
}

#[test]
fn line_ends() {
    let mut play = Play::greeted(params());
    assert_eq!(
        play.say("MAIL FROM:<a@b>\nRSET\r\n"),
        "500 5.5.2 Syntax error: Line must end in CR LF\n"
    );
    assert_eq!((play.rest, play.told.len()), (Rest::Closed, 1));

    let mut play = Play::greeted(params());
    assert_eq!(play.say("NOOP a\rb\r\n"), "500 5.5.2 Syntax error: Control character in command\n");
    assert_eq!(play.rest, Rest::Wait(Wait::Input));

    let local = Params { stray_newline: StrayNewline::Normalize, ..params() };
    let mut play = Play::new(local.clone(), Peer::Local, None);
    play.send("");
    assert!(play.say("EHLO x\n").starts_with("250-"));
    let mut play = Play::greeted(local);
    assert!(play.say("NOOP\n").starts_with("500 5.5.2 "));
}

#[test]
fn command_lines_are_bounded() {
    let line = |length: usize| format!("NOOP {}\r\n", "x".repeat(length - 5));
    let mut play = Play::greeted(params());
    assert_eq!(play.say(line(2047)), "250 2.0.0 Ok\n");
    assert_eq!(play.say(line(2048)), "500 5.0.0 Command line too long\n");
    assert_eq!(play.rest, Rest::Closed);
    let mut play = Play::greeted(params());
    assert_eq!(play.say("x".repeat(2048)), "");
    assert_eq!(play.say("x"), "500 5.0.0 Command line too long\n");
    assert_eq!(play.told, ["- => 500 5.0.0 Command line too long"]);
}

#[test]
fn failures_without_progress_end_the_session() {
    let mut play = Play::greeted(params());
    for _ in 0..9 {
        assert_eq!(play.say("FOO\r\n"), "500 5.5.1 Invalid command: Command unrecognized\n");
    }
    // A greeting is progress once only.
    play.send("EHLO x\r\n");
    let last =
        "500 5.5.1 Invalid command: Command unrecognized\n421 4.7.0 Too many failed commands\n";
    assert_eq!(play.say("FOO\r\nNOOP\r\n"), last);
    assert_eq!(play.rest, Rest::Closed);

    let mut play = Play::greeted(params());
    play.send("MAIL FROM:<a@b>\r\n");
    for _ in 0..30 {
        play.send("RCPT TO:<no@b>\r\n".repeat(9)).send("RCPT TO:<yes@b>\r\n");
        play.out.clear();
    }
    assert_eq!(play.rest, Rest::Wait(Wait::Input));
}

#[test]
fn a_peer_that_never_reads_costs_one_buffer() {
    let mut play = Play::greeted(params());
    play.send("NOOP\r\n".repeat(100_000));
    assert_eq!(play.rest, Rest::Wait(Wait::Output));
    assert!(play.out.len() < limits::OUTPUT + 20);
    let waiting = play.input.len();
    play.out.clear();
    play.run();
    assert!(play.input.len() < waiting);
}

#[test]
fn filters_are_asked() {
    let ask = Ask { starttls: false, rset: true, noop: true, quit: true };
    let mut play = Play::mail(Params { ask, ..params() });
    play.hold = true;
    play.send("NOOP x\r\n");
    play.answer(Reply::new(250, None, "not used")).send("RSET\r\n");
    play.answer(Reply::new(550, None, "no")).send("RSET\r\n");
    play.answer(reply::OK).send("QUIT\r\n");
    play.answer(Reply::new(550, None, "no"));
    assert_eq!(play.text(), "250 2.0.0 Ok\n550 no\n250 2.0.0 Reset state\n550 no\n");
    assert_eq!(play.told.iter().filter(|line| *line == "reset").count(), 1);
    assert_eq!(play.rest, Rest::Closed);
}

#[test]
fn answers_are_checked() {
    let mut play = Play::mail(params());
    play.hold = true;
    play.send("RCPT TO:<a@b>\r\n");
    let ticket = play.by_hand.unwrap();
    let (out, now) = (&mut Vec::new(), play.now);
    let other = Ticket { serial: ticket.serial - 1, ..ticket };
    assert_eq!(play.session.answer(other, reply::OK.into(), out, now), Err(AnswerError::Stale));
    let other = Ticket { session: 2, ..ticket };
    assert_eq!(play.session.answer(other, reply::OK.into(), out, now), Err(AnswerError::Stale));
    let wrong = reply::SEND_DATA.into();
    assert_eq!(play.session.answer(ticket, wrong, out, now), Err(AnswerError::Class));
    assert!(out.is_empty());
    play.answer(reply::RCPT_OK);
    let late = play.session.answer(ticket, reply::OK.into(), out, now);
    assert_eq!(late, Err(AnswerError::Stale));
}

#[test]
fn an_answer_may_hang_up() {
    for (code, close) in [(421, false), (550, true), (250, true)] {
        let mut play = Play::greeted(params());
        play.hold = true;
        play.send("MAIL FROM:<a@b>\r\n");
        let answer = Answer { reply: Reply::new(code, None, "x"), close };
        let ticket = play.by_hand.take().unwrap();
        play.session.answer(ticket, answer, &mut play.out, play.now).unwrap();
        play.run();
        assert_eq!((play.text(), play.rest), (format!("{code} x\n"), Rest::Closed));
    }
}
