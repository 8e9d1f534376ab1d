//! The resolver with its sockets, against a nameserver on loopback.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use mio::{Events, Poll};
use smtpd_engine::time::Time;
use smtpd_reactor::dns::{Answer, Question, Settings, Sockets};
use smtpd_tests::rng::Rng;
use smtpd_tests::zone::{MX, Nameserver, Way, Zone};

use crate::world::{addresses, client, mx, words};

/// The smallest loop there is.
pub struct Loop {
    sockets: Sockets,
    poll: Poll,
    start: Instant,
}

impl Loop {
    pub fn new(resolv_conf: &str) -> Loop {
        let mut rng = Rng::new(7);
        let settings = Settings::read(resolv_conf.as_bytes(), b"");
        let sockets = Sockets::new(settings, Box::new(move || rng.next_u64() as u16));
        Loop { sockets, poll: Poll::new().expect("a poll"), start: Instant::now() }
    }

    fn now(&self) -> Time {
        Time::from_micros(self.start.elapsed().as_micros() as u64)
    }

    fn answers(&mut self, questions: Vec<Question>) -> Vec<Answer> {
        let now = self.now();
        let asked: Vec<_> =
            questions.into_iter().map(|question| self.sockets.ask(question, now)).collect();
        let mut answers = vec![None; asked.len()];
        let mut events = Events::with_capacity(16);
        while answers.iter().any(Option::is_none) {
            let next = self.sockets.next().expect("something to wait for");
            let timeout = next.saturating_since(self.now());
            assert!(self.start.elapsed() < Duration::from_secs(60), "no answer");
            self.poll.poll(&mut events, Some(timeout)).expect("events");
            for event in &events {
                self.sockets.note(event.token().0 - 1);
            }
            let now = self.now();
            self.sockets.turn(self.poll.registry(), now);
            while let Some((query, answer)) = self.sockets.next_answer() {
                let nth = asked.iter().position(|asked| *asked == query).expect("it was asked");
                assert!(answers[nth].replace(answer).is_none(), "answered twice");
            }
        }
        answers.into_iter().flatten().collect()
    }

    pub fn answer(&mut self, question: Question) -> String {
        words(&self.answers(vec![question])[0])
    }
}

#[test]
fn by_datagram_and_by_stream() {
    let mut zone = Zone::default()
        .mx("example.org", 10, "mx.example.org")
        .address("mx.example.org", "192.0.2.1")
        .address("mx.example.org", "2001:db8::1")
        .way("mx.example.org", Way::Poisoned)
        .pointer("192.0.2.1", "mx.example.org")
        .way("big.example", Way::Truncated)
        .way("cut.example", Way::Cut);
    for nth in 0..100 {
        zone = zone.mx("big.example", nth, &format!("mail-host-with-a-long-name-{nth}.example"));
    }
    let server = Nameserver::new(zone);
    let mut looped = Loop::new(&server.resolv_conf());
    assert_eq!(looped.answer(mx("example.org")), "10 mx.example.org");
    assert_eq!(looped.answer(addresses("mx.example.org")), "192.0.2.1, 2001:db8::1");
    assert_eq!(looped.answer(client("192.0.2.1")), "mx.example.org Confirmed");
    assert_eq!(looped.answer(mx("gone.example")), "no such domain");
    assert_eq!(looped.answer(mx("cut.example")), "not now: garbled answer of a nameserver");
    let big = looped.answer(mx("big.example"));
    assert!(big.starts_with("0 mail-host-with-a-long-name-0.example, "), "{big}");
    let asked = server.questions();
    let big: Vec<_> = asked.iter().filter(|(name, _)| name == "big.example").collect();
    assert_eq!(big.len(), 2);
    assert!(big.iter().all(|(_, rtype)| *rtype == MX));
}

#[test]
fn many_at_once() {
    let mut zone = Zone::default();
    let domains: Vec<_> = (0..500).map(|nth| format!("{nth}.example")).collect();
    for domain in &domains {
        zone = zone.mx(domain, 10, &format!("mx.{domain}"));
    }
    let server = Nameserver::new(zone);
    let mut looped = Loop::new(&server.resolv_conf());
    let answers = looped.answers(domains.iter().map(|domain| mx(domain)).collect());
    for (domain, answer) in domains.iter().zip(answers) {
        assert_eq!(words(&answer), format!("10 mx.{domain}"));
    }
}

#[test]
fn where_nobody_listens_that_is_known_at_once() {
    let server = Nameserver::new(Zone::default().mx("example.org", 10, "mx.example.org"));
    // Bound for a moment, so that nobody listens there now.
    let away = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = format!("nameserver [127.0.0.1]:{}\noptions timeout:20\n", away.port());
    let mut looped = Loop::new(&format!("{away}{}", server.resolv_conf().replace("timeout", "x")));
    assert_eq!(looped.answer(mx("example.org")), "10 mx.example.org");
    let mut looped = Loop::new(&away);
    assert_eq!(looped.answer(mx("example.org")), "not now: no nameserver can be reached");
    assert!(looped.start.elapsed() < Duration::from_secs(15));
}

#[test]
fn a_nameserver_that_comes_back_is_heard() {
    let zone = Zone::default().mx("example.org", 10, "mx.example.org");
    let server = Nameserver::new(zone.clone().way("example.org", Way::Silent));
    let conf = format!("{}options attempts:1\n", server.resolv_conf());
    let mut looped = Loop::new(&conf);
    assert_eq!(looped.answer(mx("example.org")), "not now: no nameserver answers");
    server.set(zone.mx("other.example", 5, "mx.other.example"));
    assert_eq!(looped.answer(mx("other.example")), "5 mx.other.example");
}
