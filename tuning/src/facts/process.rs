//! This process as the kernel describes it: limits, capabilities, filters, CPUs, who started it.

use std::fmt;

use crate::cpus::CpuSet;
use crate::root::Root;

/// From `linux/capability.h`.
const CAP_IPC_LOCK_BIT: u32 = 14;
const CAP_SYS_ADMIN_BIT: u32 = 21;

#[derive(Clone, Debug)]
pub struct ProcessFacts {
    /// Locked memory, in bytes.
    pub memlock: Option<Limit>,
    /// Open files.
    pub nofile: Option<Limit>,
    /// Effective capabilities, one bit each; none if unknown.
    pub capabilities: u64,
    /// A seccomp filter decides about system calls.
    pub has_seccomp_filter: bool,
    /// CPUs this process may run on; empty if unknown.
    pub cpus_allowed: CpuSet,
    pub started_by: StartedBy,
}

/// Decides which remedy is of any use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartedBy {
    Container,
    SystemdUnit,
    Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub soft: Quantity,
    pub hard: Quantity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantity {
    Of(u64),
    Unlimited,
}

impl ProcessFacts {
    pub(super) fn read(root: &Root) -> Self {
        let limits = root.text("proc/self/limits").unwrap_or_default();
        let status = root.text("proc/self/status").unwrap_or_default();
        Self {
            memlock: limit(&limits, "Max locked memory"),
            nofile: limit(&limits, "Max open files"),
            capabilities: field(&status, "CapEff")
                .and_then(|hex| u64::from_str_radix(hex, 16).ok())
                .unwrap_or(0),
            has_seccomp_filter: field(&status, "Seccomp") == Some("2"),
            cpus_allowed: field(&status, "Cpus_allowed_list")
                .and_then(|list| list.parse().ok())
                .unwrap_or_default(),
            started_by: StartedBy::read(root),
        }
    }

    /// The kernel charges no locked memory to this process.
    pub fn may_lock_memory(&self) -> bool {
        self.capabilities >> CAP_IPC_LOCK_BIT & 1 == 1
    }

    /// `kernel.io_uring_disabled = 1` does not concern this process.
    pub fn is_admin(&self) -> bool {
        self.capabilities >> CAP_SYS_ADMIN_BIT & 1 == 1
    }
}

impl StartedBy {
    fn read(root: &Root) -> Self {
        // Written by Docker, Podman and the kubelet.
        const MARKS: [&str; 3] =
            [".dockerenv", "run/.containerenv", "var/run/secrets/kubernetes.io"];
        if MARKS.iter().any(|mark| root.exists(mark)) {
            return Self::Container;
        }
        // Services of a user's session are desktop programs as often as not, hence the slice.
        let groups = root.text("proc/self/cgroup").unwrap_or_default();
        let is_unit = groups
            .lines()
            .any(|line| line.contains(":/system.slice/") && line.ends_with(".service"));
        if is_unit { Self::SystemdUnit } else { Self::Shell }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(n) => n.fmt(out),
            Self::Unlimited => out.write_str("unlimited"),
        }
    }
}

/// A line of `/proc/self/limits`: `Max open files    1024    1048576    files`.
fn limit(limits: &str, name: &str) -> Option<Limit> {
    let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
    let mut words = line.split_whitespace();
    Some(Limit { soft: quantity(words.next()?)?, hard: quantity(words.next()?)? })
}

fn quantity(word: &str) -> Option<Quantity> {
    if word == "unlimited" {
        return Some(Quantity::Unlimited);
    }
    word.parse().ok().map(Quantity::Of)
}

/// The value of a `Name:   value` line.
pub(super) fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}
