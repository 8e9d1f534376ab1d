//! Carries out what `schedule.rs` and `lanes` decide: which envelope is tried now, what
//! becomes of it afterwards, and which of them are in memory meanwhile.
//!
//! A value without thread, clock or disk: what has happened goes in, what is to be done comes
//! out, and [`Scheduler::next_wakeup`] says when it wants to be asked again. A new envelope is
//! handed out by the turn that is told of it.
//!
//! An envelope enters by [`Input::Accepted`] or out of the [store](crate::store). It leaves
//! memory only when it is settled on disk or when the store has it; so whatever happens in
//! between, it is in exactly one place. How many are here is bounded ([`Options::memory`]):
//! those that find no room, or whose next attempt is not near, wait in the store.
//!
//! ```text
//!  Accepted --> due --> in flight --> recording --> (gone: settled)
//!                ^         ^              |
//!     claimed ---+         |              +--> near: again within seconds
//!     from the store       +-- when due ----------+
//!                                         +--> leaving --> (gone: in the store)
//! ```
//!
//! What fails for good or expires goes back to its sender, and its outcome is recorded with the
//! report; so is what was delivered, if its sender asked to be told. What cannot be tried is held
//! with its reason. Nothing is dropped.
//!
//! | file | holds |
//! |---|---|
//! | `memory` | the envelopes in memory, and in which phase each is |
//! | `administer` | orders given by hand |
//! | `reports` | what the senders are told |
//! | `options` | clocks and bounds |

mod administer;
mod memory;
mod options;
mod reports;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use smtpd_engine::time::Time;

use crate::bounce::{EXPIRED, Kind as Told, Notice};
use crate::delivery::{Attempt, Batch, Failure, Job, Kind, Report, envelope};
use crate::destination::Destinations;
use crate::envelope::{Due, Message, Outcome, State, Verdict};
use crate::id::{EnvelopeId, MessageId};
use crate::lanes::{BatchId, Lanes, Limits};
use crate::lease::{Answer, Epoch, Lent, Request};
use crate::request::Stored;
use crate::schedule;
use crate::waiting::{Change, Claim, Place};

use administer::Orders;
pub use administer::{Action, Order, OrderId};
use memory::{Entry, Memory, Phase};
pub use options::{Clock, Options};
use reports::Reports;

/// Something that has happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A message was committed.
    Accepted(Arc<Message>, Stored),
    /// A batch was tried, or a part of it.
    Finished(Report),
    /// An outcome is on disk.
    Recorded(Outcome),
    /// The outcome is void, and so is the lease: somebody else has the envelope.
    Void(EnvelopeId),
    /// The message was damaged on disk and has left the queue.
    Damaged(MessageId),
    /// No report could be made about these envelopes of an [`Output::Bounce`] for now.
    Unsent(Vec<EnvelopeId>),
    /// The store answers.
    Store(Answer),
    /// An administrator gives an order; answered with [`Output::Administered`].
    Administer(Order),
}

/// Something to be done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Try these envelopes, and answer with [`Input::Finished`] until each has been told of.
    Deliver(Batch),
    /// Make this outcome durable, and answer with [`Input::Recorded`].
    Record(Outcome),
    /// Ask the store; it must see all these in the order in which they came out.
    Store(Request),
    /// Tell the sender, in one record with the outcomes in it, and answer with
    /// [`Input::Recorded`] for each of them, or with [`Input::Unsent`].
    Bounce(Notice),
    /// Tell the log that this envelope has been tried for the last time.
    Expired(Arc<Message>, EnvelopeId),
    /// Tell the log that this envelope was taken out by hand; that is on disk.
    Removed(Arc<Message>, EnvelopeId),
    /// An order has been carried out: what it changed is on disk, or will be when the attempt
    /// that is under way has ended.
    Administered {
        /// The order.
        order: OrderId,
        /// How many envelopes are not as they were.
        changed: usize,
    },
}

/// The envelopes that are being tried, and since when by the wall clock, in microseconds since
/// 1970.
pub type InFlight = HashMap<EnvelopeId, u64>;

/// See the top of the file.
#[derive(Debug)]
pub struct Scheduler {
    options: Options,
    destinations: Destinations,
    memory: Memory,
    orders: Orders,
    reports: Reports,
    agents: [Agent; 2],
    next_batch: BatchId,
    /// Names what is accepted and lent here.
    epoch: Epoch,
    /// The clocks of the last turn.
    last: Option<Clock>,
}

