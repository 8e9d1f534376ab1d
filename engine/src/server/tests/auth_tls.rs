use super::*;

fn secure(auth: Demand) -> Play {
    let mut play = Play::new(Params { auth, ..params() }, peer(), Some(TlsInfo::usual()));
    play.send("");
    assert!(play.say("EHLO x\r\n").contains("\n250-AUTH PLAIN LOGIN\n"));
    play.out.clear();
    play.told.clear();
    play
}

#[test]
fn plain() {
    let mut play = secure(Demand::Required);
    assert_eq!(
        play.say("MAIL FROM:<a@b>\r\n"),
        "530 5.5.1 Invalid command: Must issue an AUTH command first\n"
    );
    assert_eq!(play.say("AUTH PLAIN AHVzZXIAYmFk\r\n"), "535 5.7.8 Authentication failed\n");
    assert_eq!(play.say("AUTH PLAIN AHVzZXIAcGFzcw==\r\n"), "235 2.0.0 Authentication succeeded\n");
    assert!(play.session.authenticated());
    assert_eq!(
        play.say("AUTH PLAIN AHVzZXIAcGFzcw==\r\n"),
        "503 5.5.1 Invalid command: Already authenticated\n"
    );
    assert_eq!(play.say("MAIL FROM:<a@b>\r\n"), "250 2.0.0 Ok\n");
    assert_eq!(
        play.told[1..5],
        [
            "auth user bad",
            "AUTH PLAIN (...) => 535 5.7.8 Authentication failed",
            "auth user pass",
            "AUTH PLAIN (...) => 235 2.0.0 Authentication succeeded",
        ]
    );
    assert_eq!(
        play.told[5],
        "AUTH PLAIN (...) => 503 5.5.1 Invalid command: Already authenticated"
    );
}

#[test]
fn plain_and_login_with_challenges() {
    let mut play = secure(Demand::Offered);
    assert_eq!(play.say("AUTH PLAIN\r\n"), "334 \n");
    assert_eq!(play.say("*\r\n"), "501 5.5.2 Syntax error: Syntax error\n");
    assert_eq!(play.say("AUTH LOGIN\r\n"), "334 VXNlcm5hbWU6\n");
    assert_eq!(play.say("dXNlcg==\r\n"), "334 UGFzc3dvcmQ6\n");
    assert_eq!(play.say("cGFzcw==\r\n"), "235 2.0.0 Authentication succeeded\n");
    assert_eq!(
        play.told,
        [
            "AUTH PLAIN (...) => 334",
            "AUTH PLAIN (...) => 501 5.5.2 Syntax error: Syntax error",
            "AUTH LOGIN (username) => 334 VXNlcm5hbWU6",
            "AUTH LOGIN (username) => 334 UGFzc3dvcmQ6",
            "auth user pass",
            "AUTH LOGIN (password) => 235 2.0.0 Authentication succeeded",
        ]
    );
    let mut play = secure(Demand::Offered);
    assert_eq!(play.say("auth login dXNlcg==\r\n"), "334 UGFzc3dvcmQ6\n");
    assert_eq!(play.say("cGFzcw\r\n"), "501 5.5.2 Syntax error: Syntax error\n");
}

#[test]
fn the_owner_may_challenge() {
    let mut play = secure(Demand::Offered);
    assert_eq!(play.say("AUTH PLAIN AGFzawBwYXNz\r\n"), "334 YQ==\n");
    assert_eq!(play.say("Yg==\r\n"), "235 2.0.0 Authentication succeeded\n");
    assert_eq!(play.told[2..], ["auth b", "AUTH (...) => 235 2.0.0 Authentication succeeded"]);
}

#[test]
fn mechanisms_and_times_that_are_refused() {
    let mut play = secure(Demand::Offered);
    assert_eq!(play.say("AUTH\r\n"), "501 5.5.4 Invalid command arguments: No parameters given\n");
    assert_eq!(
        play.say("AUTH CRAM-MD5\r\n"),
        "504 5.7.4 Security features not supported: AUTH method \"CRAM-MD5\" not supported\n"
    );
    assert_eq!(
        play.say("AUTH cGFzcw== x\r\n"),
        "504 5.7.4 Security features not supported: AUTH method not supported\n"
    );
    assert_eq!(
        play.told[2],
        "AUTH (...) => 504 5.7.4 Security features not supported: AUTH method not supported"
    );
    play.send("MAIL FROM:<a@b>\r\n");
    assert!(play.say("AUTH PLAIN\r\n").starts_with("503 5.5.1 "));
    let mut play = Play::greeted(Params { auth: Demand::Offered, ..params() });
    assert_eq!(play.say("AUTH PLAIN\r\n"), "503 5.5.1 Invalid command: Command not supported\n");
    let mut play = Play::new(Params { auth: Demand::Required, ..params() }, Peer::Local, None);
    play.send("");
    assert!(!play.say("EHLO x\r\n").contains("AUTH"));
    assert_eq!(play.say("AUTH PLAIN\r\n"), "503 5.5.1 Invalid command: Already authenticated\n");
    assert_eq!(play.say("MAIL FROM:<a@b>\r\n"), "250 2.0.0 Ok\n");
}

