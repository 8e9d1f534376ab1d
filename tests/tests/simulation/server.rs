//! The server: the values that the daemon's threads turn, with queues between them instead of
//! channels. It does nothing by itself; `world` says what is next.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read};
use std::mem;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use smtpd::daemon::bounces::{Bouncer, Made};
use smtpd::daemon::deliver::Worker;
use smtpd::daemon::intake::{self, Backstage, Intake, client};
use smtpd::daemon::messages::{Asker, Waiting};
use smtpd::daemon::replies::{accepted, refused};
use smtpd::daemon::writer::{self, ContentWriter, Order};
use smtpd::sys::Zone;
use smtpd_config::Config;
use smtpd_engine::address::ReversePath;
use smtpd_engine::server::{self, Answer, Peer as Address, Ticket};
use smtpd_engine::time::Time;
use smtpd_queue::backend::{Commits, Leases, Reads};
use smtpd_queue::bounce::{Kind as Report, Notice};
use smtpd_queue::budget::Budget;
use smtpd_queue::commit::{Commit, Opened, Options};
use smtpd_queue::delivery::{Attempt, Batch, Kind};
use smtpd_queue::disk::fault::FaultDisk;
use smtpd_queue::envelope::{Agent, Due, Message, Source, Verdict};
use smtpd_queue::id::{EnvelopeId, MessageId};
use smtpd_queue::lease;
use smtpd_queue::maildir::Maildirs;
use smtpd_queue::reader::{Found, Reader};
use smtpd_queue::recovery::{Finding, Recovery};
use smtpd_queue::request::{Body, Done, Refusal, Request, Stored};
use smtpd_queue::scheduler::{self, Action, Clock, Input, OrderId, Output, Scheduler};
use smtpd_queue::spares::Filler;
use smtpd_queue::store::Store;
use smtpd_tests::rng::Rng;

use crate::behind::{Behind, THREADS};
use crate::connection::Connection;
use crate::index::Index;
use crate::mail::Manner;
use crate::model::{Copy, Model};
use crate::people::{Gate, HOST, People, UID, USERS, Whims};
use crate::trace::note;

/// Where the queue is.
pub const SPOOL: &str = "/var/spool";

/// See the module.
pub struct Server {
    disk: FaultDisk,
    whims: Rc<Whims>,
    /// That of the sessions, and that of the reports.
    pub budgets: [Budget; 2],
    /// None when it is closed.
    commit: Option<Box<dyn Commits<Asker<u64>>>>,
    /// What was in the queue is not known yet.
    recovery: Option<(Recovery, Box<Index>, Reader)>,
    /// Whether the last run had come to an orderly end.
    pub clean: bool,
    stopping: bool,
    reader: Arc<dyn Reads>,
    writers: [ContentWriter; THREADS],
    filler: Filler,
    intake: Intake<Behind, People>,
    connections: BTreeMap<u64, Connection>,
    scheduler: Scheduler,
    inputs: Vec<Input>,
    /// Messages that wait while the scheduler is behind.
    held: Vec<Request<Asker<u64>>>,
    /// None until the queue has been read.
    store: Option<Box<dyn Leases>>,
    asked: Vec<lease::Request>,
    workers: [Worker<People>; THREADS],
    batches: Vec<Batch>,
    bouncer: Bouncer<People>,
    notices: Vec<Notice>,
    /// Orders that are not answered.
    orders: HashSet<OrderId>,
    next_order: OrderId,
    /// Delivered by this process, on record or not.
    delivered: HashSet<EnvelopeId>,
    /// Messages of which nobody knows whether the next process will find them. This one must
    /// not have them.
    fatal: HashSet<MessageId>,
    /// Content files that were to be removed. The disk may have kept them.
    pub given_up: HashSet<MessageId>,
}

