//! Bounds the kernel sets on sockets.

use crate::root::Root;

#[derive(Clone, Debug)]
pub struct SocketFacts {
    /// Connections that may wait to be accepted, per listener.
    pub accept_backlog_max: Option<u64>,
    pub receive: Option<SocketBuffer>,
    pub send: Option<SocketBuffer>,
}

/// Bytes of a TCP socket buffer; the kernel moves between least and most by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketBuffer {
    pub least: u64,
    pub initial: u64,
    pub most: u64,
}

impl SocketFacts {
    pub(super) fn read(root: &Root) -> Self {
        Self {
            accept_backlog_max: root.value("proc/sys/net/core/somaxconn"),
            receive: buffer(root, "proc/sys/net/ipv4/tcp_rmem"),
            send: buffer(root, "proc/sys/net/ipv4/tcp_wmem"),
        }
    }
}

fn buffer(root: &Root, path: &str) -> Option<SocketBuffer> {
    let text = root.text(path)?;
    let mut numbers = text.split_whitespace().map(|word| word.parse().ok());
    Some(SocketBuffer {
        least: numbers.next()??,
        initial: numbers.next()??,
        most: numbers.next()??,
    })
}
