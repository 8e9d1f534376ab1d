//! The backend that lasts: the journal, with the index beside it.
//!
//! Here are only the ways from the traits to the values that do the work; other users of a queue
//! on disk (smtpctl with the daemon down, tests of what a crash leaves) have those values directly.
//! One process at a time has a journal, which whoever opens it sees to ([`Lock`](crate::lock::Lock)).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smtpd_engine::time::Time;

use super::{Backend, Commits, Contents, Leases, Reads, Sides, Writing};
use crate::commit::{self, Commit, Opened};
use crate::destination::Destinations;
use crate::disk::Disk;
use crate::id::MessageId;
use crate::lease::{Answer, Request as Asked};
use crate::reader::{ContentReader, Found, Reader};
use crate::recovery::{Recovered, Recovery};
use crate::request::{Done, Request, Stored};
use crate::spool::{Finished, Spool, Writer};
use crate::store::{self, Store};
use crate::verify::Verified;

/// How long opening the index may take before the queue goes on without one. A good one takes
/// milliseconds.
const INDEX: Duration = Duration::from_secs(20);

/// A queue in a directory, which must exist.
pub struct Journal {
    /// Where the directory is.
    pub disk: Arc<dyn Disk>,
    /// The directory.
    pub dir: PathBuf,
    /// What it is opened with.
    pub options: commit::Options,
}

impl<T> Backend<T> for Journal {
    fn open(&self) -> io::Result<Sides<T>> {
        let opened = Commit::open(self.disk.clone(), &self.dir, &self.options)?;
        let Opened { commit, recovery, ids, reader, spool, mut filler } = opened;
        let (beside, dir) = (reader.clone(), self.dir.join("index"));
        let given = ids.clone();
        let leases = move || -> io::Result<Box<dyn Leases>> {
            let Recovered { sequence, live, .. } = recover(recovery)?;
            let options =
                store::Options { dir: &dir, limit: INDEX, sequence, live, ids: Some(given) };
            Ok(Box::new(Store::open(options, beside)))
        };
        let epoch = reader.epoch();
        Ok(Sides {
            commit: Box::new(commit),
            leases: Box::new(leases),
            reader: Arc::new(reader),
            contents: Arc::new(spool),
            ids,
            epoch,
            helper: Some(Box::new(move || filler.fill())),
        })
    }
}

/// Reads what was in the queue before, and tells the log.
fn recover(recovery: Recovery) -> io::Result<Recovered> {
    let start = Instant::now();
    let recovered = recovery.run()?;
    for finding in &recovered.findings {
        log::warn!("warn: queue: {finding}");
    }
    if !recovered.live.is_empty() {
        let (messages, seconds) = (recovered.live.len(), start.elapsed().as_secs_f32());
        log::info!("info: queue: {messages} messages found in {seconds:.1} s");
    }
    Ok(recovered)
}

impl<T> Commits<T> for Commit {
    fn turn(&mut self, now: Time, requests: &mut Vec<Request<T>>, done: &mut Vec<Done<T>>) {
        Commit::turn(self, now, requests, done);
    }

    fn tidy(&mut self, now: Time, done: &mut Vec<Done<T>>) -> Duration {
        Commit::tidy(self, now, done)
    }

    fn wants_help(&self) -> bool {
        self.wants_filling()
    }

    fn close(self: Box<Self>) -> io::Result<u64> {
        Commit::close(*self)
    }
}

impl Leases for Store {
    fn turn(&mut self, requests: &mut Vec<Asked>, answers: &mut Vec<Answer>) {
        Store::turn(self, requests, answers);
    }

    fn is_busy(&self) -> bool {
        Store::is_busy(self)
    }

    fn close(self: Box<Self>, mark: u64) -> io::Result<()> {
        Store::close(*self, mark)
    }
}

impl Reads for Reader {
    fn is_complete(&self) -> bool {
        Reader::is_complete(self)
    }

    fn messages(&self) -> usize {
        Reader::messages(self)
    }

    fn behind(&self, after: Option<MessageId>, limit: usize) -> Vec<MessageId> {
        Reader::behind(self, after, limit)
    }

    fn in_files(&self, after: Option<MessageId>, limit: usize) -> Vec<MessageId> {
        Reader::in_files(self, after, limit)
    }

    fn destinations(&self) -> Destinations {
        Reader::destinations(self)
    }

    fn message(&self, id: MessageId) -> io::Result<Option<Found>> {
        Reader::message(self, id)
    }

    fn all(&self, ids: &[MessageId]) -> Vec<(MessageId, io::Result<Option<Found>>)> {
        Reader::all(self, ids)
    }

    fn open(&self, stored: &Stored) -> io::Result<ContentReader> {
        Reader::open(self, stored)
    }

    fn last_segment(&self) -> Option<u32> {
        Reader::last_segment(self)
    }

    fn verify(&self, after: u32) -> Option<Verified> {
        Reader::verify(self, after)
    }
}

impl Contents for Spool {
    fn begin(&self, id: MessageId) -> io::Result<Box<dyn Writing>> {
        let writer = Spool::begin(self, id)?;
        Ok(Box::new(File { spool: self.clone(), writer }))
    }

    fn remove(&self, id: MessageId) -> io::Result<()> {
        Spool::remove(self, id)
    }
}

/// A content file that is being written.
struct File {
    spool: Spool,
    writer: Writer,
}

impl Writing for File {
    fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.writer.write(octets)
    }

    fn finish(self: Box<Self>) -> io::Result<Finished> {
        self.spool.finish(self.writer)
    }
}
