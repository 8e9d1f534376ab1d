//! From a connection that waits at a listener to a session, or to a refusal.

use crate::channel::Channel;
use crate::connection::{Cause, Role};
use crate::handler::{Accept, Closed, Handler, Link};
use crate::limits;
use crate::parting::Parting;
use crate::receiving::Receiving;
use crate::server::{News, Server};
use crate::sources::Source;
use crate::token::ConnId;
use crate::transport::{Stream, Transport};
use crate::turn::{Turns, words};
use smtpd_engine::reply::{self, Reply};
use smtpd_engine::server::Session;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

impl<H: Handler> Turns<Receiving<H>> {
    /// Takes what waits at the listeners, some from each.
    pub(crate) fn accept(&mut self) {
        for nth in 0..self.side.listeners.len() {
            for _ in 0..limits::ACCEPTS {
                let Some((stream, remote)) = self.side.listeners.accept(nth, self.core.now) else {
                    break;
                };
                self.side.stats.count_accepted();
                self.admit(nth, stream, remote);
            }
        }
    }

    /// Makes a session of a connection, or says why not.
    pub(crate) fn admit(&mut self, listener: usize, stream: Stream, remote: Option<SocketAddr>) {
        if self.core.sessions >= self.side.limits.sessions {
            if !self.side.full {
                self.side.full = true;
                log::warn!("all {} sessions are taken: refusing more", self.core.sessions);
            }
            self.side.stats.count_refused_full();
            return self.refuse(stream, &reply::TOO_BUSY);
        }
        let source = remote.and_then(|remote| Source::of(remote.ip()));
        if !source.is_none_or(|source| self.side.sources.enter(source)) {
            log::debug!("refusing {remote:?}: too many sessions of its source");
            self.side.stats.count_refused_source();
            return self.refuse(stream, &reply::TOO_MANY_FROM_SOURCE);
        }
        let conn = self.core.next_id();
        let link = Link { listener, remote, stream: &stream };
        let peer = link.peer();
        let (handler, now) = (&mut self.side.handler, self.core.now);
        // A panic costs this connection alone; no session came of it.
        match catch_unwind(AssertUnwindSafe(|| handler.accept(&link, conn, now))) {
            Ok(Accept::Session { params, id, own, tls }) => {
                let mut session = Session::new(params, id, peer, now);
                session.set_pressed(self.side.pressed);
                let role = Role::Session(Box::new(Server::new(session, own, tls, source)));
                self.begin(conn, stream, role);
                self.count_sessions();
                self.look_at(conn.index(), Cause::News(News::Accepted));
                self.register(conn);
            }
            Ok(Accept::Refuse(reply)) => {
                self.leave(source);
                self.refuse(stream, &reply);
            }
            Err(panic) => {
                self.leave(source);
                log::error!("dropping {remote:?}, by a defect of ours: {}", words(&*panic));
            }
        }
    }

    /// Says why not, and parts.
    fn refuse(&mut self, stream: Stream, reply: &Reply<'_>) {
        let conn = self.core.next_id();
        let parting = Parting::new(self.core.now + limits::PARTING_TIME);
        self.begin(conn, stream, Role::Parting(parting));
        if let Some(connection) = self.core.find(conn) {
            connection.channel.say(reply);
        }
        self.part(conn.index());
        self.register(conn);
    }

    /// Asks the system for news of a connection that its first look has not ended.
    fn register(&mut self, conn: ConnId) {
        let registry = self.core.postbox.poll.registry();
        let Some(connection) = self.core.connections.get_mut(conn.index()) else {
            return;
        };
        if connection.channel.id() == conn
            && let Err(error) = connection.channel.register(registry)
        {
            self.end_session(conn.index(), Closed::Broken(error));
            self.forget(conn.index());
        }
    }

    fn begin(&mut self, conn: ConnId, stream: Stream, role: Role<Server<H>>) {
        self.core.begin(Channel::new(Transport::plain(stream), conn), role);
    }

    /// A connection of that source is no session, or no more.
    pub(crate) fn leave(&mut self, source: Option<Source>) {
        if let Some(source) = source {
            self.side.sources.leave(source);
        }
    }
}
