//! A resolver, its nameservers and its clock in one thread: nothing is sent anywhere.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use smtpd_engine::time::Time;
use smtpd_reactor::dns::{
    Answer, Name, QueryId, Question, Resolver, Settings, Transport, WireId, Wish,
};
use smtpd_tests::rng::Rng;
use smtpd_tests::zone::Zone;

/// What a nameserver does with a question.
#[derive(Clone)]
pub enum Server {
    Answers(Zone),
    /// It can be reached, and says nothing.
    Silent,
    /// The system says at once that nobody is there.
    Away,
}

pub struct World {
    pub resolver: Resolver,
    pub servers: Vec<Server>,
    pub now: Time,
    /// The name in each message that was sent, to which nameserver, and how.
    pub sent: Vec<(usize, Transport)>,
    pub ids: Vec<u16>,
    open: BTreeMap<WireId, (usize, Transport)>,
    /// The most sockets at once.
    pub most_open: usize,
    on_their_way: VecDeque<(WireId, Vec<u8>)>,
}

impl World {
    pub fn new(servers: Vec<Server>) -> World {
        World::with(servers, "", "")
    }

    pub fn zone(zone: Zone) -> World {
        World::new(vec![Server::Answers(zone)])
    }

    pub fn with(servers: Vec<Server>, options: &str, hosts: &str) -> World {
        let lines = (0..servers.len()).map(|nth| format!("nameserver 192.0.2.{}\n", nth + 53));
        let conf = lines.collect::<String>() + options;
        let settings = Settings::read(conf.as_bytes(), hosts.as_bytes());
        let mut rng = Rng::new(1);
        World {
            resolver: Resolver::new(settings, Box::new(move || rng.next_u64() as u16)),
            servers,
            now: Time::from_micros(1),
            sent: Vec::new(),
            ids: Vec::new(),
            open: BTreeMap::new(),
            most_open: 0,
            on_their_way: VecDeque::new(),
        }
    }

    /// The answer to a question, however much time passes.
    pub fn answer(&mut self, question: Question) -> Answer {
        let asked = self.resolver.ask(question, self.now);
        self.wait_for(asked)
    }

    pub fn wait_for(&mut self, asked: QueryId) -> Answer {
        loop {
            self.settle();
            if let Some((query, answer)) = self.resolver.next_answer() {
                assert_eq!(query, asked);
                return answer;
            }
            self.now = self.resolver.deadline().expect("no answer, and nothing to wait for");
            self.resolver.timeout(self.now);
        }
    }

    /// Lets everything arrive that is under way; no time passes.
    pub fn settle(&mut self) {
        loop {
            while let Some(wish) = self.resolver.next_wish() {
                self.carry_out(wish);
            }
            let Some((on, octets)) = self.on_their_way.pop_front() else { return };
            if self.open.contains_key(&on) {
                self.resolver.received(on, &octets, self.now);
            }
        }
    }

    fn carry_out(&mut self, wish: Wish) {
        match wish {
            Wish::Close(on) => {
                assert!(self.open.remove(&on).is_some(), "closed what is not open");
                self.on_their_way.retain(|(to, _)| *to != on);
            }
            Wish::Send { on, to, transport, message } => {
                let server = nth(to);
                self.sent.push((server, transport));
                self.ids.push(u16::from_be_bytes([message[0], message[1]]));
                let old = self.open.insert(on, (server, transport));
                assert!(old.is_none(), "opened what is open");
                self.most_open = self.most_open.max(self.open.len());
                match &self.servers[server] {
                    Server::Answers(zone) => {
                        let replies = zone.replies(&message, transport == Transport::Udp);
                        self.on_their_way.extend(replies.into_iter().map(|reply| (on, reply)));
                    }
                    Server::Silent => {}
                    Server::Away => self.resolver.broken(on, self.now),
                }
            }
        }
    }

    pub fn is_idle(&self) -> bool {
        self.open.is_empty() && self.resolver.deadline().is_none()
    }

    pub fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }

    /// Sockets that are open now.
    pub fn open(&self) -> Vec<WireId> {
        self.open.keys().copied().collect()
    }
}

fn nth(address: SocketAddr) -> usize {
    let SocketAddr::V4(address) = address else { panic!("{address}") };
    usize::from(address.ip().octets()[3]) - 53
}

pub fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

pub fn mx(domain: &str) -> Question {
    Question::Mx(name(domain))
}

pub fn addresses(host: &str) -> Question {
    Question::Addresses(name(host))
}

pub fn client(ip: &str) -> Question {
    Question::Name(ip.parse().expect("an address"))
}

/// An answer, in few words.
pub fn words(answer: &Answer) -> String {
    match answer {
        Answer::Mx(hosts) => {
            let all = hosts.iter().map(|host| format!("{} {}", host.preference, host.host));
            all.collect::<Vec<_>>().join(", ")
        }
        Answer::NullMx => "takes no mail".into(),
        Answer::Addresses(all) => {
            all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        }
        Answer::Name { name, forward } => format!("{name} {forward:?}"),
        Answer::NoSuchDomain => "no such domain".into(),
        Answer::NoData => "nothing".into(),
        Answer::Temporary(trouble) => format!("not now: {trouble}"),
    }
}