/// What there is for each kind.
#[derive(Debug)]
struct Agent {
    paused: bool,
    lanes: Lanes,
    /// The earliest due time in the store, as far as is known.
    next_in_store: Option<u64>,
    /// A claim is under way.
    asked: bool,
    /// The destinations that were passed over by the last claim while something of theirs was
    /// due, because enough of it was here.
    passed_over: HashSet<u64>,
}

impl Agent {
    fn new(limits: Limits) -> Self {
        Self {
            paused: false,
            lanes: Lanes::new(limits),
            // What the last process left.
            next_in_store: Some(0),
            asked: false,
            passed_over: HashSet::new(),
        }
    }

    /// Something in the store is due then.
    fn note_in_store(&mut self, due: u64) {
        self.next_in_store = Some(self.next_in_store.map_or(due, |next| next.min(due)));
    }
}

impl Scheduler {
    /// A scheduler with nothing in memory. What waits in the store is asked for by the first
    /// turn. All that it hears of is lent under this epoch.
    pub fn new(options: Options, destinations: Destinations, epoch: Epoch) -> Self {
        Self {
            options,
            destinations,
            memory: Memory::default(),
            orders: Orders::default(),
            reports: Reports::default(),
            agents: [Agent::new(options.mda), Agent::new(options.mta)],
            next_batch: 0,
            epoch,
            last: None,
        }
    }

    /// Takes in what has happened and adds to `outputs` what is to be done.
    pub fn turn(&mut self, now: Clock, inputs: &mut Vec<Input>, outputs: &mut Vec<Output>) {
        self.notice_steps(now);
        for input in inputs.drain(..) {
            match input {
                Input::Accepted(message, content) => self.accepted(message, content, outputs),
                Input::Finished(report) => self.finished(report, now, outputs),
                Input::Recorded(outcome) => self.recorded(outcome, now, outputs),
                Input::Void(id) => self.forget(id, outputs),
                Input::Damaged(message) => self.damaged(message, outputs),
                Input::Unsent(ids) => self.unsent(ids, now, outputs),
                Input::Store(answer) => self.answered(answer, now, outputs),
                Input::Administer(order) => self.administer(order, now, outputs),
            }
        }
        self.tell_senders(now, outputs);
        for id in self.memory.due(now.mono) {
            self.is_due(id);
        }
        for kind in Kind::ALL {
            self.begin(kind, now, outputs);
            self.claim(kind, now, outputs);
        }
    }

    /// When [`Scheduler::turn`] is to be called if nothing happens before.
    pub fn next_wakeup(&self, now: Clock) -> Option<Time> {
        let agents = Kind::ALL.into_iter().filter(|kind| !self.agent(*kind).paused);
        let agents = agents.flat_map(|kind| {
            let agent = self.agent(kind);
            let may_claim = !agent.asked && self.room(kind) > 0;
            let store = agent.next_in_store.filter(|_| may_claim);
            let wait = store.map(|due| match schedule::from_another_clock(due, now.unix) {
                true => Duration::ZERO,
                false => Duration::from_micros(due.saturating_sub(now.unix)),
            });
            [wait.map(|wait| now.mono + wait), agent.lanes.wakeup(now.mono)]
        });
        agents.chain([self.memory.first_near(), self.next_report()]).flatten().min()
    }

    /// Begins no more attempts of this kind. False if it is paused already.
    pub fn pause(&mut self, kind: Kind) -> bool {
        !mem::replace(&mut self.agent_mut(kind).paused, true)
    }

    /// Goes on; a turn is due. False if it is not paused.
    pub fn resume(&mut self, kind: Kind) -> bool {
        mem::replace(&mut self.agent_mut(kind).paused, false)
    }

    /// Whether attempts of this kind are paused.
    pub fn is_paused(&self, kind: Kind) -> bool {
        self.agent(kind).paused
    }

    /// Whether more is in memory than was allowed for, because the store is behind. Accepting
    /// should wait until it is not.
    pub fn is_pressed(&self) -> bool {
        Kind::ALL.into_iter().any(|kind| self.memory.len(kind) > 2 * self.options.memory)
    }

