//! The disk alone: 1 KiB records written in groups, each group made durable by one `fdatasync`.
//!
//! This is the least that a server which syncs before its 250 must pay. Two ways are measured: a
//! file that grows, and one whose octets were written before (as zeros), where a sync need not
//! record a new size or new blocks.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::figures::{Figures, Report, Summary, Times};
use crate::options::Options;
use crate::process::Family;

const RECORD: usize = 1024;
/// Octets of the file that is written over; the run ends early when it is full.
const PREPARED: u64 = 64 << 20;

/// A file that goes when the value does.
struct Scratch {
    path: PathBuf,
    file: File,
}

impl Scratch {
    fn new(dir: &Path) -> io::Result<Scratch> {
        let path = dir.join(format!("smtp-load-{}.disk", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok(Scratch { path, file })
    }

    /// Writes zeros all over it.
    fn prepare(&self) -> io::Result<()> {
        let zeros = vec![0; 1 << 20];
        let mut at = 0;
        while at < PREPARED {
            self.file.write_all_at(&zeros, at)?;
            at += zeros.len() as u64;
        }
        self.file.sync_all()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Every group size, in both ways.
pub fn run(options: &Options) -> Result<Report, String> {
    let mut points = Vec::new();
    for (how, prepared) in [("appended", false), ("over zeros", true)] {
        for group in [1, 16, 64] {
            let mut summary = Summary::new(format!("{group} KiB {how} and fdatasync"));
            for _ in 0..options.runs {
                let figures = rate(&options.dir, options.seconds, group, prepared)
                    .map_err(|error| format!("{}: {error}", options.dir.display()))?;
                summary.add(figures);
            }
            points.push(summary);
        }
    }
    Ok(Report::of(points))
}

fn rate(dir: &Path, time: Duration, group: usize, prepared: bool) -> io::Result<Figures> {
    let scratch = Scratch::new(dir)?;
    if prepared {
        scratch.prepare()?;
    }
    let octets = vec![b'x'; group * RECORD];
    let ourselves = Family::of(&[std::process::id()]);
    let cpu = ourselves.cpu();
    let mut times = Times::default();
    let mut count = 0;
    let mut at = 0;
    let start = Instant::now();
    while start.elapsed() < time && !(prepared && at + octets.len() as u64 > PREPARED) {
        let begun = Instant::now();
        scratch.file.write_all_at(&octets, at)?;
        scratch.file.sync_data()?;
        times.add(begun.elapsed());
        at += octets.len() as u64;
        count += 1;
    }
    let syncs = f64::from(count);
    let records = syncs * group as f64;
    let seconds = start.elapsed().as_secs_f64();
    let cpu = ourselves.cpu().saturating_sub(cpu).as_secs_f64() * 1e6;
    let mut figures = vec![
        ("syncs/s".to_owned(), syncs / seconds),
        ("records/s".to_owned(), records / seconds),
        ("cpu us/record".to_owned(), cpu / records.max(1.0)),
    ];
    times.figures("sync", &mut figures);
    Ok(figures)
}
