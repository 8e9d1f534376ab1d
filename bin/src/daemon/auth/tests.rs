//! Claims of many kinds before the judge.

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::Path;

use smtpd_config::{Auth, Files, Host};
use smtpd_engine::server::Credentials;

use super::attempts::Limit;
use super::judge::Judge;
use super::*;
use crate::daemon::users::Remembered;
use crate::password::scram::Stored;

const BCRYPT: &str = "$2b$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2";
const PASSWORD: &str = "correct horse";

struct Disk(String);

impl Files for Disk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + '_>> {
        match path.to_str() {
            Some("smtpd.conf") => Ok(Box::new(self.0.as_bytes())),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

/// Longer than a first failure is made to wait, at most.
const SLOW: Duration = Duration::from_millis(1600);

struct Users;

impl System for Users {
    fn check(&self, user: &str, password: &[u8]) -> io::Result<bool> {
        match user {
            "broken" => Err(io::Error::other("no file")),
            "slow" => {
                std::thread::sleep(SLOW);
                Ok(false)
            }
            user => Ok(user == "root" && password == b"toor"),
        }
    }
}

struct Court {
    config: Config,
    judge: Judge,
    now: Instant,
}

impl Court {
    fn new(entries: &str) -> Court {
        let text = format!(
            "pki a cert \"/c\" key \"/k\"\ntable users {{ {entries} }}\n\
             listen on lo port 1 tls pki a auth <users>\nlisten on lo port 2 tls pki a auth\n\
             match reject\n"
        );
        let host = Host { name: "mx.example.org".to_owned(), addresses: Vec::new() };
        let (config, _) = smtpd_config::load("smtpd.conf", &[], host, &Disk(text)).unwrap();
        let judge = Judge::new(Lookups::new(Remembered::default()), Arc::new(Users));
        Court { config, judge, now: Instant::now() }
    }

    fn hear(&self, listener: usize, proof: Proof) -> Outcome {
        let (Auth::Require(table) | Auth::Optional(table)) = self.config.listeners[listener].auth
        else {
            panic!("it has users");
        };
        let claim = Claim { table, client: [192, 0, 2, 1].into(), proof };
        self.judge.judge(&self.config, claim, self.now)
    }

    fn password(&self, listener: usize, user: &str, password: &str) -> Outcome {
        let (user, password) = (user.to_owned(), password.as_bytes().to_owned());
        let credentials = Box::new(Credentials::Password { user, password });
        self.hear(listener, Proof::Credentials(credentials, None))
    }

    fn scram(&self, message: &str, binding: Option<[u8; 32]>, plus: bool) -> Outcome {
        let message = message.as_bytes().to_owned();
        let credentials = Box::new(Credentials::Scram { plus, message });
        self.hear(0, Proof::Credentials(credentials, binding))
    }
}

/// The outcome in a word and the user.
fn told(outcome: &Outcome) -> (&'static str, &str) {
    match outcome {
        Outcome::Right(user) => ("right", user),
        Outcome::Proven(user, _) => ("proven", user),
        Outcome::Challenge(..) => ("challenge", ""),
        Outcome::Wrong(user, _) => ("wrong", user),
        Outcome::Limited(user, Limit::Client) => ("client limit", user),
        Outcome::Limited(user, Limit::User) => ("user limit", user),
        Outcome::Unavailable(user, _) => ("unavailable", user),
        Outcome::Malformed => ("malformed", ""),
    }
}

fn scram_entry() -> String {
    Stored::new(PASSWORD.as_bytes(), b"salt", 4096).to_text()
}

#[test]
fn passwords_are_checked_against_every_kind_of_entry() {
    let scram = scram_entry();
    let entries = format!(
        "joe = \"{BCRYPT}\", \"ann@a.example\" = \"ann:{BCRYPT}\", sue = \"{scram}\", \
         clear = \"secret\", half = \"half:\""
    );
    let court = Court::new(&entries);
    for user in ["joe", "JOE", "ann@a.example", "sue"] {
        assert_eq!(told(&court.password(0, user, PASSWORD)), ("right", user));
        let wrong = court.password(0, user, "wrong");
        assert_eq!(told(&wrong), ("wrong", user));
        assert!(!wrong.delay().is_zero());
        assert_eq!(wrong.reply().code(), 535);
    }
    assert_eq!(told(&court.password(0, "nobody", PASSWORD)), ("wrong", "nobody"));
    // A password in the clear lets nobody in, not even with itself.
    assert_eq!(told(&court.password(0, "clear", "secret")), ("wrong", "clear"));
    let unusable = court.password(0, "half", "x");
    assert_eq!((told(&unusable), unusable.reply().code()), (("unavailable", "half"), 454));
    assert!(!unusable.delay().is_zero(), "no sooner than a wrong one");
}

#[test]
fn system_users_are_asked_of_the_system() {
    let court = Court::new("joe = x");
    assert_eq!(told(&court.password(1, "root", "toor")), ("right", "root"));
    assert_eq!(told(&court.password(1, "root", "root")), ("wrong", "root"));
    assert_eq!(told(&court.password(1, "broken", "x")), ("unavailable", "broken"));
    assert!(court.password(1, "broken", "x").delay().is_zero());
}

#[test]
fn after_many_failures_nothing_is_tried() {
    let mut court = Court::new(&format!("joe = \"{BCRYPT}\""));
    let mut delays = HashSet::new();
    for _ in 0..20 {
        delays.insert(court.password(0, "joe", "wrong").delay());
    }
    assert!(delays.len() > 3, "they grow");
    let limited = court.password(0, "joe", PASSWORD);
    assert_eq!((told(&limited), limited.reply().code()), (("client limit", "joe"), 421));
    assert_eq!(told(&court.scram("n,,n=joe,r=x", None, false)), ("client limit", "joe"));
    court.now += Duration::from_secs(3600);
    assert_eq!(told(&court.password(0, "joe", PASSWORD)), ("right", "joe"));
}

#[test]
fn scram_is_for_entries_of_scram_and_all_look_the_same() {
    let court = Court::new(&format!("sue = \"{}\", joe = \"{BCRYPT}\"", scram_entry()));
    let challenged = |user: &str| {
        let outcome = court.scram(&format!("n,,n={user},r=abc"), None, false);
        let Outcome::Challenge(text, challenged) = outcome else { panic!("{user}") };
        let salt = text.split(',').nth(1).unwrap().to_owned();
        (text, salt, challenged)
    };
    let (text, salt, _) = challenged("sue");
    assert!(text.starts_with("r=abc") && text.ends_with(",s=c2FsdA==,i=4096"), "{text}");
    assert_eq!(challenged("sue").1, salt);
    assert_ne!(challenged("sue").0, text, "nonces differ");
    assert_eq!(challenged("SUE").1, salt);
    let again = Court::new(&format!("zoe = \"{BCRYPT}\", sue = \"{}\"", scram_entry()));
    for user in ["nobody", "joe"] {
        let (text, salt, asked) = challenged(user);
        assert!(text.ends_with(",i=4096"), "{text}");
        assert_eq!(salt.len(), "s=c2FsdA==".len(), "as long as that of the entry");
        assert_eq!(challenged(user).1, salt, "the salt of {user} stays");
        assert_eq!(challenged(&user.to_ascii_uppercase()).1, salt);
        let outcome = again.scram(&format!("n,,n={user},r=abc"), None, false);
        let Outcome::Challenge(text, _) = outcome else { panic!("{user}") };
        assert!(text.contains(&salt), "also after a restart");
        let nonce = text.split(',').next().unwrap();
        let proof = "A".repeat(43);
        let answer = format!("c=biws,{nonce},p={proof}=").into_bytes();
        let answer = Box::new(Credentials::Response(answer));
        assert_eq!(told(&court.hear(0, Proof::Answer(asked, answer))), ("wrong", user));
    }
    // Where a binding is offered a client is not to believe that it is not.
    let y = "y,,n=sue,r=abc";
    assert_eq!(told(&court.scram(y, Some([1; 32]), false)), ("malformed", ""));
    assert_eq!(told(&court.scram(y, None, false)), ("challenge", ""));
    assert_eq!(told(&court.scram("p=tls-exporter,,n=sue,r=a", Some([1; 32]), true)).0, "challenge");
    let asked = challenged("sue").2;
    let answer = Box::new(Credentials::Response(b"garbage".to_vec()));
    assert_eq!(told(&court.hear(0, Proof::Answer(asked, answer))), ("malformed", ""));
}

#[test]
fn exchanges_count_when_they_are_wrong_or_left() {
    let court = Court::new(&format!("sue = \"{}\"", scram_entry()));
    let first = "n,,n=sue,r=abc";
    let begin = || match court.scram(first, None, false) {
        Outcome::Challenge(text, asked) => (text, asked),
        other => panic!("{:?}", told(&other)),
    };
    let finish = |(text, asked): (String, Box<Challenged>), password| {
        let answer = client_answer(&text, first, "n,,", b"", password).into_bytes();
        court.hear(0, Proof::Answer(asked, Box::new(Credentials::Response(answer))))
    };
    // All those who were cut off come back at once.
    let open: Vec<_> = (0..200).map(|_| begin()).collect();
    assert_eq!(told(&court.scram(first, None, false)), ("client limit", "sue"));
    for one in open {
        assert_eq!(told(&finish(one, PASSWORD)), ("proven", "sue"));
    }
    // Whoever guesses is limited, however many he has begun.
    let open: Vec<_> = (0..25).map(|_| begin()).collect();
    let outcomes: Vec<_> = open.into_iter().map(|one| finish(one, "wrong")).collect();
    let wrong = outcomes.iter().filter(|one| told(one).0 == "wrong").count();
    assert_eq!((wrong, told(&outcomes[24]).0), (20, "client limit"));
    // And so is one who never answers.
    let court = Court::new(&format!("sue = \"{}\"", scram_entry()));
    for _ in 0..20 {
        assert_eq!(told(&court.scram(first, None, false)).0, "challenge");
    }
    assert_eq!(told(&court.scram(first, None, false)).0, "client limit");
}

/// What this thread has had of it.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

/// How much of the processor a wrong password takes, at best: a loaded machine is no difference.
fn cost(court: &mut Court, user: &str) -> Duration {
    let mut once = || {
        court.now += Duration::from_secs(3600);
        let start = processor_time();
        assert_eq!(told(&court.password(0, user, "wrong")), ("wrong", user));
        processor_time() - start
    };
    (0..5).map(|_| once()).min().unwrap()
}

#[test]
fn who_is_not_there_costs_what_others_cost() {
    let dear = crate::password::hash(PASSWORD.as_bytes()).unwrap();
    let scram = Stored::new(PASSWORD.as_bytes(), b"salt", 200_000).to_text();
    for stored in [BCRYPT, &dear, &scram] {
        let mut court = Court::new(&format!("joe = \"{stored}\", odd = \"secret\""));
        let joe = cost(&mut court, "joe");
        for other in ["nobody", "odd"] {
            let other = cost(&mut court, other);
            assert!(other < joe * 3 && joe < other * 3, "{stored}: {joe:?} and {other:?}");
        }
    }
}

#[test]
fn noise_instead_of_messages_is_malformed_or_wrong() {
    let mut court = Court::new(&format!("sue = \"{}\"", scram_entry()));
    let mut challenges = 0;
    let mut seed = 1_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % below
    };
    const PIECES: [&[u8]; 14] = [
        b"n,,n=sue,r=",
        b"y,,",
        b"n",
        b"y",
        b",",
        b"=",
        b"p=tls-exporter",
        b"n=",
        b"r=",
        b"c=biws",
        b"a=",
        b"=2C",
        b"\xff",
        b"sue",
    ];
    for _ in 0..20_000 {
        let count = random(12);
        let message: Vec<u8> =
            (0..count).flat_map(|_| PIECES[random(PIECES.len())].iter().copied()).collect();
        let (plus, bound) = (random(2) == 0, random(2) == 0);
        court.now += Duration::from_secs(60);
        let credentials = Box::new(Credentials::Scram { plus, message: message.clone() });
        let outcome = court.hear(0, Proof::Credentials(credentials, bound.then_some([1; 32])));
        if let Outcome::Challenge(_, asked) = outcome {
            challenges += 1;
            let answer = Box::new(Credentials::Response(message));
            let outcome = court.hear(0, Proof::Answer(asked, answer));
            assert!(matches!(outcome, Outcome::Malformed | Outcome::Wrong(..)));
        } else {
            assert!(matches!(outcome, Outcome::Malformed));
        }
    }
    assert!(challenges > 0, "some of it is well-formed");
}