    /// What is being tried.
    pub fn in_flight(&self) -> InFlight {
        self.memory.in_flight().collect()
    }

    /// Whether something is being tried, or its outcome is on its way to the disk.
    pub fn is_busy(&self) -> bool {
        self.memory.is_busy()
    }

    /// Whether an outcome is on its way to the disk, if only by way of a report to the sender.
    pub fn is_recording(&self) -> bool {
        self.memory.is_recording()
    }

    /// Gives the store all that is in memory, for the end of the process: an index that is
    /// closed after these changes is complete. What is in flight is put back as it was.
    pub fn close(&mut self, outputs: &mut Vec<Output>) {
        for id in self.memory.ids() {
            self.put(id, outputs);
        }
    }

    fn accepted(&mut self, message: Arc<Message>, mut content: Stored, outputs: &mut Vec<Output>) {
        let octets = content.octets * message.envelopes.len() as u64;
        if self.memory.content() + octets > self.options.content {
            content.memory = None;
        }
        for envelope in &message.envelopes {
            let kind = envelope.agent.kind();
            let lane = self.destinations.lane(envelope);
            // A lane may have half as much as is left, so something is always left.
            let left = self.options.memory.saturating_sub(self.memory.staying(kind));
            let most = self.options.per_lane.min(left.div_ceil(2));
            let fits = self.agent(kind).lanes.waiting(lane) < most;
            let entry = Entry {
                message: Arc::clone(&message),
                content: content.clone(),
                state: State::new(message.ctime),
                kind,
                lane,
                phase: Phase::New,
                again: false,
                is_lent: false,
                in_store: false,
                wishes: None,
            };
            // A store that was lost may have found it in the journal before we heard of it.
            if !self.memory.insert(envelope.id, entry) {
                continue;
            }
            if fits {
                self.is_due(envelope.id);
            } else {
                self.put(envelope.id, outputs);
            }
        }
    }

    fn finished(&mut self, report: Report, now: Clock, outputs: &mut Vec<Output>) {
        for (id, attempt) in report.attempts {
            let mut agents = self.agents.iter_mut();
            if !agents.any(|agent| agent.lanes.end(report.batch, id)) {
                continue;
            }
            let Some(entry) = self.memory.get(id) else { continue };
            let Phase::InFlight { .. } = entry.phase else { continue };
            self.memory.drop_content(id);
            if !attempt.is_success() && self.is_unwanted(id) {
                self.memory.set_phase(id, Phase::New);
                self.obey(id, now, outputs);
                continue;
            }
            self.attempted(id, attempt, now, outputs);
            self.touch(id.message());
        }
    }

    /// What an attempt means for its envelope.
    fn attempted(
        &mut self,
        id: EnvelopeId,
        attempt: Attempt,
        now: Clock,
        outputs: &mut Vec<Output>,
    ) {
        let Some(Entry { message, .. }) = self.memory.get(id) else { return };
        let is_over = schedule::expired(message.ctime, envelope(message, id).ttl, now.unix);
        match attempt {
            Attempt::Delivered => self.succeeded(id, Told::Delivered, None, now, outputs),
            Attempt::Relayed(Some(remote)) => {
                self.succeeded(id, Told::Relayed, Some(remote), now, outputs);
            }
            // Whoever has it now tells the sender, if he wants to know.
            Attempt::Relayed(None) => self.delivered(id, now, outputs),
            Attempt::Held(why) => self.hold(id, why, now, outputs),
            Attempt::Failed(failure) => self.give_up(id, failure, now),
            Attempt::Later(Failure { text, remote, .. }) if is_over => {
                outputs.push(Output::Expired(Arc::clone(message), id));
                let text = format!("Envelope expired: {text}");
                self.give_up(id, Failure { status: EXPIRED, text, remote, not_before: None }, now);
            }
            Attempt::Later(failure) => self.try_later(id, failure, now, outputs),
        }
    }

