//! What the senders are told of: envelopes that failed for good or expired, those that are late,
//! and those that went well, of which some ask to hear.
//!
//! Such an envelope stays in [`Phase::Recording`] until its outcome is on disk, which is in one
//! record with the report, or alone when there is nobody to be told. When no report can be made
//! now ([`Input::Unsent`](super::Input::Unsent)), it is tried again later like any that failed
//! for now, and whatever comes of that counts; nothing of this outlives the process, so after a
//! crash it is simply tried again. Of what went well the outcome is then recorded alone: it has
//! been delivered, and a report less is better than a message twice.
//!
//! What is to be told of several envelopes of a message is told together: the first of them
//! waits for the others that are being tried, up to [`TOGETHER`].

use std::collections::btree_map::{BTreeMap, Entry as Slot};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use smtpd_engine::time::Time;

use super::memory::{Entry, Phase};
use super::{Clock, Output, Scheduler};
use crate::bounce::{self, About, Kind, Notice};
use crate::delivery::{self, Failure, Remote, SUCCESS, envelope};
use crate::envelope::{Due, State, Verdict};
use crate::id::{EnvelopeId, MessageId};
use crate::schedule;

/// How long the first envelope of a report waits for others of its message.
const TOGETHER: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Reports {
    /// The ages at which a sender is told that his mail is late, ascending.
    ages: Vec<Duration>,
    gathered: BTreeMap<(MessageId, Kind), Gathered>,
    /// When what was gathered since is told in any case, in that order.
    deadlines: VecDeque<(Time, (MessageId, Kind))>,
    /// Messages of which something was tried or is to be told since they were looked at.
    touched: Vec<MessageId>,
    /// Envelopes whose sender is being told, and why they failed, if they did.
    open: HashMap<EnvelopeId, Option<Failure>>,
    /// The addresses of this machine, beside those of its loopback interface.
    own: Vec<IpAddr>,
}

#[derive(Debug)]
struct Gathered {
    until: Time,
    about: Vec<About>,
}

impl Scheduler {
    /// Tells senders at these ages, which ascend, that their mail is late.
    pub fn warn_at(&mut self, ages: Vec<Duration>) {
        self.reports.ages = ages;
    }

    /// Whoever sends from these addresses, or from those of the loopback interface, is told of
    /// success when he asks for it.
    pub fn own_addresses(&mut self, own: Vec<IpAddr>) {
        self.reports.own = own;
    }

    /// An attempt was the last: the sender is told, and then the envelope is gone.
    pub(super) fn give_up(&mut self, id: EnvelopeId, failure: Failure, now: Clock) {
        let (status, remote) = (failure.status, failure.remote.clone());
        let outcome = self.outcome(id, now, Verdict::Removed);
        self.tell(Kind::Failed, About { outcome, status, remote }, Some(failure), now);
    }

    /// An attempt has succeeded. The sender is told when he asked for that and may hear of it.
    pub(super) fn succeeded(
        &mut self,
        id: EnvelopeId,
        kind: Kind,
        remote: Option<Arc<Remote>>,
        now: Clock,
        outputs: &mut Vec<Output>,
    ) {
        let Some(Entry { message, .. }) = self.memory.get(id) else { return };
        let is_told = bounce::wants(envelope(message, id), kind)
            && bounce::may_hear_of_success(message, &self.reports.own)
            && bounce::address(message).is_ok();
        if !is_told {
            return self.delivered(id, now, outputs);
        }
        let status = remote.as_ref().map_or(SUCCESS, |remote| remote.success());
        let outcome = self.outcome(id, now, Verdict::Delivered);
        self.tell(kind, About { outcome, status, remote }, None, now);
    }

    /// The envelope is where it was to go, and nobody is told.
    pub(super) fn delivered(&mut self, id: EnvelopeId, now: Clock, outputs: &mut Vec<Output>) {
        self.memory.set_phase(id, Phase::Recording);
        outputs.push(Output::Record(self.outcome(id, now, Verdict::Delivered)));
    }