impl Server {
    /// Starts on what is on the disk.
    pub fn start(
        disk: &FaultDisk,
        config: &Arc<Config>,
        whims: &Rc<Whims>,
        rng: &mut Rng,
    ) -> io::Result<Self> {
        let all = Arc::new(disk.clone());
        let random = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
        let segment = *rng.pick(&[6 << 10, 64 << 10]);
        let options = Options { segment, ..Options::new(random) };
        let Opened { commit, recovery, ids, reader, spool, filler } =
            Commit::open(all.clone(), Path::new(SPOOL), &options)?;
        let (journal, contents) = (reader.clone(), Arc::new(spool));
        let epoch = reader.epoch();
        let reader: Arc<dyn Reads> = Arc::new(reader);
        let budget = Budget::new(*rng.pick(&[600, 3 << 10, 300 << 10, 64 << 20]));
        let gates = config.listeners.iter();
        let gates =
            gates.map(|listen| intake::Gate::new(config, listen, server::Report::All)).collect();
        let (seed, users) = (rng.next_u64(), People::new(whims, false));
        let reports = Budget::new(*rng.pick(&[6 << 10, 1 << 20]));
        let own = (reader.clone(), ids.clone(), reports.clone());
        let bouncer = Bouncer::new(config.clone(), People::new(whims, true), own);
        let own = (ids, budget.clone());
        let intake = Intake::new(config.clone(), gates, own, users, seed, Behind::default());
        let worker = |_| {
            let maildirs = Maildirs::new(all.clone(), reader.clone(), HOST);
            Worker::new(config.clone(), People::new(whims, true), maildirs, UID)
        };
        // All is found anew at every start, and again when the index breaks.
        let calls = if rng.one_in(2) { rng.below(60) } else { usize::MAX };
        let index = Box::new(Index::new(calls));
        let mut scheduler = Scheduler::new(scheduling(rng), reader.destinations(), epoch);
        let seconds = *rng.pick(&[&[][..], &[5, 600], &[3600, 4000]]);
        scheduler.warn_at(seconds.iter().map(|age| Duration::from_secs(*age)).collect());
        Ok(Self {
            disk: disk.clone(),
            whims: whims.clone(),
            budgets: [budget, reports],
            commit: Some(Box::new(commit)),
            recovery: Some((recovery, index, journal)),
            clean: false,
            stopping: false,
            writers: [(); THREADS].map(|()| ContentWriter::new(contents.clone())),
            filler,
            intake,
            connections: BTreeMap::new(),
            scheduler,
            inputs: Vec::new(),
            held: Vec::new(),
            store: None,
            asked: Vec::new(),
            workers: [(); THREADS].map(worker),
            batches: Vec::new(),
            bouncer,
            notices: Vec::new(),
            orders: HashSet::new(),
            next_order: 0,
            delivered: HashSet::new(),
            fatal: HashSet::new(),
            given_up: HashSet::new(),
            reader,
        })
    }

    /// A peer has connected.
    pub fn connect(&mut self, conn: u64, manner: Manner, now: Time) {
        let gate = Gate::ALL.iter().position(|gate| *gate == manner.gate);
        let remote = Ipv4Addr::new(192, 0, 2, 1);
        let ip = IpAddr::V4(if manner.loopback { Ipv4Addr::LOCALHOST } else { remote });
        let (gate, peer) = (gate.expect("all are listed"), Address::Ip(ip));
        let (params, own) = self.intake.open(gate, peer, conn);
        let connection = Connection::new(params, own, peer, now);
        self.connections.insert(conn, connection);
    }