    fn recorded(&mut self, outcome: Outcome, now: Clock, outputs: &mut Vec<Output>) {
        let id = outcome.envelope;
        let by_hand = self.memory.get(id).is_some_and(|entry| entry.phase == Phase::Obeying);
        if by_hand {
            self.obeyed(id, outputs);
        }
        let Some(state) = State::after(&outcome) else {
            if let Some(entry) = self.memory.get(id).filter(|_| by_hand) {
                outputs.push(Output::Removed(Arc::clone(&entry.message), id));
            }
            return self.forget(id, outputs);
        };
        let due = state.next_try();
        if !self.memory.set_state(id, state.clone()) || self.obey(id, now, outputs) {
            return;
        }
        if self.reported(id, &state, now) {
            return;
        }
        let is_lent = self.memory.get(id).is_some_and(|entry| entry.is_lent);
        if let Due::At(due) = due {
            // A wait goes by the monotonic clock, so a step of the other does not change it.
            let wait = Duration::from_micros(due.saturating_sub(now.unix));
            // One that the store had gains nothing by staying, and an order can schedule many.
            let may_stay = !is_lent && self.memory.near() < self.options.memory / 2;
            if wait <= self.options.near && may_stay {
                return self.memory.set_phase(id, Phase::Near(now.mono + wait));
            }
        }
        self.put(id, outputs);
    }

    fn damaged(&mut self, message: MessageId, outputs: &mut Vec<Output>) {
        for id in self.memory.of(message) {
            self.forget(id, outputs);
        }
    }

    fn answered(&mut self, answer: Answer, now: Clock, outputs: &mut Vec<Output>) {
        match answer {
            Answer::Stored(place) => {
                let id = place.envelope;
                if let Some(Entry { phase: Phase::Leaving, .. }) = self.memory.get(id) {
                    self.memory.note_stored(id);
                    if !self.obey(id, now, outputs) {
                        self.memory.remove(id);
                    }
                }
                if let Due::At(due) = place.due {
                    self.agent_mut(place.kind).note_in_store(due);
                }
            }
            Answer::Void(id) => self.forget(id, outputs),
            Answer::Filled { kind, due } => self.agent_mut(kind).note_in_store(due),
            Answer::Lent { kind, envelopes, next, passed_over } => {
                let agent = self.agent_mut(kind);
                agent.asked = false;
                agent.next_in_store = next;
                if !passed_over {
                    agent.passed_over.clear();
                }
                for lent in envelopes {
                    let id = lent.id;
                    if self.insert_lent(lent) {
                        self.is_due(id);
                    }
                }
            }
            Answer::Fetched { envelopes, absent } => {
                self.fetched(envelopes, absent, now, outputs);
            }
            Answer::Lost => {
                outputs.push(Output::Store(Request::Known(self.memory.ids())));
                for id in self.memory.leaving() {
                    self.put(id, outputs);
                }
                self.fetch_again(outputs);
                for agent in &mut self.agents {
                    (agent.asked, agent.next_in_store) = (false, Some(0));
                }
            }
        }
    }

    /// Takes what the store has lent; false when it is here already.
    fn insert_lent(&mut self, lent: Lent) -> bool {
        let envelope = envelope(&lent.message, lent.id);
        let (kind, lane) = (envelope.agent.kind(), self.destinations.lane(envelope));
        let entry = Entry {
            message: lent.message,
            content: lent.content,
            state: lent.state,
            kind,
            lane,
            phase: Phase::New,
            again: true,
            is_lent: true,
            in_store: false,
            wishes: None,
        };
        self.memory.insert(lent.id, entry)
    }

    /// Puts an envelope into its lane.
    fn is_due(&mut self, id: EnvelopeId) {
        let Some(Entry { kind, lane, .. }) = self.memory.get(id) else { return };
        let (kind, lane) = (*kind, *lane);
        self.memory.set_phase(id, Phase::Due);
        self.agent_mut(kind).lanes.push(lane, id);
    }

    /// Gives an envelope to the store; it stays here until the store has it.
    fn put(&mut self, id: EnvelopeId, outputs: &mut Vec<Output>) {
        let Some(Entry { kind, lane, state, .. }) = self.memory.get(id) else { return };
        let place = Place { envelope: id, kind: *kind, lane: *lane, due: state.next_try() };
        self.memory.drop_content(id);
        self.memory.set_phase(id, Phase::Leaving);
        outputs.push(Output::Store(Request::Change(Change::Put(place), self.epoch)));
    }

