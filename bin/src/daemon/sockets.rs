//! Listening sockets: bound once, before privileges are dropped, and shared by the reactors.

use std::io;
use std::net::{SocketAddr, TcpListener};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

/// Connections that may wait in the kernel while a reactor is busy. Upstream's 5 drops the SYNs of
/// ten clients that come at once, and each drop costs the client a second.
const BACKLOG: i32 = 1024;

/// Binds `address` and listens there. IPv6 sockets take IPv6 only, so that an IPv4 listener on the
/// same port can stand beside them.
///
/// # Errors
/// The system's own, with the address and port in the text.
pub fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    open(address).map_err(|e| {
        let e = io::Error::from(e);
        io::Error::new(
            e.kind(),
            format!("cannot bind {} port {}: {}", address.ip(), address.port(), system_text(&e)),
        )
    })
}

fn open(address: SocketAddr) -> Result<TcpListener, rustix::io::Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(
        family,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    // A restart must not wait for connections of the former process to leave TIME_WAIT. It does
    // not let two listeners share the address: that would be SO_REUSEPORT.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// The system's words for an error, without Rust's `(os error N)`.
#[must_use]
pub fn system_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_bound_once_and_the_second_try_says_which() {
        let first = listen_on("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let error = listen_on(address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(
            error.to_string(),
            format!("cannot bind 127.0.0.1 port {}: Address already in use", address.port())
        );
    }
}
