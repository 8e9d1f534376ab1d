//! Hands messages to a daemon that runs, through its control socket.

use std::io::Read;

use super::{Failure, Taken, Target};
use crate::control::client::Error;
use crate::control::import::{Piece, Progress};
use crate::control::limits;
use crate::control::message::{Request, Response};
use crate::ctl::online::Online;
use crate::transfer::document::{self, Document};

/// See the module.
pub struct Sender(pub Online);

impl Sender {
    fn send(&mut self, piece: Piece) -> Result<Progress, Failure> {
        match self.0.ask(&Request::Import(piece))? {
            Response::Import(progress) => Ok(progress),
            _ => Err(Error::Incompatible.into()),
        }
    }
}

impl Target for Sender {
    fn take(
        &mut self,
        name: &str,
        document: &Document,
        content: &mut dyn Read,
    ) -> Result<Taken, Failure> {
        let facts = document.to_json().to_string();
        if facts.len() > document::LONGEST {
            return Err(Failure::Queue("its facts are too long".to_owned()));
        }
        if name.len() > usize::from(limits::NAME) {
            return Err(Failure::Queue("its name is too long".to_owned()));
        }
        for (nth, octets) in facts.as_bytes().chunks(limits::PIECE).enumerate() {
            let piece = Piece::Facts { first: nth == 0, octets: octets.to_vec() };
            self.send(piece)?;
        }
        loop {
            let mut octets = Vec::with_capacity(limits::PIECE);
            let read = Read::take(&mut *content, limits::PIECE as u64).read_to_end(&mut octets);
            read.map_err(|error| Failure::Queue(format!("content: {error}")))?;
            if octets.is_empty() {
                break;
            }
            if self.send(Piece::Content(octets))? == Progress::Known {
                return Ok(Taken::Known);
            }
        }
        loop {
            match self.send(Piece::End { name: name.to_owned() })? {
                Progress::Taken(_) => return Ok(Taken::New),
                Progress::Known => return Ok(Taken::Known),
                Progress::Later => {}
                Progress::More => return Err(Error::Incompatible.into()),
            }
        }
    }
}
