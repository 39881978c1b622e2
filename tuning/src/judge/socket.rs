//! Bounds the kernel sets on sockets.

use crate::facts::{Facts, SocketBuffer};
use crate::finding::{Check, Finding};
use crate::profile;

/// The kernel's own default since 5.4. Below it, a few thousand clients that reconnect at once
/// lose connection requests and come back seconds later.
const ACCEPT_BACKLOG_MIN: u64 = 4_096;

/// Room for one flush of a busy connection, so that it is sent in one go.
const SOCKET_BUFFER_MOST_MIN_BYTES: u64 = 2 << 20;

/// The kernel's default for sending; with less, a new connection starts in dribbles.
const SOCKET_BUFFER_INITIAL_MIN_BYTES: u64 = 16 << 10;

pub(super) fn accept_backlog(facts: &Facts) -> Finding {
    let wanted = format!("net.core.somaxconn at least {ACCEPT_BACKLOG_MIN}");
    let Some(backlog) = facts.sockets.accept_backlog_max else {
        return Finding::not_shown(Check::AcceptBacklog, wanted);
    };
    let finding = Finding::ok(Check::AcceptBacklog, backlog.to_string(), wanted);
    if ACCEPT_BACKLOG_MIN <= backlog {
        return finding;
    }
    finding
        .advice(format!("sysctl --write net.core.somaxconn={ACCEPT_BACKLOG_MIN}"))
        .fixed_by(&profile::SYSCTL)
}

pub(super) fn buffers(facts: &Facts) -> Finding {
    let wanted = format!(
        "tcp_rmem and tcp_wmem from {} KiB to {} KiB",
        SOCKET_BUFFER_INITIAL_MIN_BYTES >> 10,
        SOCKET_BUFFER_MOST_MIN_BYTES >> 10
    );
    let Some((receive, send)) = facts.sockets.receive.zip(facts.sockets.send) else {
        return Finding::not_shown(Check::SocketBuffers, wanted);
    };
    let range =
        |buffer: SocketBuffer| format!("{} to {} KiB", buffer.initial >> 10, buffer.most >> 10);
    let found = format!("receive {}, send {}", range(receive), range(send));
    let finding = Finding::ok(Check::SocketBuffers, found, wanted);
    if is_sane(receive) && is_sane(send) {
        return finding;
    }
    finding
        .advice("set net.ipv4.tcp_rmem and net.ipv4.tcp_wmem to the kernel's defaults")
        .fixed_by(&profile::SYSCTL)
}

fn is_sane(buffer: SocketBuffer) -> bool {
    let SocketBuffer { least, initial, most } = buffer;
    least <= initial
        && initial <= most
        && SOCKET_BUFFER_INITIAL_MIN_BYTES <= initial
        && SOCKET_BUFFER_MOST_MIN_BYTES <= most
}
