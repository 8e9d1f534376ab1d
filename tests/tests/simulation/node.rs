//! The server: the values that the daemon's threads turn, with queues between them instead of
//! channels. It does nothing by itself; `world` says what is next.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use smtpd::daemon::deliver::Worker;
use smtpd::daemon::intake::{Backstage, Gate, Intake, Session};
use smtpd::daemon::lookup::Question;
use smtpd::daemon::messages::{Backlog, Waiting};
use smtpd::daemon::replies::{accepted, refused};
use smtpd::daemon::writer::{self, ContentWriter, Order};
use smtpd::sys::Zone;
use smtpd_config::{Config, Files, Host, Lookup, User, Users};
use smtpd_engine::server::{
    Answer, AnswerError, Event, Peer as Address, Report, Session as Engine, Step, Ticket,
};
use smtpd_engine::time::Time;
use smtpd_queue::budget::Budget;
use smtpd_queue::commit::{Commit, Options};
use smtpd_queue::delivery::{Attempt, Batch};
use smtpd_queue::disk::fault::FaultDisk;
use smtpd_queue::envelope::Verdict;
use smtpd_queue::id::{EnvelopeId, MessageId};
use smtpd_queue::maildir::Maildirs;
use smtpd_queue::reader::Reader;
use smtpd_queue::recovery::Finding;
use smtpd_queue::request::{Accept, Done, Refusal, Request};
use smtpd_queue::scheduler::{Clock, Input, Output, Scheduler};
use smtpd_queue::spares::Filler;
use smtpd_queue::store::{self, Store};
use smtpd_tests::rng::Rng;

use crate::model::{Model, USERS};
use crate::peer::MAX_SIZE;

/// Where the queue is.
pub const SPOOL: &str = "/var/spool";

/// The uid that everybody has, and in whose name mail is delivered.
const UID: u32 = 1000;

/// The users of the machine, of whom a database tells that may be slow or broken.
#[derive(Clone)]
struct People {
    whims: Rc<Whims>,
    /// Whoever asks may wait.
    waits: bool,
}

/// What the user database does today.
pub struct Whims {
    rng: RefCell<Rng>,
    calm: Cell<bool>,
}

impl Whims {
    pub fn new(seed: u64) -> Rc<Self> {
        Rc::new(Self { rng: RefCell::new(Rng::new(seed)), calm: Cell::new(false) })
    }

    /// From now on it answers.
    pub fn end(&self) {
        self.calm.set(true);
    }
}

impl Users for People {
    fn user(&self, name: &str) -> Lookup {
        let odds = if self.waits { 15 } else { 3 };
        if !self.whims.calm.get() && self.whims.rng.borrow_mut().one_in(odds) {
            return if self.waits { Lookup::Error } else { Lookup::Later };
        }
        if !USERS.contains(&name) {
            return Lookup::None;
        }
        let home = Path::new("/home").join(name);
        Lookup::Found(Arc::new(User { name: name.into(), uid: UID, gid: UID, home }))
    }
}

struct OneFile(String);

impl Files for OneFile {
    fn open(&self, _path: &Path) -> io::Result<Box<dyn io::Read + '_>> {
        Ok(Box::new(self.0.as_bytes()))
    }
}

/// The configuration of all runs. Nothing expires while clocks jump.
pub fn config() -> Arc<Config> {
    let text = format!(
        "smtp max-message-size {MAX_SIZE}\n\
         queue ttl 1000d\n\
         table aliases {{ team = \"ann, bob\", all = \"team, carol, dave, ann\" }}\n\
         listen on 192.0.2.25 port 25\n\
         action \"local\" maildir alias <aliases>\n\
         match from any for domain \"example.org\" action \"local\"\n"
    );
    let host = Host { name: "mx.example.org".into(), addresses: Vec::new() };
    let loaded = smtpd_config::load("smtpd.conf", &[], host, &OneFile(text));
    Arc::new(loaded.unwrap_or_else(|mistakes| panic!("{mistakes:?}")).0)
}

/// What is behind the intake.
struct Behind {
    requests: Vec<Request<Waiting<u64>>>,
    /// For the writers of content files.
    orders: VecDeque<Order<u64>>,
    questions: Vec<Question<u64>>,
    wall: u64,
}

impl Backstage for Behind {
    type Conn = u64;

    fn commit(&mut self, accept: Accept<Waiting<u64>>) {
        self.requests.push(Request::Accept(accept));
    }

