//! A reactor in a thread whose caller sends what a test wants sent, and tells what came of it.

use smtpd_engine::address::{Mailbox, ReversePath};
use smtpd_engine::client::{Event, Mail, Name, Params, Recipient, Tls, Whom};
use smtpd_engine::time::Time;
use smtpd_reactor::calls::{
    Caller, Calling, Calls, Hangup, Inbox, Limits, Next, Piece, Reactor, Sender, Target,
};
use smtpd_reactor::dns::{Answer, QueryId, Question, Settings, Sockets};
use smtpd_reactor::{ConnId, tls};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// Long enough for a machine with other things to do; no test waits so long if all is well.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a connection is for.
pub struct Job {
    /// Contents, one for each mail.
    pub mails: VecDeque<Vec<u8>>,
    pub recipients: Vec<Recipient>,
    /// Waits when the mails are sent, instead of QUIT.
    pub keeps: bool,
    pub content: Content,
    pub panics: Option<In>,
}

/// Where a caller panics.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum In {
    Ready,
    Content,
    Event,
    Closed,
}

/// How content comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Content {
    Whole,
    /// So many octets at a time.
    Runs(usize),
    /// The first half, and then not before it is resumed.
    Half,
    /// The first half, and then never.
    HalfThenBroken,
}

impl Job {
    pub fn new(mails: &[&str]) -> Job {
        Job {
            mails: mails.iter().map(|mail| mail.as_bytes().to_vec()).collect(),
            recipients: vec![recipient("b@example.org")],
            keeps: false,
            content: Content::Whole,
            panics: None,
        }
    }
}

pub fn recipient(address: &str) -> Recipient {
    let to = Mailbox::parse(address).unwrap();
    Recipient { to, notify: None, orcpt: None }
}

pub enum Order {
    Call(Box<Target>, Box<Job>),
    /// What an idle connection sends next.
    Send(ConnId, Vec<u8>),
    /// The other half is there.
    Rest(ConnId),
    Ask(Question),
    /// Asks to be woken so much later.
    Wake(Duration),
}

#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    Called(ConnId),
    Ready(ConnId, Option<String>),
    Delivered(String),
    Failed(Whom, String),
    Late,
    Closed(String),
    Woken,
    Resolved(Answer),
}

pub struct Post {
    told: mpsc::Sender<Told>,
    reverse_path: ReversePath,
    conns: Vec<(ConnId, Vec<u8>)>,
    rest: bool,
    wake: Option<Time>,
}

impl Post {
    fn tell(&self, told: Told) {
        let _ = self.told.send(told);
    }
}

impl Caller for Post {
    type Session = Job;
    type Message = Order;

    fn message(&mut self, order: Order, calls: &mut Calls<'_, Post>) {
        match order {
            Order::Call(target, job) => {
                let conn = calls.connect(*target, *job);
                self.tell(Told::Called(conn));
            }
            Order::Send(conn, content) => {
                self.conns.push((conn, content));
                calls.resume(conn);
            }
            Order::Rest(conn) => {
                self.rest = true;
                calls.resume(conn);
            }
            Order::Ask(question) => drop(calls.ask(question)),
            Order::Wake(later) => self.wake = Some(calls.now() + later),
        }
    }