    /// An attempt failed for now. The sender is told when the envelope has reached an age for
    /// that.
    pub(super) fn try_later(
        &mut self,
        id: EnvelopeId,
        failure: Failure,
        now: Clock,
        outputs: &mut Vec<Output>,
    ) {
        let Some(entry) = self.memory.get(id) else { return };
        let unit = match entry.kind {
            delivery::Kind::Mda => schedule::LOCAL_UNIT,
            delivery::Kind::Mta => schedule::RELAY_UNIT,
        };
        let state = put_off(entry, &failure, unit, now.unix);
        if !self.warn(id, &state, &failure, now) {
            self.record(id, state, now, outputs);
        }
    }

    /// Tells the sender that the envelope is late, if it is and he does not know. `state` is how
    /// it stands otherwise.
    fn warn(&mut self, id: EnvelopeId, state: &State, failure: &Failure, now: Clock) -> bool {
        let Some(Entry { message, .. }) = self.memory.get(id) else { return false };
        let Due::At(due) = state.next_try() else { return false };
        let told = Duration::from_secs(state.told.into());
        let Some(age) = bounce::passed(&self.reports.ages, message.ctime, due, told) else {
            return false;
        };
        let kind = Kind::Delayed(age);
        if bounce::address(message).is_err() || !bounce::wants(envelope(message, id), kind) {
            return false;
        }
        let told = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
        let outcome = self.outcome(id, now, Verdict::Changed(State { told, ..state.clone() }));
        let (status, remote) = (failure.status, failure.remote.clone());
        self.tell(kind, About { outcome, status, remote }, Some(failure.clone()), now);
        true
    }

    /// The outcome of an envelope is on disk, which has come to this state. True: it told of one
    /// age, and another has passed as well, of which the sender is told now.
    pub(super) fn reported(&mut self, id: EnvelopeId, state: &State, now: Clock) -> bool {
        let open = self.reports.open.remove(&id);
        open.flatten().is_some_and(|failure| self.warn(id, state, &failure, now))
    }

    /// These reports could not be made now. What went well is settled all the same: to wait for
    /// another time would be to deliver it again after a crash.
    pub(super) fn unsent(&mut self, ids: Vec<EnvelopeId>, now: Clock, outputs: &mut Vec<Output>) {
        for id in ids {
            let Some(failure) = self.reports.open.remove(&id) else { continue };
            let Some(entry) = self.memory.get(id) else { continue };
            let Some(failure) = failure else {
                self.delivered(id, now, outputs);
                continue;
            };
            let state = put_off(entry, &failure, schedule::LOCAL_UNIT, now.unix);
            self.record(id, state, now, outputs);
        }
    }

    /// An envelope of this message has been tried.
    pub(super) fn touch(&mut self, message: MessageId) {
        if !self.reports.gathered.is_empty() {
            self.reports.touched.push(message);
        }
    }

    /// An envelope has left memory by another way.
    pub(super) fn forget_report(&mut self, id: EnvelopeId) {
        self.reports.open.remove(&id);
    }

    /// The envelope cannot be tried, for this reason.
    pub(super) fn hold(
        &mut self,
        id: EnvelopeId,
        error: String,
        now: Clock,
        outputs: &mut Vec<Output>,
    ) {
        let Some(Entry { state: State { tries, told, .. }, .. }) = self.memory.get(id) else {
            return;
        };
        let (tries, told) = (tries.saturating_add(1), *told);
        let (last_try, due) = (now.unix, Due::Held);
        let state = State { tries, last_try, due, error, suspended: false, told };
        self.record(id, state, now, outputs);
    }