#[test]
fn wrong_passwords_wait_for_their_answer_and_hold_up_nobody() {
    let (answers, answered) = std::sync::mpsc::channel();
    let answer = move |conn: u32, _, reply: Reply<'static>| {
        let _ = answers.send((conn, reply.code(), Instant::now()));
    };
    let outside = Lookups::new(Remembered::default());
    let desk = Desk::start(outside, Arc::new(Users), answer).unwrap();
    let config = Arc::new(Court::new(&format!("joe = \"{BCRYPT}\"")).config);
    let ticket = ticket();
    let mut slots = Vec::new();
    let start = Instant::now();
    for (conn, password) in [(0, "wrong"), (1, PASSWORD)] {
        let (user, password) = ("joe".to_owned(), password.as_bytes().to_owned());
        let credentials = Box::new(Credentials::Password { user, password });
        let proof = Proof::Credentials(credentials, None);
        let Auth::Require(table) = config.listeners[0].auth else { panic!() };
        let claim = Claim { table, client: [192, 0, 2, 1].into(), proof };
        let slot = Arc::new(Slot::default());
        slots.push(slot.clone());
        assert!(desk.ask(Question { conn, ticket, config: config.clone(), claim, slot }).is_ok());
    }
    let first = answered.recv().unwrap();
    assert_eq!((first.0, first.1), (1, 235));
    let second = answered.recv().unwrap();
    assert_eq!((second.0, second.1), (0, 535));
    assert!(second.2 >= start + Duration::from_millis(500));
    assert!(matches!(slots[0].take(), Some(Outcome::Wrong(..))));
    assert!(matches!(slots[1].take(), Some(Outcome::Right(_))));
}