#[test]
fn credentials_are_never_told() {
    let mut welcome = secure(Demand::Offered);
    let mut refused = Play::new(params(), peer(), None);
    refused.hold = true;
    refused.send("");
    refused.answer(Reply::new(554, None, "no"));
    for play in [&mut welcome, &mut refused] {
        play.send("AUTH PLAIN c2VjcmV0\x07\r\n").send("auth x c2VjcmV0\r\n");
        play.send("AUTHPLAIN c2VjcmV0\r\n").send("AUTH PLAIN c2VjcmV0\n");
        assert_eq!(play.rest, Rest::Closed);
        assert!(play.told.iter().all(|line| !line.contains("c2Vj")), "{:?}", play.told);
    }
}

#[test]
fn starttls_forgets_what_was_said_in_the_clear() {
    let mut play = Play::new(
        Params { starttls: Demand::Required, auth: Demand::Offered, ..params() },
        peer(),
        None,
    );
    play.send("");
    let clear = play.say("EHLO x\r\n");
    assert!(clear.contains("\n250-STARTTLS\n") && !clear.contains("AUTH"));
    assert_eq!(
        play.say("MAIL FROM:<a@b>\r\n"),
        "530 5.5.1 Invalid command: Must issue a STARTTLS command first\n"
    );
    assert_eq!(
        play.say("STARTTLS now\r\n"),
        "501 5.5.4 Invalid command arguments: No parameters allowed\n"
    );
    assert_eq!(play.say("STARTTLS\r\nMAIL FROM:<evil@b>\r\n"), "220 2.0.0 Ready to start TLS\n");
    assert_eq!(
        play.told[play.told.len() - 2..],
        ["STARTTLS => 220 2.0.0 Ready to start TLS", "starttls"]
    );
    assert_eq!((play.rest, play.input.len()), (Rest::Wait(Wait::Answer), 0));
    play.session.tls_started(TlsInfo::usual(), play.now);
    assert_eq!(play.session.tls().unwrap().version, "TLSv1.3");
    assert!(play.say("MAIL FROM:<a@b>\r\n").starts_with("503 "), "the greeting is forgotten");
    let secure = play.say("EHLO x\r\n");
    assert!(!secure.contains("STARTTLS") && secure.contains("AUTH"));
    assert_eq!(play.say("STARTTLS\r\n"), "503 5.5.1 Invalid command: Channel already secured\n");
    assert_eq!(play.say("MAIL FROM:<a@b>\r\n"), "250 2.0.0 Ok\n");
    assert!(play.say("STARTTLS\r\n").starts_with("503 5.5.1 "));
}

#[test]
fn starttls_that_is_not_there() {
    let mut play = Play::greeted(params());
    assert_eq!(play.say("STARTTLS\r\n"), "503 5.5.1 Invalid command: Command not supported\n");
}

#[test]
fn starttls_may_be_asked_about() {
    let ask = Ask { starttls: true, ..Ask::default() };
    let mut play = Play::greeted(Params { starttls: Demand::Offered, ask, ..params() });
    play.hold = true;
    play.send("STARTTLS\r\n");
    play.answer(reply::TLS_UNAVAILABLE).send("STARTTLS\r\nNOOP\r\n");
    assert_eq!(play.rest, Rest::Wait(Wait::Answer));
    play.answer(reply::OK);
    assert_eq!(play.text(), "454 4.7.0 TLS not available\n220 2.0.0 Ready to start TLS\n");
    assert_eq!(play.told.last().unwrap(), "starttls");
    assert!(play.input.is_empty());
}

#[test]
fn scram_is_bound_where_there_is_a_binding() {
    let params = Params { auth: Demand::Offered, scram: true, ..params() };
    let hello = |tls| Play::new(params.clone(), peer(), Some(tls)).say("EHLO x\r\n");
    assert!(hello(TlsInfo::usual()).contains("\n250-AUTH PLAIN LOGIN SCRAM-SHA-256\n"));
    let bound = TlsInfo { binding: Some([1; 32]), ..TlsInfo::usual() };
    assert!(hello(bound.clone()).contains(" SCRAM-SHA-256 SCRAM-SHA-256-PLUS\n"));
    let mut play = Play::new(params.clone(), peer(), Some(TlsInfo::usual()));
    play.say("EHLO x\r\n");
    assert!(play.say("AUTH SCRAM-SHA-256-PLUS eA==\r\n").starts_with("504 5.7.4 "));
    assert!(play.say("AUTH SCRAM-SHA-256 eA==\r\n").starts_with("235 "));
    assert_eq!(play.told[play.told.len() - 2], "scram false x");
}
