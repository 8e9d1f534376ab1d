use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_command_has_five_minutes() {
    let mut play = Play::greeted(params());
    assert_eq!(play.session.deadline(), play.now + limits::COMMAND_TIME);
    play.wait(299 * SECOND);
    assert_eq!(play.text(), "");
    play.send("NO");
    play.wait(299 * SECOND).send("O");
    assert_eq!((&*play.text(), play.rest), ("", Rest::Wait(Wait::Input)));
    play.wait(SECOND);
    assert_eq!((&*play.text(), play.rest), ("421 4.4.2 Timeout\n", Rest::Closed));
    assert_eq!(play.session.deadline(), Time::NEVER);
}

#[test]
fn thirty_seconds_when_pressed() {
    let mut play = Play::greeted(params());
    play.session.set_pressed(true);
    play.wait(29 * SECOND);
    assert_eq!(play.rest, Rest::Wait(Wait::Input));
    play.wait(SECOND);
    assert_eq!(play.rest, Rest::Closed);
}

#[test]
fn an_answer_that_does_not_come() {
    let mut play = Play::mail(params());
    play.hold = true;
    play.send("RCPT TO:<x@b>\r\n");
    let ticket = play.by_hand.take().unwrap();
    play.session.set_pressed(true);
    play.wait(99 * SECOND);
    assert_eq!(play.text(), "");
    play.wait(SECOND);
    assert_eq!(play.text(), "451 4.3.0 Temporary failure\n");
    let late = play.session.answer(ticket, reply::RCPT_OK.into(), &mut play.out, play.now);
    assert_eq!(late, Err(AnswerError::Stale));
    play.send("DATA\r\n").wait(100 * SECOND);
    assert!(play.text().ends_with("451 4.3.0 Temporary failure\n"));
    assert!(play.told.contains(&"reset".to_owned()));

    let mut play = Play::new(params(), peer(), None);
    play.hold = true;
    play.send("").wait(100 * SECOND);
    assert_eq!((&*play.text(), play.rest), ("421 4.3.0 Temporary failure\n", Rest::Closed));
}

fn data() -> Play {
    let mut play = Play::mail(params());
    play.send("DATA\r\n");
    play.out.clear();
    play
}

#[test]
fn the_end_of_data_waits_for_the_disk() {
    let mut play = data();
    play.hold = true;
    play.send(".\r\n");
    assert_eq!(play.session.deadline(), Time::NEVER);
    play.wait(36_000 * SECOND);
    assert_eq!(play.text(), "");
    play.answer(Reply::new(250, None, "kept"));
    assert_eq!(play.text(), "250 kept\n");
    assert_eq!(play.session.deadline(), play.now + limits::COMMAND_TIME);
}

#[test]
fn slow_data_is_cut_off() {
    // One octet a second.
    let mut play = data();
    for _ in 0..299 {
        play.wait(SECOND).send("x");
    }
    assert_eq!(play.rest, Rest::Wait(Wait::Input));
    play.wait(SECOND);
    assert_eq!(
        (&*play.text(), play.rest),
        ("421 4.4.2 Timeout: mail data too slow\n", Rest::Closed)
    );

    // The same when an octet comes just before the clock is looked at.
    let mut play = data();
    for _ in 0..300 {
        play.now = play.now + SECOND;
        play.send("x");
    }
    assert_eq!(play.rest, Rest::Closed);

    // Fast enough, span after span.
    let mut play = data();
    for _ in 0..1000 {
        play.wait(SECOND).send("x".repeat(100) + "\r\n");
    }
    assert_eq!(play.rest, Rest::Wait(Wait::Input));

    // Chunks, taken or not.
    for mut play in [Play::mail(params()), Play::greeted(params())] {
        play.send("BDAT 100000\r\nx").wait(300 * SECOND);
        assert_eq!(
            (&*play.text(), play.rest),
            ("421 4.4.2 Timeout: mail data too slow\n", Rest::Closed)
        );
    }
}

#[test]
fn a_condemned_message_that_falls_silent() {
    let mut play = data();
    play.send("a\nb\n").wait(9 * SECOND).send(".\n").wait(9 * SECOND);
    assert_eq!((&*play.text(), play.rest), ("", Rest::Wait(Wait::Input)));
    play.wait(SECOND);
    assert_eq!(play.text(), "554 5.6.0 Message content rejected: bare CR, bare LF or NUL\n");
    assert_eq!(play.rest, Rest::Closed);
}

#[test]
fn a_session_that_was_held_back_is_not_slow() {
    let mut play = data();
    play.send("x\r\n");
    play.now = play.now + 1000 * SECOND;
    play.session.resumed(play.now);
    play.wait(299 * SECOND).send("y");
    assert_eq!(play.rest, Rest::Wait(Wait::Input));
}

#[test]
fn a_handshake_that_does_not_end() {
    let mut play = Play::greeted(Params { starttls: Demand::Offered, ..params() });
    play.send("STARTTLS\r\n");
    play.out.clear();
    play.wait(300 * SECOND);
    assert_eq!((&*play.text(), play.rest), ("", Rest::Closed));
}