#[test]
fn what_a_check_costs_does_not_put_off_the_reply() {
    let court = Court::new("joe = x");
    let credentials = Credentials::Password { user: "slow".to_owned(), password: b"x".to_vec() };
    let proof = Proof::Credentials(Box::new(credentials), None);
    let claim = Claim { table: None, client: [192, 0, 2, 1].into(), proof };
    let start = Instant::now();
    let (outcome, due) = judged(&court.judge, &court.config, claim);
    assert_eq!(told(&outcome), ("wrong", "slow"));
    let due = due.unwrap();
    assert!(due >= start + outcome.delay() && due < Instant::now(), "counted from before it");
    let credentials = Credentials::Password { user: "root".to_owned(), password: b"toor".to_vec() };
    let proof = Proof::Credentials(Box::new(credentials), None);
    let claim = Claim { table: None, client: [192, 0, 2, 1].into(), proof };
    assert!(judged(&court.judge, &court.config, claim).1.is_none(), "at once");
}

/// Any: a session makes them.
fn ticket() -> Ticket {
    use smtpd_engine::server::{Event, Params, Peer, Session, Step};
    use smtpd_engine::time::Time;
    let now = Time::from_micros(1);
    let mut session = Session::new(Arc::new(Params::default()), 1, Peer::Local, now);
    match session.step(&mut &b""[..], &mut Vec::new(), now) {
        Step::Event(Event::Connected { ticket }) => ticket,
        other => panic!("{other:?}"),
    }
}