    /// Octets of a peer's come in.
    pub fn receive(&mut self, conn: u64, octets: &[u8]) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.receive(octets);
        }
    }

    /// What the peer hears now, and whether that was all.
    pub fn heard(&mut self, conn: u64) -> (Vec<u8>, bool) {
        let Some(connection) = self.connections.get_mut(&conn) else { return (Vec::new(), true) };
        (connection.heard(), connection.closed)
    }

    /// The connection is no more.
    pub fn hang_up(&mut self, conn: u64) {
        if let Some(mut connection) = self.connections.remove(&conn) {
            connection.hang_up(&mut self.intake);
        }
    }

    /// Something is done to a session, which then takes what it has.
    fn with<T>(
        &mut self,
        conn: u64,
        clock: Clock,
        act: impl FnOnce(&mut Connection) -> T,
    ) -> Option<T> {
        self.intake.backstage.wall = clock.unix;
        let connection = self.connections.get_mut(&conn).filter(|one| !one.closed)?;
        let came = act(connection);
        connection.run(conn, &mut self.intake, clock.mono);
        Some(came)
    }

    /// Lets a session take what it has.
    pub fn run(&mut self, conn: u64, clock: Clock) {
        let _ = self.with(conn, clock, |_| ());
    }

    /// Answers a session's question. False when the question was no longer open.
    fn answer(&mut self, conn: u64, ticket: Ticket, answer: Answer, clock: Clock) -> bool {
        let answered = |connection: &mut Connection| connection.answer(ticket, answer, clock.mono);
        self.with(conn, clock, answered).unwrap_or(true)
    }

    /// Does what is due in the sessions.
    pub fn time_passes(&mut self, clock: Clock) {
        let due = self.connections.iter().filter(|(_, one)| one.deadline() <= clock.mono);
        let due: Vec<u64> = due.map(|(conn, _)| *conn).collect();
        for conn in due {
            let _ = self.with(conn, clock, |connection| connection.timeout(clock.mono));
        }
    }

    /// When something happens by itself.
    pub fn next_deadline(&self, clock: Clock) -> Option<Time> {
        let sessions = self.connections.values().map(Connection::deadline);
        let sessions = sessions.filter(|at| *at != Time::NEVER);
        sessions.chain(self.scheduler.next_wakeup(clock)).min()
    }

    /// Has a client's name found, or that it has none. False when nobody asks.
    fn find_name(&mut self, clock: Clock, rng: &mut Rng) -> bool {
        let names = &mut self.intake.backstage.names;
        if names.is_empty() {
            return false;
        }
        let question = names.swap_remove(rng.below(names.len()));
        let name = client::Name { name: "peer.example".into(), confirmed: rng.one_in(2) };
        question.slot.put((!rng.one_in(3)).then_some(name));
        self.intake.backstage.wall = clock.unix;
        let connection = self.connections.get_mut(&question.conn).filter(|one| !one.closed);
        let resumed = connection.and_then(|one| one.resumed(question.conn, &mut self.intake));
        if let Some((ticket, answer)) = resumed {
            assert!(self.answer(question.conn, ticket, answer, clock), "the question was open");
        }
        true
    }

    /// Has one recipient judged, or one name found. False when there is neither.
    pub fn look_up(&mut self, clock: Clock, rng: &mut Rng, model: &mut Model) -> bool {
        let is_alone = self.intake.backstage.questions.is_empty();
        if (is_alone || rng.one_in(2)) && self.find_name(clock, rng) {
            return true;
        }
        let questions = &mut self.intake.backstage.questions;
        if questions.is_empty() {
            return false;
        }
        let question = questions.swap_remove(rng.below(questions.len()));
        let reply = question.judge(&People::new(&self.whims, true)).expect("it may wait");
        note(|| format!("{:?} is judged: {reply:?}", question.about));
        if !self.answer(question.conn, question.ticket, reply.into(), clock) {
            note(|| "too late".to_owned());
            model.tally.late += 1;
        }
        true
    }

    /// Carries out one order for a content file. False when there is none.
    pub fn write_content(&mut self, clock: Clock, rng: &mut Rng, model: &mut Model) -> bool {
        let first = rng.below(THREADS);
        let orders = &mut self.intake.backstage.orders;
        let mut writers = (first..THREADS).chain(0..first);
        let Some(nth) = writers.find(|nth| !orders[*nth].is_empty()) else { return false };
        let Some(order) = orders[nth].pop_front() else { return false };
        match &order {
            Order::Remove(message) => {
                model.tally.removed += 1;
                self.given_up.insert(*message);
            }
            // If that fails, there is nothing to be committed.
            Order::Finish(accept) => drop(self.given_up.insert(accept.message.id)),
            Order::Write { .. } => {}
        }
        let done = self.writers[nth].carry_out(order);
        match done {
            // What was said before the power went is all that is said.
            _ if self.disk.is_off() => {}
            Some(writer::Done::Resume(conn)) => {
                model.tally.resumed += 1;
                let _ = self.with(conn, clock, |connection| connection.resume(clock.mono));
            }
            Some(writer::Done::Commit(accept)) => {
                self.given_up.remove(&accept.message.id);
                self.intake.backstage.requests.push(Request::Accept(accept));
            }
            Some(writer::Done::Refuse(asker, why)) => {
                let Asker::Peer(waiting) = asker else { panic!("only peers have files here") };
                self.refuse(waiting, why, clock, model);
            }
            None => {}
        }
        true
    }

    fn refuse(&mut self, waiting: Waiting<u64>, why: Refusal, clock: Clock, model: &mut Model) {
        match why {
            Refusal::NoSpace => model.tally.full += 1,
            Refusal::Failed => model.tally.failed += 1,
            Refusal::Fatal => model.tally.fatal += 1,
        }
        self.answer(waiting.conn, waiting.ticket, refused(why).into(), clock);
    }

    /// Whether a message waits to be committed.
    pub fn has_messages(&self) -> bool {
        self.intake.backstage.requests.iter().any(is_accept)
    }

    /// Makes durable what waits for it. False when nothing does.
    pub fn commit(&mut self, clock: Clock, model: &mut Model) -> bool {
        let Some(commit) = &mut self.commit else { return false };
        let requests = &mut self.intake.backstage.requests;
        // As the daemon's commit thread does: outcomes never wait.
        if self.scheduler.is_pressed() && !self.stopping {
            let held = requests.extract_if(.., |request| is_from_outside(request));
            self.held.extend(held.inspect(|_| model.tally.pressed += 1));
        } else {
            self.held.append(requests);
            mem::swap(&mut self.held, requests);
        }
        for request in &*requests {
            if let Request::Accept(accept) = request {
                let in_file = matches!(accept.content.body, Body::File(_));
                model.tally.in_files += u64::from(in_file);
            }
        }
        let waits = !requests.is_empty();
        let mut done = Vec::new();
        commit.turn(clock.mono, requests, &mut done);
        self.tell(done, clock, model);
        waits
    }

    /// Keeps the journal small.
    pub fn tidy(&mut self, clock: Clock, model: &mut Model) {
        let Some(commit) = &mut self.commit else { return };
        let mut done = Vec::new();
        commit.tidy(clock.mono, &mut done);
        if commit.wants_help() {
            // What is not made now is made later.
            let _ = self.filler.fill();
        }
        self.tell(done, clock, model);
    }

    fn tell(&mut self, done: Vec<Done<Asker<u64>>>, clock: Clock, model: &mut Model) {
        if self.disk.is_off() {
            return;
        }
        for done in done {
            match done {
                Done::Accepted { token, message, content } => {
                    note(|| format!("message {} is accepted", message.id));
                    model.accepted(&message);
                    let reply = accepted(message.id);
                    match token {
                        Asker::Report(_) => model.report_accepted(message.id),
                        Asker::Peer(Waiting { conn, ticket, .. }) => {
                            self.answer(conn, ticket, reply.into(), clock);
                        }
                        Asker::Tool(_) => panic!("nobody imports here"),
                    }
                    self.inputs.push(Input::Accepted(message, content));
                }
                Done::Refused { token, message, why } => {
                    note(|| format!("message {message} is refused: {why}"));
                    match why {
                        Refusal::Fatal => drop(self.fatal.insert(message)),
                        Refusal::Failed | Refusal::NoSpace => model.refused(message),
                    }
                    match token {
                        Asker::Peer(waiting) => self.refuse(waiting, why, clock, model),
                        Asker::Report(ids) => {
                            model.unsent(&ids);
                            self.inputs.push(Input::Unsent(ids));
                        }
                        Asker::Tool(_) => panic!("nobody imports here"),
                    }
                }
                Done::Recorded(outcome) => {
                    match &outcome.verdict {
                        Verdict::Delivered => model.settled(outcome.envelope),
                        Verdict::Removed => model.given_up(outcome.envelope),
                        Verdict::Changed(state) => {
                            model.stands(outcome.envelope, state.suspended);
                        }
                        Verdict::Later { .. } | Verdict::Held { .. } => {
                            model.stands(outcome.envelope, false);
                        }
                    }
                    note(|| format!("on record: {outcome:?}"));
                    self.inputs.push(Input::Recorded(outcome));
                }
                Done::Void(outcome) => panic!("nobody else has {}", outcome.envelope),
                Done::Discard(id) => self.intake.backstage.remove(id),
                Done::Damaged(id) => panic!("{id} is damaged, and the disk never lies"),
            }
        }
    }

    /// Turns the scheduler. False when it had nothing to do.
    pub fn schedule(&mut self, clock: Clock, model: &mut Model) -> bool {
        let news = !self.inputs.is_empty();
        let mut outputs = Vec::new();
        self.scheduler.turn(clock, &mut self.inputs, &mut outputs);
        let news = news || !outputs.is_empty();
        for output in outputs {
            match output {
                Output::Deliver(batch) => {
                    let kind = batch.kind;
                    assert!(!self.scheduler.is_paused(kind), "{kind:?} is tried while paused");
                    self.batches.push(batch);
                }
                Output::Record(outcome) => {
                    self.intake.backstage.requests.push(Request::Outcome(outcome));
                }
                Output::Store(request) => self.asked.push(request),
                Output::Bounce(notice) => self.notices.push(notice),
                Output::Removed(_, id) => model.taken_out(id),
                Output::Administered { order, changed } => {
                    note(|| format!("order {order} has changed {changed}"));
                    assert!(self.orders.remove(&order), "an answer to no order");
                    model.tally.obeyed += 1;
                }
                Output::Expired(message, id) => {
                    note(|| format!("{id} has expired"));
                    let ttl = message.envelopes.iter().find(|one| one.id == id).map(|one| one.ttl);
                    let end = message.ctime + u64::from(ttl.expect("its own")) * 1_000_000;
                    assert!(clock.unix >= end, "{id} expired before its time");
                    model.tally.expired += 1;
                }
            }
        }
        news
    }

    /// An administrator orders something, if there is something: about one envelope, a message or
    /// all.
    pub fn order(&mut self, rng: &mut Rng, model: &mut Model) {
        let ids = self.reader.behind(None, usize::MAX);
        if ids.is_empty() || self.disk.is_off() {
            return;
        }
        let action = *rng.pick(&[
            Action::Schedule,
            Action::Hold,
            Action::Hold,
            Action::Resume,
            Action::Remove,
        ]);
        let one = *rng.pick(&ids);
        let (all, single) = (rng.one_in(4) && action != Action::Remove, rng.one_in(2));
        let read = |id: &MessageId| self.reader.message(*id).ok().flatten();
        let mut found: Vec<Found> = if all {
            ids.iter().filter_map(read).collect()
        } else {
            read(&one).into_iter().collect()
        };
        if single && !all {
            for found in &mut found {
                let nth = rng.below(found.message.envelopes.len());
                let mut message = Message::clone(&found.message);
                message.envelopes = vec![message.envelopes.swap_remove(nth)];
                found.message = Arc::new(message);
            }
        }
        let envelopes = |found: &Found| {
            let ids = found.message.envelopes.iter().map(|envelope| envelope.id);
            ids.collect::<Vec<_>>()
        };
        for found in &found {
            match action {
                Action::Remove => {
                    let ids = envelopes(found);
                    let Ok(copies) = self.copies(&found.message, &found.content, ids) else {
                        return;
                    };
                    copies.into_iter().for_each(|copy| model.ordered_away(copy));
                }
                Action::Resume => envelopes(found).into_iter().for_each(|id| model.ordered_on(id)),
                Action::Hold | Action::Schedule => {}
            }
        }
        let envelopes: Vec<_> = found.iter().flat_map(envelopes).collect();
        self.give(action, envelopes);
    }

    fn give(&mut self, action: Action, envelopes: Vec<EnvelopeId>) {
        let id = self.next_order;
        note(|| format!("order {id}: {action:?} {envelopes:?}"));
        self.next_order += 1;
        self.orders.insert(id);
        self.inputs.push(Input::Administer(scheduler::Order { id, envelopes, action }));
    }

    /// An administrator stops deliveries, or lets them go on.
    pub fn pause(&mut self, model: &mut Model) {
        if self.scheduler.pause(Kind::Mda) {
            model.tally.paused += 1;
        } else if !self.stopping {
            self.scheduler.resume(Kind::Mda);
        }
    }

    /// An administrator lets everything go on that was paused.
    pub fn let_go(&mut self, model: &mut Model) {
        if !self.stopping {
            self.scheduler.resume(Kind::Mda);
        }
        if !self.orders.is_empty() {
            return;
        }
        let mut paused = Vec::new();
        for found in self.queue() {
            let all = found.message.envelopes.iter().zip(&found.states);
            paused.extend(all.filter(|(_, state)| state.suspended).map(|(one, _)| one.id));
        }
        if !paused.is_empty() {
            paused.iter().for_each(|id| model.ordered_on(*id));
            self.give(Action::Resume, paused);
        }
    }

    /// Reads what was in the queue, unless that was done. Errors are those of a disk without
    /// power.
    pub fn read(&mut self) -> io::Result<()> {
        let Some((recovery, index, journal)) = self.recovery.take() else { return Ok(()) };
        let recovered = recovery.run()?;
        let is_torn = |finding: &Finding| matches!(finding, Finding::Torn { .. });
        let torn = recovered.findings.iter().any(is_torn);
        for finding in &recovered.findings {
            // The disk did not let it go; the next start will.
            if let Finding::Left { path, .. } = finding {
                let id = path.file_name().and_then(|name| name.to_str()?.parse().ok());
                self.given_up.insert(id.expect("content files are called by their message"));
                continue;
            }
            // What is left of a group may have named the content that is set aside.
            let aside = torn && matches!(finding, Finding::SetAside(_));
            let usual = is_torn(finding) || matches!(finding, Finding::Removed(_));
            assert!(usual || aside, "a power cut is no damage: {finding}");
        }
        self.clean = recovered.clean;
        self.store = Some(Box::new(Store::with(index, journal, recovered.live)));
        Ok(())
    }

    /// Whether what was in the queue is known.
    pub fn has_read(&self) -> bool {
        self.store.is_some()
    }

    /// Lets the store answer, which first reads what was in the queue. False when it was not
    /// asked.
    pub fn turn_store(&mut self, model: &mut Model) -> bool {
        let first = self.store.is_none();
        if self.read().is_err() {
            assert!(self.disk.is_off(), "the queue cannot be read");
        }
        let Some(store) = &mut self.store else { return false };
        let asked = first || !self.asked.is_empty() || store.is_busy();
        let mut answers = Vec::new();
        store.turn(&mut self.asked, &mut answers);
        for answer in &answers {
            match answer {
                lease::Answer::Lent { envelopes, .. } => {
                    model.tally.claimed += envelopes.len() as u64;
                }
                lease::Answer::Lost => model.tally.index_lost += 1,
                lease::Answer::Stored(_)
                | lease::Answer::Void(_)
                | lease::Answer::Fetched { .. }
                | lease::Answer::Filled { .. } => {}
            }
        }
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
            assert!(!self.fatal.contains(&job.id.message()), "{} was answered 421", job.id);
        }
        let (report, relayed) = self.workers[rng.below(THREADS)].deliver(&batch, || clock.unix);
        assert!(relayed.is_empty(), "nobody relays");
        note(|| format!("tried: {:?}", report.attempts));
        for (id, attempt) in &report.attempts {
            match attempt {
                Attempt::Delivered => drop(self.delivered.insert(*id)),
                Attempt::Relayed(_) => panic!("{id}: nobody relays"),
                Attempt::Later(why) => {
                    assert!(!why.text.contains("defect"), "{id}: {why:?}");
                    model.tally.retried += 1;
                }
                // What cannot be read when the power has gone is no damage.
                Attempt::Failed(why) => {
                    let gone = why.text == "user dave does not exist";
                    assert!(gone || self.disk.is_off(), "{id}: {why:?}");
                }
                Attempt::Held(why) => panic!("{id}: {why}"),
            }
        }
        self.inputs.push(Input::Finished(report));
        true
    }

    /// Makes one report. False when there is none to be made.
    pub fn bounce(&mut self, clock: Clock, rng: &mut Rng, model: &mut Model) -> bool {
        if self.notices.is_empty() {
            return false;
        }
        let notice = self.notices.swap_remove(rng.below(self.notices.len()));
        note(|| format!("to be told: {:?} {:?}", notice.kind, notice.about));
        if notice.kind.is_success() {
            for id in notice.ids() {
                assert!(asks(&notice.message, id), "nobody asked to be told of {id}");
            }
        }
        if notice.kind == Report::Failed {
            match self.copies(&notice.message, &notice.content, notice.ids()) {
                Ok(copies) => copies.into_iter().for_each(|copy| model.gives_up(copy)),
                Err(error) => {
                    // Without power nothing comes of it; else it is tried again.
                    note(|| format!("its content cannot be read: {error}"));
                    self.inputs.push(Input::Unsent(notice.ids().collect()));
                    return true;
                }
            }
        }
        let requests = &mut self.intake.backstage.requests;
        for made in self.bouncer.make(&notice, clock.unix, |_| Zone::default()) {
            match made {
                Made::Report(accept) => {
                    model.report_made(&accept, notice.kind);
                    requests.push(Request::Accept(accept.map(Asker::Report)));
                }
                Made::Nobody(outcomes) => {
                    model.tally.dropped += outcomes.len() as u64;
                    requests.extend(outcomes.into_iter().map(Request::Outcome));
                }
                Made::Later(ids) => {
                    model.unsent(&ids);
                    self.inputs.push(Input::Unsent(ids));
                }
            }
        }
        true
    }

    /// What would have been delivered of some envelopes of a message.
    fn copies(
        &self,
        message: &Message,
        content: &Stored,
        ids: impl IntoIterator<Item = EnvelopeId>,
    ) -> io::Result<Vec<Copy>> {
        let mut octets = Vec::new();
        self.reader.open(content)?.read_to_end(&mut octets)?;
        octets.retain(|octet| *octet != b'\r');
        let from = &message.sender;
        let copy = |id| {
            let envelope = message.envelopes.iter().find(|one| one.id == id);
            let envelope = envelope.expect("its own");
            let head = format!("Return-Path: <{from}>\nDelivered-To: {}\n", envelope.dest);
            let Agent::Mda { user } = &envelope.agent else { panic!("nobody relays") };
            let user = USERS.into_iter().find(|one| one == user).expect("a user");
            Copy { envelope: id, user, text: [head.as_bytes(), &octets].concat() }
        };
        Ok(ids.into_iter().map(copy).collect())
    }

    /// Octets of memory in use.
    pub fn used(&self) -> usize {
        self.budgets.iter().map(Budget::used).sum()
    }

    /// Whether an envelope is in the queue.
    pub fn has(&self, id: EnvelopeId) -> bool {
        let found = self.reader.message(id.message()).expect("the power is on");
        found.is_some_and(|found| found.message.envelopes.iter().any(|one| one.id == id))
    }

    /// What is in the queue.
    fn queue(&self) -> impl Iterator<Item = Found> {
        let ids = self.reader.behind(None, usize::MAX).into_iter();
        ids.filter_map(|id| self.reader.message(id).expect("the power is on"))
    }

    /// Whether nothing is in the queue and every order is answered. Nothing may be held, as all
    /// can be tried.
    pub fn is_drained(&self) -> bool {
        self.queue().for_each(|found| {
            let held = found.states.iter().find(|state| state.due == Due::Held);
            assert!(held.is_none(), "something of {} is held: {held:?}", found.message.id);
        });
        self.reader.messages() == 0 && self.orders.is_empty()
    }

    /// Tells all peers that the server ends, and begins nothing more.
    pub fn shut_down(&mut self, clock: Clock) {
        self.stopping = true;
        for kind in Kind::ALL {
            self.scheduler.pause(kind);
        }
        for conn in self.connections.keys().copied().collect::<Vec<_>>() {
            let _ = self.with(conn, clock, |connection| connection.shut_down(clock.mono));
        }
    }

    /// Closes the queue; false when the disk did not let it.
    pub fn close(&mut self) -> bool {
        let mut outputs = Vec::new();
        self.scheduler.close(&mut outputs);
        let commit = self.commit.take();
        commit.is_some_and(|commit| commit.close().is_ok())
    }
}

/// Whether the sender is to be told when this envelope is delivered.
pub fn asks(message: &Message, id: EnvelopeId) -> bool {
    let Some(envelope) = message.envelopes.iter().find(|one| one.id == id) else { return false };
    message.source == Source::Ip(Ipv4Addr::LOCALHOST.into())
        && message.sender != ReversePath::Null
        && envelope.notify.is_some_and(|notify| notify.success)
}

fn is_accept<T>(request: &Request<T>) -> bool {
    matches!(request, Request::Accept(_))
}

/// Reports have outcomes with them, which never wait.
fn is_from_outside<T>(request: &Request<T>) -> bool {
    matches!(request, Request::Accept(accept) if accept.causes.is_empty())
}

/// Room for everything, or for nearly nothing.
fn scheduling(rng: &mut Rng) -> scheduler::Options {
    let usual = scheduler::Options::default();
    if rng.one_in(2) {
        return usual;
    }
    scheduler::Options {
        memory: 2 + rng.below(4),
        per_lane: 2 + rng.below(3),
        content: rng.below(5000) as u64,
        near: Duration::from_secs(rng.below(20) as u64),
        ..usual
    }
}
