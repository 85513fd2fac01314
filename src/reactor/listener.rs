//! Listening ports, for clients and for peers.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Binds and listens, on every address of both families if `at` is a wildcard, as Java does.
///
/// # Errors
/// What the system says: the port is taken, the address is not of this machine.
pub fn listen(at: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    if !at.ip().is_unspecified() {
        return listen_exactly(at, backlog);
    }
    match listen_exactly((Ipv6Addr::UNSPECIFIED, at.port()).into(), backlog) {
        Err(e) if e.kind() == ErrorKind::AddrInUse => Err(e),
        // A kernel without IPv6 has no such family.
        Err(_) => listen_exactly((Ipv4Addr::UNSPECIFIED, at.port()).into(), backlog),
        listener => listener,
    }
}

/// What an operator can do about a port on which [`listen`] failed.
pub fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse => "another process has this port: stop it, or set another one",
        ErrorKind::PermissionDenied => "ports below 1024 need privileges: set another one",
        ErrorKind::AddrNotAvailable => "this machine has no such address: correct it",
        _ => "correct the address",
    }
}

fn listen_exactly(at: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if at.is_ipv6() {
        socket.set_only_v6(!at.ip().is_unspecified())?;
    }
    socket.bind(&at.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