    fn ready<'c>(&'c mut self, own: &'c mut Job, about: &Calling<'_>) -> Next<'c> {
        assert!(own.panics != Some(In::Ready), "as the test asked for");
        assert!(about.local().unwrap().is_some_and(|local| local.ip().is_loopback()));
        if let Some(at) = self.conns.iter().position(|(conn, _)| *conn == about.conn) {
            own.mails.push_back(self.conns.remove(at).1);
        }
        let cipher = about.session.tls().map(|tls| format!("{} {}", tls.version, tls.verified));
        self.tell(Told::Ready(about.conn, cipher));
        match own.mails.front() {
            Some(content) => Next::Mail(Mail {
                from: &self.reverse_path,
                size: Some(content.len() as u64),
                eight_bit: false,
                utf8_header: false,
                ret: None,
                envid: None,
                recipients: &own.recipients,
            }),
            None if own.keeps => Next::Wait(about.now + PATIENCE),
            None => Next::Quit,
        }
    }

    fn content<'c>(&'c mut self, own: &'c mut Job, from: u64) -> Piece<'c> {
        assert!(own.panics != Some(In::Content), "as the test asked for");
        let (content, from) = (own.mails.front().expect("a mail is sent"), from as usize);
        let end = match own.content {
            Content::Whole => content.len(),
            Content::Runs(n) => content.len().min(from + n),
            Content::Half if self.rest => content.len(),
            Content::Half | Content::HalfThenBroken => content.len() / 2,
        };
        match &content[from..end] {
            [] if from == content.len() => Piece::End,
            [] if own.content == Content::Half => {
                self.tell(Told::Late);
                Piece::Later
            }
            [] => Piece::Broken,
            octets => Piece::Octets(octets),
        }
    }

    fn event(&mut self, own: &mut Job, about: &Calling<'_>, event: Event<'_>) {
        assert!(own.panics != Some(In::Event), "as the test asked for");
        match event {
            Event::Delivered { reply, .. } => {
                own.mails.pop_front();
                self.tell(Told::Delivered(reply.to_string()));
            }
            Event::Failed { whom, failure } => {
                if whom == Whom::Rest {
                    own.mails.pop_front();
                }
                self.tell(Told::Failed(whom, failure.to_string()));
            }
            Event::StartTls => panic!("{}: not for the caller", about.conn),
        }
    }

    fn closed(&mut self, own: Job, _: ConnId, why: Hangup, _: Time) {
        self.tell(Told::Closed(match why {
            Hangup::Tls(failure) => format!("tls: {failure}"),
            Hangup::Connect(error) => format!("connect: {:?}", error.kind()),
            Hangup::Local(error) => format!("local: {:?}", error.kind()),
            why => format!("{why:?}").to_lowercase(),
        }));
        assert!(own.panics != Some(In::Closed), "as the test asked for");
    }

    fn resolved(&mut self, _: QueryId, answer: &Answer, _: &mut Calls<'_, Post>) {
        self.tell(Told::Resolved(answer.clone()));
    }

    fn turn_over(&mut self, calls: &mut Calls<'_, Post>) {
        match self.wake {
            Some(at) if at <= calls.now() => {
                self.wake = None;
                self.tell(Told::Woken);
            }
            Some(at) => calls.wake_at(at),
            None => {}
        }
    }
}

pub struct Relay {
    pub sender: Sender<Order>,
    pub told: mpsc::Receiver<Told>,
    thread: JoinHandle<io::Result<Post>>,
}

impl Relay {
    pub fn start() -> Relay {
        Relay::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Relay {
        let (tell, told) = mpsc::channel();
        let post = Post {
            told: tell,
            reverse_path: ReversePath::Mailbox(Mailbox::parse("a@example.org").unwrap()),
            conns: Vec::new(),
            rest: false,
            wake: None,
        };
        let settings = Settings::read(b"nameserver 127.0.0.1", b"192.0.2.7 hop.example");
        let names = Sockets::new(settings, Box::new(|| 7));
        let inbox = Inbox::new().unwrap();
        let sender = inbox.sender();
        let reactor = Reactor::new(inbox, limits, names, post);
        let thread = std::thread::spawn(move || reactor.run());
        Relay { sender, told, thread }
    }

    /// Calls, and says by what name.
    pub fn call(&self, target: Target, job: Job) -> ConnId {
        self.sender.send(Order::Call(Box::new(target), Box::new(job)));
        match self.next() {
            Told::Called(conn) => conn,
            told => panic!("{told:?}"),
        }
    }

    pub fn next(&self) -> Told {
        self.told.recv_timeout(PATIENCE).expect("the caller tells something")
    }

    /// All that is told of a connection, from being called to the end.
    pub fn story(&self) -> Vec<Told> {
        let mut story = Vec::new();
        loop {
            match self.next() {
                Told::Ready(..) | Told::Called(_) => {}
                Told::Closed(why) => {
                    story.push(Told::Closed(why));
                    return story;
                }
                told => story.push(told),
            }
        }
    }

    #[track_caller]
    pub fn expect_end(&self, why: &str) {
        assert_eq!(self.story(), [Told::Closed(why.into())]);
    }

    pub fn stop(self) {
        self.sender.stop();
        self.thread.join().unwrap().unwrap();
    }
}

pub fn target(address: SocketAddr) -> Target {
    Target {
        id: 7,
        address,
        source: None,
        params: params(Tls::Never),
        tls: None,
        immediate: false,
        connect_time: PATIENCE,
    }
}

pub fn params(tls: Tls) -> Arc<Params> {
    Arc::new(Params { tls, ..Params::new(Name::parse("relay.example").unwrap()) })
}

/// With STARTTLS, or TLS from the first octet.
pub fn secured(address: SocketAddr, policy: &tls::Policy, host: &str, tls: Tls) -> Target {
    let client = tls::Client::new(policy.clone(), host).unwrap();
    Target { params: params(tls), tls: Some(client), ..target(address) }
}
