//! The mio loop: sockets, deadlines, buffers.

#![forbid(unsafe_code)]
