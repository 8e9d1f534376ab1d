//! The receiving side: sessions that come from listeners, and what is known of all of them.

use crate::connection::Cause;
use crate::handler::{Closed, Handler};
use crate::inbox::{Inbox, Message};
use crate::limits::{self, Limits};
use crate::listener::{Listener, Listeners};
use crate::server::{News, Server};
use crate::side::{Session, Side};
use crate::sources::Sources;
use crate::stats::Stats;
use crate::token::{self, ConnId};
use crate::turn::{Turns, words};
use smtpd_engine::time::Time;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Sessions of one thread, and the listeners they come from.
pub struct Reactor<H: Handler> {
    pub(crate) turns: Turns<Receiving<H>>,
}

impl<H: Handler> Reactor<H> {
    /// Nothing is accepted before [`run`](Reactor::run).
    ///
    /// # Errors
    /// What the system says when a listener cannot be watched.
    pub fn new(
        inbox: Inbox,
        listeners: Vec<Listener>,
        limits: Limits,
        handler: H,
    ) -> io::Result<Reactor<H>> {
        let listeners = Listeners::new(listeners, inbox.postbox.poll.registry())?;
        let sessions = limits.sessions.clamp(1, token::MAX_INDEX - limits::PARTING);
        let side = Receiving {
            listeners,
            sources: Sources::new(limits.sessions_per_source),
            limits: Limits { sessions, ..limits },
            handler,
            pressed: false,
            full: false,
            stats: Arc::default(),
        };
        Ok(Reactor { turns: Turns::new(inbox.postbox, side) })
    }

    /// What this reactor counts.
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.turns.side.stats)
    }

    /// Serves until [`Sender::stop`](crate::Sender::stop), and gives the handler back.
    ///
    /// # Errors
    /// What the system says when it no longer tells events.
    pub fn run(self) -> io::Result<H> {
        Ok(self.turns.run()?.handler)
    }
}

pub(crate) struct Receiving<H> {
    pub(crate) listeners: Listeners,
    pub(crate) limits: Limits,
    pub(crate) handler: H,
    pub(crate) sources: Sources,
    /// More than [`limits::PRESSED_ABOVE`] of the places are taken.
    pub(crate) pressed: bool,
    /// All places were taken, which was logged, and places have been short ever since.
    pub(crate) full: bool,
    pub(crate) stats: Arc<Stats>,
}

impl<H: Handler> Side for Receiving<H> {
    type Handler = H;
    type Session = Server<H>;
    type Message = Message;

    fn handler(&mut self) -> &mut H {
        &mut self.handler
    }

    fn note(&mut self, nth: usize) {
        self.listeners.note(nth);
    }

    fn next(&self) -> Option<Time> {
        self.listeners.next()
    }

    fn receive(turns: &mut Turns<Self>, message: Message) {
        match message {
            Message::Answer(conn, ticket, answer) => turns.tell(conn, News::Answer(ticket, answer)),
            Message::Resume(conn) => turns.tell(conn, News::Resume),
            Message::Computed(computed) => {
                turns.tell(computed.conn(), News::Computed(computed));
            }
            Message::Pause(paused) => {
                let registry = turns.core.postbox.poll.registry();
                if let Err(error) = turns.side.listeners.pause(paused, registry) {
                    log::error!("a listener cannot be paused or resumed: {error}");
                }
            }
            Message::Stop => {
                turns.side.listeners.close();
                turns.stop(turns.side.limits.grace);
            }
        }
    }

    fn turn(turns: &mut Turns<Self>) {
        turns.accept();
    }

    fn turn_over(turns: &mut Turns<Self>) {
        turns.side.handler.turn_over(turns.core.now);
    }

    /// Whether places are short.
    fn tell(&self, session: &mut Server<H>) {
        session.set_pressed(self.pressed);
    }

    fn ended(
        turns: &mut Turns<Self>,
        server: Server<H>,
        conn: ConnId,
        why: Closed,
        done: bool,
    ) -> bool {
        let why = match why {
            // Some only had to have their last message answered first.
            Closed::Ended if turns.core.is_stopping() => Closed::Stopped,
            why => why,
        };
        // Nobody can be told anything in the middle of a handshake.
        let waits = !server.is_shaking_hands()
            && match why {
                Closed::HungUp | Closed::Broken(_) | Closed::Tls(_) | Closed::Panicked => false,
                // After QUIT a peer sends nothing (RFC 5321 section 4.1.1.10).
                Closed::Quit => !done,
                Closed::Ended | Closed::TimedOut | Closed::Stopped => true,
            };
        turns.leave(server.source);
        turns.count_sessions();
        let id = server.id();
        let (handler, now) = (&mut turns.side.handler, turns.core.now);
        let told = catch_unwind(AssertUnwindSafe(|| handler.closed(server.own, conn, why, now)));
        if let Err(panic) = told {
            log::error!("{id:016x} smtp closed, with a defect of ours: {}", words(&*panic));
        }
        waits
    }
}

impl<H: Handler> Turns<Receiving<H>> {
    /// Notes how many sessions there are, and whether places are short.
    pub(crate) fn count_sessions(&mut self) {
        let (sessions, side) = (self.core.sessions, &mut self.side);
        side.stats.set_sessions(sessions);
        let mark = if side.pressed { limits::PRESSED_BELOW } else { limits::PRESSED_ABOVE };
        let pressed = sessions * 100 > side.limits.sessions * mark;
        if pressed != side.pressed && !self.core.is_stopping() {
            let side = &mut self.side;
            side.pressed = pressed;
            side.full &= pressed;
            self.tell_all();
        }
    }

    /// Has a session told something, if it is still there.
    fn tell(&mut self, conn: ConnId, news: News) {
        if self.core.find(conn).is_some() {
            self.look_at(conn.index(), Cause::News(news));
        }
    }
}
