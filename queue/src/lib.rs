//! The durable queue.
//!
//! A message is taken in by [`commit`], which makes content and envelopes durable in the
//! journal before anybody is told 250; from then on it is ours until every envelope of it is
//! settled. The journal is the truth; the index can be deleted at any time.

#![forbid(unsafe_code)]

pub mod budget;
pub mod disk;
pub mod envelope;
pub mod id;
pub mod request;
pub mod spool;