    fn forget(&mut self, id: EnvelopeId, outputs: &mut Vec<Output>) {
        let Some(phase) = self.memory.get(id).map(|entry| entry.phase) else { return };
        let Some(entry) = self.memory.remove(id) else { return };
        if phase == Phase::Due {
            self.agent_mut(entry.kind).lanes.withdraw(entry.lane, id);
        }
        self.too_late(&entry, outputs);
        self.forget_report(id);
        // One that is leaving is in the store as soon as the store gets that far.
        if entry.in_store || phase == Phase::Leaving {
            outputs.push(Output::Store(Request::Change(Change::Remove(id), self.epoch)));
        }
    }

    /// Hands out what may be tried now.
    fn begin(&mut self, kind: Kind, now: Clock, outputs: &mut Vec<Output>) {
        while !self.agent(kind).paused {
            let id = self.next_batch;
            let most = self.options.inflight.saturating_sub(self.memory.flying());
            let own = self.options.share().saturating_sub(self.memory.flying_of(kind));
            let lanes = &mut self.agent_mut(kind).lanes;
            let Some(envelopes) = lanes.begin(id, now.mono, most.min(own)) else { break };
            self.next_batch += 1;
            let mut jobs = Vec::with_capacity(envelopes.len());
            for envelope in envelopes {
                match self.job(envelope, now) {
                    Some(job) => jobs.push(job),
                    // It has left the queue meanwhile.
                    None => drop(self.agent_mut(kind).lanes.end(id, envelope)),
                }
            }
            if !jobs.is_empty() {
                outputs.push(Output::Deliver(Batch { id, kind, jobs }));
            }
        }
    }

    fn job(&mut self, id: EnvelopeId, now: Clock) -> Option<Job> {
        let (entry, again) = self.memory.begin(id, now.unix)?;
        let (message, content) = (Arc::clone(&entry.message), entry.content.clone());
        Some(Job { message, id, content, again })
    }

    /// Asks the store for what is due, when there is room for it.
    fn claim(&mut self, kind: Kind, now: Clock, outputs: &mut Vec<Output>) {
        let room = self.room(kind);
        let many = (self.options.per_lane / 2).min(room / 8).max(1);
        let agent = self.agent_mut(kind);
        // What was on its way to the store when the clock was set back comes there with a due
        // time of the old one.
        let due = agent
            .next_in_store
            .is_some_and(|due| due <= now.unix || schedule::from_another_clock(due, now.unix));
        let cleared = agent.passed_over.iter().any(|lane| agent.lanes.waiting(*lane) < many);
        if agent.paused || agent.asked || room == 0 || !(due || cleared) {
            return;
        }
        agent.asked = true;
        let crowded: HashSet<_> = agent.lanes.crowded(many).collect();
        agent.passed_over.clone_from(&crowded);
        let claim = Claim { kind, now: now.unix, room, per_lane: many, crowded };
        outputs.push(Output::Store(Request::Claim(claim)));
    }

    /// How many envelopes may come from the store.
    fn room(&self, kind: Kind) -> usize {
        (self.options.memory / 2).saturating_sub(self.memory.lent(kind))
    }

    /// Sees a step of the wall clock, by comparison with the monotonic one.
    fn notice_steps(&mut self, now: Clock) {
        let Some(last) = self.last.replace(now) else { return };
        let passed = schedule::micros(now.mono.saturating_since(last.mono));
        let expected = last.unix.saturating_add(passed);
        // Clocks are slewed by less than a thousandth.
        if now.unix.abs_diff(expected) <= 1_000_000 + passed / 1000 {
            return;
        }
        let seconds = now.unix.abs_diff(expected) / 1_000_000;
        let way = if now.unix < expected { "back" } else { "forward" };
        log::warn!("the clock was set {way} by {seconds} seconds");
        // Set back: some of what is in the store may now be due impossibly late. A claim finds
        // it.
        for agent in &mut self.agents {
            agent.next_in_store = agent.next_in_store.map(|next| next.min(now.unix));
        }
    }

    fn outcome(&self, envelope: EnvelopeId, now: Clock, verdict: Verdict) -> Outcome {
        Outcome { envelope, lease: self.epoch, at: now.unix, verdict }
    }

    fn agent(&self, kind: Kind) -> &Agent {
        &self.agents[kind as usize]
    }

    fn agent_mut(&mut self, kind: Kind) -> &mut Agent {
        &mut self.agents[kind as usize]
    }
}
