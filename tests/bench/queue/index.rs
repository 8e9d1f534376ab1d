//! The index under churn: all of a large queue becomes due, is lent and put back with a later
//! time, again and again, by a store in this process with nobody beside it. What a put takes
//! includes whatever the index does to stay small.

use std::collections::HashSet;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use smtpd_queue::codec::Keys;
use smtpd_queue::delivery::Kind;
use smtpd_queue::destination::Destinations;
use smtpd_queue::disk::RealDisk;
use smtpd_queue::envelope::Due;
use smtpd_queue::lease::{Answer, Epoch, Lent, Request};
use smtpd_queue::reader::Reader;
use smtpd_queue::store::{self, Store};
use smtpd_queue::waiting::{Change, Claim, Place};

use crate::bench::Bench;
use crate::table::{Table, count, mib, seconds};
use crate::usage;

/// How many are claimed at once, as the scheduler does.
const ROOM: usize = 4096;
const PER_LANE: usize = 512;
/// How often each envelope is lent, unless the number of messages is given, and how long that goes
/// on.
const TIMES: usize = 3;
const LONGEST: Duration = Duration::from_secs(90);
/// How long opening the index may take.
const LIMIT: Duration = Duration::from_secs(20);
const DAY: u64 = 86_400_000_000;

pub fn run(bench: &Bench<'_>, table: &mut Table) -> Result<(), String> {
    let held = bench.options.held(2000, 1_000_000);
    bench.fill("index", held, &["--due", "far"])?;
    let spool = bench.dir("index").join("spool");
    let index = spool.join("index");
    fs::create_dir_all(&index).map_err(|error| format!("{}: {error}", index.display()))?;
    let failed = |error: std::io::Error| format!("{}: {error}", spool.display());
    let (reader, recovered) =
        Reader::offline(Arc::new(RealDisk), &spool, &Keys::default()).map_err(failed)?;
    let me = std::process::id();
    let begun = Instant::now();
    let (sequence, live) = (recovered.sequence, recovered.live);
    let options = store::Options { dir: &index, limit: LIMIT, sequence, live, ids: None };
    let mut churn = Churn {
        store: Store::open(options, reader.clone()),
        destinations: reader.destinations(),
        epoch: reader.epoch(),
        disk: 0,
        claims: Vec::new(),
        puts: Vec::new(),
    };
    churn.turn(vec![]);
    churn.turn(vec![Request::Known(Vec::new())]);
    while churn.store.is_busy() {
        churn.turn(vec![]);
    }
    table.add(format!("filled, {} held", count(held)), seconds(begun.elapsed()), "");
    table.add("its disk then", mib(usage::disk(&index)), "");
    // Tomorrow all of them are due.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut now = now.as_micros() as u64 + DAY;
    let mut lent = HashSet::with_capacity(held);
    let many = bench.options.messages(TIMES * held, TIMES * held);
    let mut left = many;
    let begun = Instant::now();
    while left > 0 && begun.elapsed() < LONGEST {
        let envelopes = churn.claim(now);
        if envelopes.is_empty() {
            // The next round of all.
            now += DAY;
        }
        lent.extend(envelopes.iter().map(|lent| lent.id));
        left = left.saturating_sub(envelopes.len());
        churn.put_back(&envelopes, now);
        churn.disk = usage::disk(&index).max(churn.disk);
    }
    let took = begun.elapsed();
    let done = many - left;
    // None a second time before all were.
    if lent.len() < held.min(done) {
        return Err(format!("{} envelopes were lent, not {}", count(lent.len()), count(held)));
    }
    drop(lent);
    table.add("lent and put back", count(done), "");
    table.add("in", seconds(took), "");
    let (resident, most) = usage::memory(me)?;
    let Churn { store, disk, claims, puts, .. } = churn;
    table.times(&format!("a claim of at most {}", count(ROOM)), claims, "");
    table.times("putting them back with a later time", puts, "");
    table.add("its disk at the most, a copy included", mib(disk), "");
    table.add("its disk in the end", mib(usage::disk(&index)), "");
    table.add("resident, the journal's table included", mib(resident), "at most 300 MiB");
    table.add("resident at the most, with what this program notes", mib(most), "");
    let begun = Instant::now();
    store.close(sequence).map_err(failed)?;
    table.add("closed in", seconds(begun.elapsed()), "");
    Ok(())
}

struct Churn {
    store: Store,
    destinations: Destinations,
    epoch: Epoch,
    /// What the index took at the most.
    disk: u64,
    claims: Vec<Duration>,
    puts: Vec<Duration>,
}

impl Churn {
    fn turn(&mut self, mut requests: Vec<Request>) -> (Vec<Answer>, Duration) {
        let mut answers = Vec::new();
        let begun = Instant::now();
        self.store.turn(&mut requests, &mut answers);
        (answers, begun.elapsed())
    }

    fn claim(&mut self, now: u64) -> Vec<Lent> {
        let crowded = HashSet::new();
        let claim = Claim { kind: Kind::Mta, now, room: ROOM, per_lane: PER_LANE, crowded };
        let (answers, took) = self.turn(vec![Request::Claim(claim)]);
        self.claims.push(took);
        let lent = answers.into_iter().filter_map(|answer| match answer {
            Answer::Lent { envelopes, .. } => Some(envelopes),
            _ => None,
        });
        lent.flatten().collect()
    }

    /// Spread over a day from `now` on.
    fn put_back(&mut self, envelopes: &[Lent], now: u64) {
        let changes = envelopes.iter().flat_map(|lent| {
            let envelope = lent.message.envelopes.iter().find(|envelope| envelope.id == lent.id)?;
            let spread = lent.id.as_u64().wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(now);
            let due = Due::At(now + 1 + spread.rotate_left(17) % (DAY - 1));
            let (kind, lane) = (Kind::Mta, self.destinations.lane(envelope));
            let place = Place { envelope: lent.id, kind, lane, due };
            Some(Request::Change(Change::Put(place), self.epoch))
        });
        let (_, took) = self.turn(changes.collect());
        self.puts.push(took);
    }
}
