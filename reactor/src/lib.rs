//! The mio loop: sockets, deadlines, buffers.
//!
//! A [`Reactor`] is one thread's share of the SMTP sessions. It takes connections from
//! [`Listener`]s, moves octets between sockets and the engine's sessions, keeps their deadlines,
//! and asks a [`Handler`] what the sessions ask. It never waits for anything but the system's
//! events: what takes time is done by other threads, which answer through a [`Sender`].
//!
//! | module | holds |
//! |---|---|
//! | `turn`, `side` | the loop, and what it asks of the side that it is used for |
//! | `receiving` | the receiving side |
//! | [`calls`] | the sending side: outgoing connections |
//! | `accept` | from a waiting connection to a session or a refusal |
//! | [`dns`] | the stub resolver: mail hosts, addresses, names of clients
//! | `connection` | one connection and what is done over it |
//! | `server`, `parting` | what is done: a receiving session, the end of one |
//! | `channel` | the octets and the state of a socket |
//! | `transport` | the socket, and what is spoken over it |
//! | [`tls`] | TLS towards next hops |
//! | `buffer` | octets kept between two turns |
//! | `token` | names of connections that are never used again |
//! | `timers` | deadlines |
//! | `listener` | sockets that connections come from |
//! | `sources` | how many sessions one source has |
//! | `inbox`, `post` | messages from other threads, and their way |
//! | `handler` | the caller's side |
//! | `limits`, `stats` | every bound with its reason; what is counted |
//!
//! ```no_run
//! # fn serve<H: smtpd_reactor::Handler>(
//! #     handler: impl FnOnce(smtpd_reactor::Sender) -> H,
//! # ) -> std::io::Result<()> {
//! use smtpd_reactor::{Inbox, Limits, Listener, Reactor};
//!
//! let inbox = Inbox::new()?;
//! let handler = handler(inbox.sender());
//! let socket = std::net::TcpListener::bind("127.0.0.1:2525")?;
//! let reactor = Reactor::new(inbox, vec![Listener::tcp(socket)?], Limits::default(), handler)?;
//! reactor.run()?;
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod accept;
mod buffer;
pub mod calls;
mod channel;
mod connection;
pub mod dns;
mod handler;
mod inbox;
mod limits;
mod listener;
mod parting;
mod post;
mod receiving;
mod server;
mod side;
mod sources;
mod stats;
#[cfg(test)]
mod tests;
mod timers;
pub mod tls;
mod token;
mod transport;
mod turn;

pub use handler::{About, Accept, Closed, Flow, Handler, Link, Replied};
pub use inbox::{Inbox, Sender};
pub use limits::{Limits, PARTING};
pub use listener::Listener;
pub use receiving::Reactor;
pub use stats::Stats;
pub use token::ConnId;
