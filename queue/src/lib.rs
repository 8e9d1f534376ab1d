//! The durable queue.

#![forbid(unsafe_code)]
