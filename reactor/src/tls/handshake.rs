//! A piece of a handshake on the receiving side, on its way to the thread that computes it, and
//! what came of it on its way back.
//!
//! What the peer said was read by the reactor, and what there is to say is written by it: the
//! thread in between touches no socket, and waits for nothing.

use super::{Failure, Layer};
use crate::token::ConnId;
use rustls::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A piece of a handshake to be computed.
#[must_use = "its session waits for it"]
pub struct Handshake {
    conn: ConnId,
    layer: Box<Layer>,
}

/// What came of it, for [`Sender::computed`](crate::Sender::computed).
#[must_use = "its session waits for it"]
pub struct Computed {
    conn: ConnId,
    /// None after a defect of ours.
    pub(crate) layer: Option<Box<Layer>>,
    pub(crate) result: Result<(), Failure>,
}

impl Handshake {
    pub(crate) fn new(conn: ConnId, layer: Box<Layer>) -> Handshake {
        Handshake { conn, layer }
    }

    /// Computes: some hundred microseconds with an RSA key. A panic costs this session alone.
    pub fn run(self) -> Computed {
        let Handshake { conn, mut layer } = self;
        match catch_unwind(AssertUnwindSafe(|| layer.compute())) {
            Ok(result) => {
                Computed { conn, layer: Some(layer), result: result.map_err(Failure::Refused) }
            }
            Err(_) => {
                let defect = Error::General("a defect of ours".into());
                Computed { conn, layer: None, result: Err(Failure::Refused(defect)) }
            }
        }
    }
}

impl Computed {
    pub(crate) fn conn(&self) -> ConnId {
        self.conn
    }
}