    fn write(&mut self, message: MessageId, octets: Vec<u8>, backlog: &Backlog, conn: u64) {
        backlog.add(octets.len());
        self.orders.push_back(Order::Write { message, octets, backlog: backlog.clone(), conn });
    }

    fn finish(&mut self, accept: Box<Accept<Waiting<u64>>>) {
        self.orders.push_back(Order::Finish(accept));
    }

    fn remove(&mut self, message: MessageId) {
        self.orders.push_back(Order::Remove(message));
    }

    fn look_up(&mut self, question: Question<u64>) {
        self.questions.push(question);
    }

    fn wall(&mut self) -> u64 {
        self.wall
    }

    fn zone(&mut self, _seconds: i64) -> Zone {
        Zone::default()
    }
}

/// A connection.
struct Line {
    engine: Engine,
    own: Session,
    /// Received, and not taken by the session.
    input: Vec<u8>,
    out: Vec<u8>,
    /// Sent, and not yet heard by the peer.
    sent: Vec<u8>,
    closed: bool,
}

/// See the module.
pub struct Node {
    disk: FaultDisk,
    whims: Rc<Whims>,
    pub budget: Budget,
    commit: Commit,
    pub reader: Reader,
    writer: ContentWriter,
    filler: Filler,
    intake: Intake<Behind, People>,
    lines: BTreeMap<u64, Line>,
    scheduler: Scheduler,
    inputs: Vec<Input>,
    store: Store,
    asked: Vec<store::Request>,
    worker: Worker<People>,
    batches: Vec<Batch>,
    /// Delivered by this process, on record or not.
    delivered: HashSet<EnvelopeId>,
}

impl Node {
    /// Starts on what is on the disk.
    pub fn start(
        disk: &FaultDisk,
        config: &Arc<Config>,
        whims: &Rc<Whims>,
        rng: &mut Rng,
    ) -> io::Result<Self> {
        let all = Arc::new(disk.clone());
        let random = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
        let options = Options { segment: 64 << 10, ..Options::new(random) };
        let queue = Commit::open(all.clone(), Path::new(SPOOL), &options)?;
        for finding in &queue.recovered.findings {
            let usual = matches!(finding, Finding::Torn { .. } | Finding::Removed(_));
            assert!(usual, "a power cut is no damage: {finding}");
        }
        let budget = Budget::new(*rng.pick(&[20 << 10, 300 << 10, 64 << 20]));
        let people = |waits| People { whims: whims.clone(), waits };
        let gates = vec![Gate::new(config, &config.listeners[0], Report::All)];
        let behind = Behind {
            requests: Vec::new(),
            orders: VecDeque::new(),
            questions: Vec::new(),
            wall: 0,
        };
        let own = (queue.ids, budget.clone());
        let intake = Intake::new(config.clone(), gates, own, people(false), rng.next_u64(), behind);
        let maildirs = Maildirs::new(all, queue.reader.clone(), "mx.example.org");
        let mut store = Store::in_memory(queue.reader.clone(), queue.recovered.live);
        let mut answers = Vec::new();
        store.turn(&mut Vec::new(), &mut answers);
        Ok(Self {
            disk: disk.clone(),
            whims: whims.clone(),
            budget,
            commit: queue.commit,
            writer: ContentWriter::new(queue.spool),
            filler: queue.filler,
            intake,
            lines: BTreeMap::new(),
            scheduler: Scheduler::new(Default::default(), queue.reader.destinations()),
            inputs: answers.into_iter().map(Input::Store).collect(),
            store,
            asked: Vec::new(),
            worker: Worker::new(config.clone(), people(true), maildirs, UID),
            batches: Vec::new(),
            delivered: HashSet::new(),
            reader: queue.reader,
        })
    }

    /// A peer has connected.
    pub fn connect(&mut self, conn: u64, now: Time, rng: &mut Rng) {
        let (params, own) = self.intake.open(0);
        // What comes from this machine passes the rewriter.
        let ip = *rng.pick(&[Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::LOCALHOST]);
        let peer = Address::Ip(IpAddr::V4(ip));
        let engine = Engine::new(params, own.id, peer, None, now);
        let (input, out, sent) = Default::default();
        self.lines.insert(conn, Line { engine, own, input, out, sent, closed: false });
    }

    /// Octets of a peer's come in; what comes after the end is lost.
    pub fn receive(&mut self, conn: u64, octets: &[u8]) {
        if let Some(line) = self.lines.get_mut(&conn).filter(|line| !line.closed) {
            line.input.extend_from_slice(octets);
        }
    }

