//! Listening sockets: one TCP socket per shard on the same port, one AF_UNIX socket for all.

use std::fs::Metadata;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

/// Connections the kernel keeps for the router to accept; cut to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Sent bytes unacknowledged for this long end a connection: the peer is gone.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// What is spoken to those who come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Native,
    Nats,
    NatsTls,
    WebSocket,
    WebSocketTls,
}

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("cannot listen on {address}: {source}")]
    Tcp { address: SocketAddr, source: io::Error },
    #[error("cannot listen on {}: {source}", path.display())]
    Unix { path: PathBuf, source: io::Error },
    #[error("{} is in use by another process that accepts connections", path.display())]
    UnixInUse { path: PathBuf },
    #[error("{} is a file that is no socket; remove it or name another path", path.display())]
    NoSocket { path: PathBuf },
    #[error(
        "congestion control {name} is not available ({source}); see net.ipv4.tcp_available_congestion_control"
    )]
    Congestion { name: String, source: io::Error },
}

/// Opens `count` sockets on one address, among which the kernel spreads connections
/// (SO_REUSEPORT). Port 0 is chosen once. Options are inherited by what is accepted.
pub fn tcp(
    address: SocketAddr,
    congestion: Option<&str>,
    count: usize,
) -> Result<(SocketAddr, Vec<OwnedFd>), ListenError> {
    refuse_taken(address).map_err(|source| ListenError::Tcp { address, source })?;
    let mut bound = address;
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let fail = |source| ListenError::Tcp { address: bound, source };
        let socket = tcp_socket(bound).map_err(fail)?;
        if let Some(name) = congestion {
            socket
                .set_tcp_congestion(name.as_bytes())
                .map_err(|source| ListenError::Congestion { name: name.to_owned(), source })?;
        }
        socket.bind(&bound.into()).map_err(fail)?;
        socket.listen(BACKLOG).map_err(fail)?;
        let local = socket.local_addr().map_err(fail)?;
        bound = local.as_socket().unwrap_or(bound);
        sockets.push(socket.into());
    }
    Ok((bound, sockets))
}

/// SO_REUSEPORT would let a second router of this user share the port, and each would get some of
/// the connections. A socket without it is let in only if nobody listens there.
fn refuse_taken(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.cloexec(), None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

fn tcp_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.cloexec(), None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    Ok(socket)
}

/// Opens the socket all shards accept from. A path left behind by a killed router is taken over; one
/// that somebody still serves is not.
pub fn unix(path: &Path) -> Result<OwnedFd, ListenError> {
    let fail = |source| ListenError::Unix { path: path.to_owned(), source };
    let open = || -> io::Result<(Socket, SockAddr)> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec(), None)?;
        Ok((socket, SockAddr::unix(path)?))
    };
    let (socket, address) = open().map_err(fail)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let is_socket = |meta: Metadata| meta.file_type().is_socket();
            if !std::fs::symlink_metadata(path).is_ok_and(is_socket) {
                return Err(ListenError::NoSocket { path: path.to_owned() });
            }
            let (probe, _) = open().map_err(fail)?;
            match probe.connect(&address) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => (),
                Ok(()) | Err(_) => return Err(ListenError::UnixInUse { path: path.to_owned() }),
            }
            std::fs::remove_file(path).map_err(fail)?;
            socket.bind(&address).map_err(fail)?;
        }
        bound => bound.map_err(fail)?,
    }
    socket.listen(BACKLOG).map_err(fail)?;
    Ok(socket.into())
}

/// Acknowledge with the answer, not at once: 15 % less CPU where messages are few per packet. The
/// kernel takes it as a hint, and AF_UNIX sockets have no such option.
pub fn delay_acknowledgements(socket: &OwnedFd) {
    if let Err(error) = rustix::net::sockopt::set_tcp_quickack(socket.as_fd(), false) {
        tracing::trace!(%error, "quickack not set");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shards_share_the_port_the_kernel_chose() {
        let (bound, sockets) = tcp("127.0.0.1:0".parse().unwrap(), Some("cubic"), 3).unwrap();
        assert_ne!(bound.port(), 0);
        for socket in sockets {
            let local = Socket::from(socket).local_addr().unwrap();
            assert_eq!(local.as_socket(), Some(bound));
        }
    }

    #[test]
    fn a_port_that_another_router_serves_is_refused() {
        let (bound, sockets) = tcp("127.0.0.1:0".parse().unwrap(), None, 2).unwrap();
        let refusal = tcp(bound, None, 1).unwrap_err();
        assert!(
            matches!(&refusal, ListenError::Tcp { source, .. } if source.kind() == io::ErrorKind::AddrInUse),
            "{refusal}"
        );
        drop(sockets);
        tcp(bound, None, 1).unwrap();
    }

    #[test]
    fn a_path_in_use_is_refused_and_a_stale_one_taken() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let first = unix(&path).unwrap();
        assert!(matches!(unix(&path), Err(ListenError::UnixInUse { .. })));
        drop(first);
        unix(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "data").unwrap();
        assert!(matches!(unix(&path), Err(ListenError::NoSocket { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"data");
    }

    #[test]
    fn an_unknown_congestion_control_is_named() {
        let error = tcp("127.0.0.1:0".parse().unwrap(), Some("nosuch"), 1).unwrap_err();
        assert!(error.to_string().contains("nosuch"), "{error}");
    }
}
