//! A connection whose session is over, until the peer has had the last reply.
//!
//! Closing a socket that holds unread octets, or that more arrive at, resets the connection, and
//! a reset may throw away what the peer has not read yet: it would never see why we closed. So
//! the last reply is sent, our side is closed, and what still comes is read and thrown away,
//! for a bounded time and up to a bounded number of octets.

use crate::channel::{Channel, Received};
use crate::connection::{Next, Tools};
use crate::limits;
use smtpd_engine::time::Time;
use std::io;

pub(crate) struct Parting {
    /// When it ends in any case.
    pub(crate) until: Time,
    /// Octets that may still come.
    room: usize,
    /// Our side is closed.
    said: bool,
}

impl Parting {
    pub(crate) fn new(until: Time) -> Parting {
        Parting { until, room: limits::PARTING_OCTETS, said: false }
    }

    /// Sends, closes our side, reads what there is; until the peer has closed its side.
    pub(crate) fn go_on<H, E>(
        &mut self,
        channel: &mut Channel,
        tools: &mut Tools<'_, H>,
    ) -> Next<E> {
        // An error means that there is nobody to part from.
        self.try_go_on(channel, tools).unwrap_or(Next::Gone)
    }

    fn try_go_on<H, E>(
        &mut self,
        channel: &mut Channel,
        tools: &mut Tools<'_, H>,
    ) -> io::Result<Next<E>> {
        channel.send(tools.out, tools.registry)?;
        if tools.out.is_empty() && !channel.is_blocked() && !self.said {
            channel.end_tls();
            channel.shut_down_write()?;
            self.said = true;
        }
        if !channel.is_readable() {
            return Ok(Next::Wait);
        }
        Ok(match channel.read(tools.scratch)? {
            Received::Octets(n) if n < self.room => {
                self.room -= n;
                Next::Again
            }
            Received::Octets(_) | Received::End => Next::Gone,
            Received::Nothing => Next::Wait,
        })
    }
}
