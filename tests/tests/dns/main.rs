//! The resolver: as a value against zones and noise, and with its sockets against a nameserver.

mod noise;
mod others;
mod sockets;
mod unbound;
mod value;
mod world;
