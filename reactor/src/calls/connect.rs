//! A socket on its way to a next hop.

use super::caller::Hangup;
use rustix::io::Errno;
use rustix::net::sockopt::set_tcp_nodelay;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream};

/// Begins to connect, from an address of ours if one is given. The system tells when it is done:
/// the socket then has room, or an error.
///
/// # Errors
/// [`Hangup::Local`] for what is wrong on our side, [`Hangup::Connect`] for what the system knows
/// at once of the way there: another address may be reached.
pub(super) fn begin(
    address: SocketAddr,
    source: Option<IpAddr>,
) -> Result<mio::net::TcpStream, Hangup> {
    let local = |error: Errno| match error {
        // No IPv6 here, or not that address.
        Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL => Hangup::Connect(error.into()),
        _ => Hangup::Local(error.into()),
    };
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None).map_err(local)?;
    // What is said is written whole, so nothing is gained by waiting for more.
    set_tcp_nodelay(&socket, true).map_err(local)?;
    if let Some(source) = source {
        if source.is_ipv4() != address.is_ipv4() {
            let words = "a source address of the other family";
            return Err(Hangup::Local(io::Error::new(ErrorKind::InvalidInput, words)));
        }
        bind(&socket, &SocketAddr::new(source, 0)).map_err(local)?;
    }
    match connect(&socket, &address) {
        // Interrupted: it goes on by itself (POSIX connect).
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => {}
        Err(error) => return Err(Hangup::Connect(error.into())),
    }
    Ok(mio::net::TcpStream::from_std(TcpStream::from(socket)))
}
