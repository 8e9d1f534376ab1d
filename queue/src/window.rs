//! Segment files while many records are read: kept open, and read in pieces that hold several.
//!
//! For reading in the order of the journal, or nearly so. What is in a piece is what the file
//! held when the piece was read, so whoever reads must know all places beforehand, and hold the
//! segments pinned. An outcome that does not stand beside its message stands far behind it, so there
//! is a piece for each of the two.

use std::io;

use crate::disk::{File, is_damage};

/// Files open at once.
const FILES: usize = 16;
/// Octets of a first piece: as a rule a header with its facts.
const FIRST: usize = 1 << 10;
/// Octets of a piece once reading goes forwards.
const AHEAD: usize = 16 << 10;

/// See the module. The one used last stands at the end.
#[derive(Default)]
pub(crate) struct Windows(Vec<Window>);

/// One file of them.
pub(crate) struct Window {
    segment: u32,
    file: Box<dyn File>,
    messages: Piece,
    outcomes: Piece,
}

/// What is looked for.
#[derive(Clone, Copy)]
pub(crate) enum Sought {
    Message,
    Outcome,
}

#[derive(Default)]
struct Piece {
    /// Where it begins.
    begin: u64,
    octets: Vec<u8>,
}

impl Windows {
    /// The window of a segment, which `open` opens unless it is open still.
    pub(crate) fn of(
        &mut self,
        segment: u32,
        open: impl FnOnce() -> io::Result<Box<dyn File>>,
    ) -> io::Result<&mut Window> {
        let window = match self.0.iter().position(|window| window.segment == segment) {
            Some(nth) => self.0.remove(nth),
            None => {
                let (messages, outcomes) = Default::default();
                Window { segment, file: open()?, messages, outcomes }
            }
        };
        if self.0.len() == FILES {
            self.0.remove(0);
        }
        self.0.push(window);
        Ok(self.0.last_mut().expect("just put there"))
    }
}

impl Window {
    /// So many octets from this offset on.
    pub(crate) fn read(&mut self, sought: Sought, at: u64, octets: usize) -> io::Result<&[u8]> {
        let Self { messages, outcomes, file, .. } = self;
        let piece = match sought {
            Sought::Outcome if !messages.holds(at, octets) => outcomes,
            _ => messages,
        };
        if !piece.holds(at, octets) {
            let end = piece.end();
            let forwards = !piece.octets.is_empty() && at >= piece.begin && at < end + AHEAD as u64;
            let many = octets.max(if forwards { AHEAD } else { FIRST });
            match piece.fetch(&**file, at, many) {
                // What is beside it may be what the disk does not give.
                Err(error) if is_damage(&error) => piece.fetch(&**file, at, octets)?,
                other => other?,
            }
        }
        let from = (at - piece.begin) as usize;
        let read = piece.octets.get(from..from + octets);
        read.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl Piece {
    fn end(&self) -> u64 {
        self.begin + self.octets.len() as u64
    }

    fn holds(&self, at: u64, octets: usize) -> bool {
        at >= self.begin && at + octets as u64 <= self.end()
    }

    /// Takes as many octets as there are.
    fn fetch(&mut self, file: &dyn File, at: u64, octets: usize) -> io::Result<()> {
        self.octets.resize(octets, 0);
        self.begin = at;
        let read = file.read_at(&mut self.octets, at);
        self.octets.truncate(*read.as_ref().unwrap_or(&0));
        read.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::disk::Disk;
    use crate::disk::fault::FaultDisk;

    #[test]
    fn a_bad_sector_costs_what_is_in_it_alone() {
        let (disk, path) = (FaultDisk::new(Path::new("/")), Path::new("/1"));
        disk.create(path).unwrap().write_at(&[7; 4 * AHEAD], 0).unwrap();
        disk.spoil(path, 5000);
        let mut windows = Windows::default();
        for at in (0..8000).step_by(100) {
            let window = windows.of(1, || disk.open(path)).unwrap();
            let bad = 4608..5120;
            let read = window.read(Sought::Message, at, 100);
            assert_eq!(read.is_err(), at < bad.end && at + 100 > bad.start, "{at}");
        }
    }

    #[test]
    fn it_reads_what_is_there_and_keeps_few_files_open() {
        let disk = FaultDisk::new(Path::new("/"));
        let path = |segment: u32| PathBuf::from(format!("/{segment}"));
        let octet = |segment: u32, at: u64| (u64::from(segment) + at / 7 + at) as u8;
        let size = 3 * AHEAD as u64 + 100;
        for segment in 0..20 {
            let content: Vec<_> = (0..size).map(|at| octet(segment, at)).collect();
            disk.create(&path(segment)).unwrap().write_at(&content, 0).unwrap();
        }
        let mut windows = Windows::default();
        let mut seed = 1_u64;
        let mut at = 0;
        for round in 0..20_000_u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let segment = if round % 50 == 0 { (seed >> 60) as u32 } else { 19 };
            let octets = (seed >> 40) as usize % 2000;
            at = if round % 100 < 80 { at + 300 } else { (seed >> 20) % size } % size;
            let window = windows.of(segment, || disk.open(&path(segment))).unwrap();
            let sought = if round % 3 == 0 { Sought::Message } else { Sought::Outcome };
            let read = window.read(sought, at, octets);
            if at + octets as u64 > size {
                assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
                continue;
            }
            let read = read.unwrap();
            assert_eq!(read.len(), octets);
            assert!((at..).zip(read).all(|(at, read)| *read == octet(segment, at)));
            assert!(windows.0.len() <= FILES);
        }
    }
}