    fn record(&mut self, id: EnvelopeId, state: State, now: Clock, outputs: &mut Vec<Output>) {
        let State { tries, due, told, .. } = state;
        let verdict = match due {
            // The short forms have no place for what the sender was told.
            _ if told > 0 => Verdict::Changed(state),
            Due::At(due) => Verdict::Later { tries, due, error: state.error },
            Due::Held => Verdict::Held { tries, error: state.error },
        };
        self.memory.set_phase(id, Phase::Recording);
        outputs.push(Output::Record(self.outcome(id, now, verdict)));
    }

    fn tell(&mut self, kind: Kind, about: About, failure: Option<Failure>, now: Clock) {
        let id = about.outcome.envelope;
        self.memory.set_phase(id, Phase::Recording);
        self.reports.touched.push(id.message());
        self.reports.open.insert(id, failure);
        let key = (id.message(), kind);
        match self.reports.gathered.entry(key) {
            Slot::Occupied(mut gathered) => gathered.get_mut().about.push(about),
            Slot::Vacant(slot) => {
                let until = now.mono + TOGETHER;
                slot.insert(Gathered { until, about: vec![about] });
                self.reports.deadlines.push_back((until, key));
            }
        }
    }

    /// Gives out what is gathered of messages of which nothing more is being tried, or that have
    /// waited long enough.
    pub(super) fn tell_senders(&mut self, now: Clock, outputs: &mut Vec<Output>) {
        let overdue = self.reports.deadlines.iter().take_while(|(until, _)| *until <= now.mono);
        let overdue = overdue.count();
        for (until, key) in self.reports.deadlines.drain(..overdue).collect::<Vec<_>>() {
            // It may have been told since, and more have been gathered.
            if self.reports.gathered.get(&key).is_some_and(|gathered| gathered.until == until) {
                self.give_out(key, outputs);
            }
        }
        for message in std::mem::take(&mut self.reports.touched) {
            if !self.is_being_tried(message) {
                let of_it = (message, Kind::Delivered)..=(message, Kind::Delayed(Duration::MAX));
                let keys: Vec<_> =
                    self.reports.gathered.range(of_it).map(|(key, _)| *key).collect();
                keys.into_iter().for_each(|key| self.give_out(key, outputs));
            }
        }
    }

    /// When something gathered is told in any case.
    pub(super) fn next_report(&self) -> Option<Time> {
        self.reports.deadlines.front().map(|(until, _)| *until)
    }

    fn is_being_tried(&self, message: MessageId) -> bool {
        self.memory.of(message).into_iter().filter_map(|id| self.memory.get(id)).any(|entry| {
            match entry.phase {
                Phase::InFlight { .. } => true,
                Phase::Due => !self.is_paused(entry.kind),
                _ => false,
            }
        })
    }

    fn give_out(&mut self, key: (MessageId, Kind), outputs: &mut Vec<Output>) {
        let Some(Gathered { about, .. }) = self.reports.gathered.remove(&key) else { return };
        let known = about.iter().find_map(|about| self.memory.get(about.outcome.envelope));
        // All of them may have been damaged on disk meanwhile.
        if let Some(Entry { message, content, .. }) = known {
            let (message, content) = (Arc::clone(message), content.clone());
            outputs.push(Output::Bounce(Notice { message, content, kind: key.1, about }));
        }
    }
}

/// The state after an attempt that failed for now: tried again later.
fn put_off(entry: &Entry, failure: &Failure, unit: Duration, now: u64) -> State {
    let State { tries, last_try, told, .. } = entry.state;
    let (tries, last_try, due) = match failure.not_before {
        None => {
            let tries = tries.saturating_add(1);
            (tries, now, schedule::next_attempt(entry.message.ctime, tries, now, unit))
        }
        Some(at) => {
            (tries, last_try, at.clamp(now, now + schedule::micros(schedule::LONGEST_WAIT)))
        }
    };
    let (due, error) = (Due::At(due), failure.text.clone());
    State { tries, last_try, due, error, suspended: false, told }
}