    /// What the peer hears now, and whether that was all.
    pub fn heard(&mut self, conn: u64) -> (Vec<u8>, bool) {
        let Some(line) = self.lines.get_mut(&conn) else { return (Vec::new(), true) };
        (mem::take(&mut line.sent), line.closed)
    }

    /// The connection is no more.
    pub fn hang_up(&mut self, conn: u64) {
        if let Some(mut line) = self.lines.remove(&conn) {
            self.intake.give_up(&mut line.own);
        }
    }

    /// Lets a session take what it has.
    pub fn run(&mut self, conn: u64, clock: Clock) {
        self.intake.backstage.wall = clock.unix;
        let Some(line) = self.lines.get_mut(&conn).filter(|line| !line.closed) else { return };
        let now = clock.mono;
        let input = mem::take(&mut line.input);
        let mut rest = &input[..];
        while !line.own.is_held() {
            let event = match line.engine.step(&mut rest, &mut line.out, now) {
                Step::Event(Event::Replied { .. }) => continue,
                Step::Event(event) => event,
                Step::Wait(_) => {
                    line.sent.append(&mut line.out);
                    break;
                }
                Step::Close => {
                    line.sent.append(&mut line.out);
                    line.closed = true;
                    self.intake.give_up(&mut line.own);
                    break;
                }
            };
            let ticket = event.ticket();
            let answer = self.intake.event(&mut line.own, &line.engine, conn, event);
            if let (Some(ticket), Some(answer)) = (ticket, answer) {
                let answered = line.engine.answer(ticket, answer, &mut line.out, now);
                answered.expect("the question has just been asked");
            }
        }
        line.input = rest.to_vec();
    }

    /// Answers a session's question. False when the question was no longer open.
    fn answer(&mut self, conn: u64, ticket: Ticket, answer: Answer, clock: Clock) -> bool {
        let Some(line) = self.lines.get_mut(&conn).filter(|line| !line.closed) else {
            return true;
        };
        let in_time = match line.engine.answer(ticket, answer, &mut line.out, clock.mono) {
            Ok(()) => true,
            Err(AnswerError::Stale) => false,
            Err(error @ AnswerError::Class) => panic!("{error}"),
        };
        line.own.answered(ticket, in_time);
        self.run(conn, clock);
        in_time
    }

    /// Does what is due in the sessions.
    pub fn time_passes(&mut self, clock: Clock) {
        let due = |line: &Line| !line.closed && line.engine.deadline() <= clock.mono;
        let due: Vec<u64> = self.lines.iter().filter(|line| due(line.1)).map(|l| *l.0).collect();
        for conn in due {
            if let Some(line) = self.lines.get_mut(&conn) {
                line.engine.timeout(&mut line.out, clock.mono);
                self.run(conn, clock);
            }
        }
    }

    /// When something happens by itself.
    pub fn next_deadline(&self, clock: Clock) -> Option<Time> {
        let open = self.lines.values().filter(|line| !line.closed);
        let sessions = open.map(|line| line.engine.deadline()).filter(|at| *at != Time::NEVER);
        sessions.chain(self.scheduler.next_wakeup(clock)).min()
    }

    /// Has one recipient judged. False when there is none.
    pub fn look_up(&mut self, clock: Clock, rng: &mut Rng, model: &mut Model) -> bool {
        let questions = &mut self.intake.backstage.questions;
        if questions.is_empty() {
            return false;
        }
        let question = questions.swap_remove(rng.below(questions.len()));
        let people = People { whims: self.whims.clone(), waits: true };
        let reply = question.judge(&people);
        if !self.answer(question.conn, question.ticket, reply.into(), clock) {
            model.tally.late += 1;
        }
        true
    }

    /// Carries out one order for a content file. False when there is none.
    pub fn write_content(&mut self, clock: Clock, model: &mut Model) -> bool {
        let Some(order) = self.intake.backstage.orders.pop_front() else { return false };
        model.tally.removed += u64::from(matches!(order, Order::Remove(_)));
        let done = self.writer.carry_out(order);
        match done {
            // What was said before the power went is all that is said.
            _ if self.disk.is_off() => {}
            Some(writer::Done::Resume(conn)) => {
                if let Some(line) = self.lines.get_mut(&conn)
                    && !line.own.is_held()
                {
                    line.engine.resumed(clock.mono);
                    self.run(conn, clock);
                }
            }
            Some(writer::Done::Commit(accept)) => self.intake.backstage.commit(accept),
            Some(writer::Done::Refuse(waiting, why)) => self.refuse(waiting, why, clock, model),
            None => {}
        }
        true
    }

