use super::*;

const NOT_NOW: &str = "503 5.5.1 Invalid command: Command not allowed at this point.\n";
const TOO_BIG: &str = "552 5.3.4 Message too big for system: Transaction failed, message too big\n";

#[test]
fn chunks_make_a_message() {
    let mut play = Play::mail(params());
    assert_eq!(play.say("BDAT 4\r\na\r\n."), "250 2.0.0 Ok\n");
    assert_eq!(
        play.say("BDAT 0\r\nBDAT 3 LAST\r\n\r\nb"),
        "250 2.0.0 Ok\n250 2.0.0 00000001 Message accepted for delivery\n"
    );
    assert_eq!(
        play.told,
        [
            "data",
            "body \"a\\r\\n.\"",
            "BDAT => 250 2.0.0 Ok",
            "BDAT => 250 2.0.0 Ok",
            "body \"\\r\\nb\\r\\n\"",
            "end 9",
            "BDAT => 250 2.0.0 00000001 Message accepted for delivery",
        ]
    );
    assert!(play.say("MAIL FROM:<a@b>\r\n").starts_with("250 "));
}

#[test]
fn a_chunk_may_be_empty_and_last() {
    let mut play = Play::mail(params());
    assert_eq!(play.say("BDAT 0 LAST\r\n"), "250 2.0.0 00000001 Message accepted for delivery\n");
    assert_eq!(play.told[..2], ["data", "end 0"]);
}

#[test]
fn refused_chunks_go_by_before_their_reply() {
    let mut play = Play::greeted(params());
    assert_eq!(play.say("BDAT 9 LAST\r\nQUIT\r\n"), "");
    assert_eq!(play.say("abcNOOP\r\n"), format!("{NOT_NOW}250 2.0.0 Ok\n"));
    play.send("MAIL FROM:<a@b>\r\n");
    assert_eq!(
        play.say("BDAT 2\r\nxx"),
        "503 5.5.4 Invalid command arguments: No recipient specified\n"
    );
    assert_eq!(play.say("BDAT 2 LAST\r\nxx"), NOT_NOW);
    assert_eq!(play.say("RSET\r\n"), "250 2.0.0 Reset state\n");
}

#[test]
fn after_a_refusal_nothing_of_the_message_is_taken() {
    let mut play = Play::mail(params());
    play.hold = true;
    play.send("BDAT 4\r\nabcdBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n");
    play.answer(reply::NO_SPACE);
    assert_eq!(
        play.text(),
        format!("452 4.3.1 Mail system full: Temporary failure\n{NOT_NOW}250 2.0.0 Ok\n")
    );
    assert_eq!(
        play.told[..3],
        ["data", "reset", "BDAT => 452 4.3.1 Mail system full: Temporary failure"]
    );
    assert!(!play.told.iter().any(|line| line.starts_with("body")));
}

#[test]
fn strays_are_told_at_the_end_of_their_chunk() {
    let mut play = Play::mail(params());
    assert_eq!(play.say("BDAT 2\r\na\r"), "250 2.0.0 Ok\n");
    assert_eq!(
        play.say("BDAT 3\r\nb\r\nBDAT 3 LAST\r\nc\r\n"),
        format!("554 5.6.0 Message content rejected: bare CR, bare LF or NUL\n{NOT_NOW}")
    );
    assert_eq!(play.told[3..5], ["stray 13 at 1", "reset"]);
}

#[test]
fn sizes() {
    let small = || Play::mail(Params { max_size: 10, ..params() });
    let mut play = small();
    assert_eq!(
        play.say("BDAT 8 LAST\r\nabcdef\r\n"),
        "250 2.0.0 00000001 Message accepted for delivery\n"
    );
    // The line end that is added counts.
    let mut play = small();
    assert_eq!(play.say("BDAT 9 LAST\r\nabcdefghi"), TOO_BIG);
    let mut play = small();
    assert_eq!(
        play.say("BDAT 8\r\nabcdef\r\nBDAT 8\r\nabcdef\r\nBDAT 2\r\nab"),
        format!("250 2.0.0 Ok\n{TOO_BIG}{NOT_NOW}")
    );
    assert_eq!(play.rest, Rest::Wait(Wait::Input));
    for declared in ["1048587", "18446744073709551615", "99999999999999999999999"] {
        for before in ["", "BDAT 4\r\nabcd"] {
            let mut play = small();
            play.send(before);
            play.out.clear();
            assert_eq!(play.say(format!("BDAT {declared}\r\nabcd")), TOO_BIG, "{declared}");
            assert_eq!(play.rest, Rest::Closed);
            assert!(play.told.contains(&"reset".to_owned()));
        }
    }
    let mut play = small();
    assert_eq!(play.say("BDAT 1048586\r\nabcd"), "");
    assert_eq!(play.rest, Rest::Wait(Wait::Input));
}

#[test]
fn arguments() {
    let mut play = Play::mail(params());
    assert_eq!(
        play.say("BDAT 4 FIRST\r\nabcd"),
        "501 5.5.4 Invalid command arguments: Syntax error\n"
    );
    assert_eq!(play.say("BDAT 4 LAST\r\nabcd"), NOT_NOW);
    assert_eq!(play.rest, Rest::Wait(Wait::Input));
    for line in ["BDAT", "BDAT x", "BDAT -1", "BDAT LAST"] {
        let mut play = Play::mail(params());
        assert_eq!(
            play.say(format!("{line}\r\nQUIT\r\n")),
            "501 5.5.4 Invalid command arguments: Syntax error\n"
        );
        assert_eq!(play.rest, Rest::Closed);
    }
}

#[test]
fn no_mixing_with_data() {
    let mut play = Play::mail(params());
    play.send("BDAT 3\r\na\r\n");
    play.out.clear();
    for line in ["DATA", "RCPT TO:<a@b>", "MAIL FROM:<a@b>"] {
        assert_eq!(play.say(format!("{line}\r\n")), NOT_NOW, "{line}");
    }
    assert_eq!(play.say("NOOP\r\n"), "250 2.0.0 Ok\n");
    assert_eq!(
        play.say("BDAT 3 LAST\r\nb\r\n"),
        "250 2.0.0 00000001 Message accepted for delivery\n"
    );
}
