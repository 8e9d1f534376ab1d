use super::*;

fn data(params: Params) -> Play {
    let mut play = Play::mail(params);
    play.send("DATA\r\n");
    play.out.clear();
    play.told.clear();
    play
}

#[test]
fn a_condemned_message_is_taken_to_its_end() {
    let mut play = data(params());
    assert_eq!(play.say("a\r\nb\nc\r\n.\r"), "");
    assert_eq!(play.told, ["body \"a\\r\\nb\"", "stray 10 at 4"]);
    assert_eq!(
        play.say("\nNOOP\r\n"),
        "554 5.6.0 Message content rejected: bare CR, bare LF or NUL\n250 2.0.0 Ok\n"
    );
    assert_eq!(
        play.told[2..4],
        ["reset", ". => 554 5.6.0 Message content rejected: bare CR, bare LF or NUL"]
    );
    assert!(play.say("RCPT TO:<a@b>\r\n").starts_with("503 "));
    assert!(play.say("MAIL FROM:<a@b>\r\n").starts_with("250 "));
}

#[test]
fn too_big_is_said_at_the_end() {
    let mut play = data(Params { max_size: 5, ..params() });
    assert_eq!(play.say("abc\r\n"), "");
    assert_eq!(
        play.say("d\r\n.\r\n"),
        "552 5.3.4 Message too big for system: Transaction failed, message too big\n"
    );
    assert_eq!(play.told[..2], ["body \"abc\\r\\n\"", "reset"]);
    play.send("MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\n");
    assert_eq!(play.say("abc\r\n.\r\n"), "250 2.0.0 00000001 Message accepted for delivery\n");
}

#[test]
fn lines_too_long_are_refused_at_the_end() {
    let mut play = data(params());
    let line = "x".repeat(65_536);
    assert_eq!(
        play.say(format!("{line}\r\n.\r\n")),
        "554 5.6.0 Message content rejected: Line too long\n"
    );
}

#[test]
fn the_local_socket_normalizes() {
    let mut play = data(Params { stray_newline: StrayNewline::Normalize, ..params() });
    play.send("a\nb\n.\nc\r\n.\r\n");
    assert_eq!(
        play.told[..3],
        ["body \"a\"", "stray 10 at 1", "body \"\\r\\nb\\r\\n\\r\\nc\\r\\n\""]
    );
    assert_eq!(play.told[3], "end 11");
}

#[test]
fn a_refused_end_ends_the_transaction() {
    let mut play = data(params());
    play.hold = true;
    play.send("x\r\n.\r\n");
    assert_eq!(play.rest, Rest::Wait(Wait::Answer));
    play.answer(reply::NOT_QUEUED);
    assert_eq!(play.text(), "451 4.3.0 Temporary failure\n");
    // The owner knows: it said so.
    assert!(!play.told.contains(&"reset".to_owned()));
    play.hold = false;
    assert!(play.say("DATA\r\n").starts_with("503 "));
    assert!(play.say("MAIL FROM:<a@b>\r\n").starts_with("250 "));
}

#[test]
fn shutting_down() {
    let stop = |play: &mut Play| {
        play.session.shut_down(&mut play.out, play.now);
        play.run();
    };
    for mut play in [Play::greeted(params()), Play::mail(params()), data(params())] {
        stop(&mut play);
        assert_eq!((&*play.text(), play.rest), ("421 4.3.2 Service shutting down\n", Rest::Closed));
    }
    let mut play = data(params());
    play.hold = true;
    play.send("x\r\n.\r\nMAIL FROM:<a@b>\r\n");
    stop(&mut play);
    assert_eq!((&*play.text(), play.rest), ("", Rest::Wait(Wait::Answer)));
    play.answer(Reply::new(250, None, "kept"));
    assert_eq!(play.text(), "250 kept\n421 4.3.2 Service shutting down\n");
    assert_eq!(play.rest, Rest::Closed);
    stop(&mut play);
    assert_eq!(play.rest, Rest::Closed);
}
