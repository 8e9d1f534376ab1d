//! The durable queue.
//!
//! A message is taken in by [`commit`], which makes content and envelopes durable in the
//! journal before anybody is told 250; from then on it is ours until every envelope of it is
//! settled. The journal is the truth; the index can be deleted at any time.

#![forbid(unsafe_code)]

pub mod backend;
pub mod blocks;
pub mod bounce;
pub mod budget;
pub mod codec;
pub mod commit;
pub mod delivery;
pub mod destination;
pub mod disk;
pub mod envelope;
pub mod id;
pub mod lanes;
pub mod lease;
pub mod lock;
pub mod maildir;
pub mod ordered;
pub mod reader;
pub mod recovery;
pub mod request;
pub mod sample;
pub mod schedule;
pub mod scheduler;
pub mod spares;
pub mod spool;
pub mod store;
pub mod verify;
pub mod waiting;

mod encode;
mod facts;
mod group;
mod index;
mod journal;
mod outline;
mod record;
mod replay;
mod scan;
mod segment;
mod table;
mod window;
mod wire;