    fn refuse(&mut self, waiting: Waiting<u64>, why: Refusal, clock: Clock, model: &mut Model) {
        match why {
            Refusal::NoSpace => model.tally.full += 1,
            Refusal::Failed | Refusal::Fatal => model.tally.failed += 1,
        }
        self.answer(waiting.conn, waiting.ticket, refused(why).into(), clock);
    }

    /// Whether a message waits to be committed.
    pub fn has_messages(&self) -> bool {
        let mut requests = self.intake.backstage.requests.iter();
        requests.any(|request| matches!(request, Request::Accept(_)))
    }

    /// Makes durable what waits for it. False when nothing does.
    pub fn commit(&mut self, clock: Clock, model: &mut Model) -> bool {
        let waits = !self.intake.backstage.requests.is_empty();
        let mut done = Vec::new();
        self.commit.turn(clock.mono, &mut self.intake.backstage.requests, &mut done);
        self.tell(done, clock, model);
        waits
    }

    /// Keeps the journal small.
    pub fn tidy(&mut self, clock: Clock, model: &mut Model) {
        let mut done = Vec::new();
        self.commit.tidy(clock.mono, &mut done);
        self.tell(done, clock, model);
        if self.commit.wants_filling() {
            // The daemon tries again later.
            let _ = self.filler.fill();
        }
    }

    fn tell(&mut self, done: Vec<Done<Waiting<u64>>>, clock: Clock, model: &mut Model) {
        if self.disk.is_off() {
            return;
        }
        for done in done {
            match done {
                Done::Accepted { token, message, content } => {
                    model.accepted(message.id);
                    let reply = accepted(message.id);
                    self.inputs.push(Input::Accepted(message, content));
                    self.answer(token.conn, token.ticket, reply.into(), clock);
                }
                Done::Refused { token, why, .. } => self.refuse(token, why, clock, model),
                Done::Recorded(outcome) => {
                    if outcome.verdict == Verdict::Delivered {
                        model.settled(outcome.envelope);
                    }
                    self.inputs.push(Input::Recorded(outcome));
                }
                Done::Discard(id) => self.intake.backstage.orders.push_back(Order::Remove(id)),
                Done::Damaged(id) => panic!("{id} is damaged, and the disk never lies"),
            }
        }
    }

    /// Turns the scheduler. False when it had nothing to do.
    pub fn schedule(&mut self, clock: Clock) -> bool {
        let news = !self.inputs.is_empty();
        let mut outputs = Vec::new();
        self.scheduler.turn(clock, &mut self.inputs, &mut outputs);
        let news = news || !outputs.is_empty();
        for output in outputs {
            match output {
                Output::Deliver(batch) => self.batches.push(batch),
                Output::Record(outcome) => {
                    self.intake.backstage.requests.push(Request::Outcome(outcome));
                }
                Output::Store(request) => self.asked.push(request),
                Output::Expired(_, id) => panic!("{id} has expired"),
            }
        }
        news
    }

    /// Lets the store answer. False when it was not asked.
    pub fn turn_store(&mut self) -> bool {
        let asked = !self.asked.is_empty();
        let mut answers = Vec::new();
        self.store.turn(&mut self.asked, &mut answers);
        self.inputs.extend(answers.into_iter().map(Input::Store));
        asked
    }

    /// Tries one batch. False when there is none.
    pub fn deliver(&mut self, clock: Clock, rng: &mut Rng, model: &mut Model) -> bool {
        if self.batches.is_empty() {
            return false;
        }
        let batch = self.batches.swap_remove(rng.below(self.batches.len()));
        for job in &batch.jobs {
            model.tried(job.id);
            assert!(!self.delivered.contains(&job.id), "{} is tried again", job.id);
        }
        let report = self.worker.deliver(&batch, || clock.unix);
        for (id, attempt) in &report.attempts {
            match attempt {
                Attempt::Delivered => drop(self.delivered.insert(*id)),
                Attempt::Later(why) => {
                    assert!(!why.contains("defect"), "{id}: {why}");
                    model.tally.retried += 1;
                }
                // What cannot be read when the power has gone is no damage.
                Attempt::Failed(why) => assert!(self.disk.is_off(), "{id}: {why}"),
            }
        }
        self.inputs.push(Input::Finished(report));
        true
    }
}
