//! What is read from the machine before anything is judged.
//!
//! `StartFacts` is the small part a start depends on, read in well under 2 ms; `Facts` adds what
//! only the full report wants. A field that could not be read is `None` or empty.

mod cgroup;
mod cpu;
mod interrupt;
mod memory;
mod process;
mod socket;

pub use cpu::CpuFacts;
pub use interrupt::Interrupts;
pub use memory::{MemoryFacts, Swap};
pub use process::{Limit, ProcessFacts, Quantity, StartedBy};
pub use socket::{SocketBuffer, SocketFacts};

use crate::ring::{self, Ring, RingRefusal};
use crate::root::Root;

/// What decides whether a router can start at all.
#[derive(Clone, Debug)]
pub struct StartFacts {
    pub ring: Result<Ring, RingRefusal>,
    /// `kernel.io_uring_disabled`: 0 for nobody, 1 outside a group, 2 for all. Linux 6.6.
    pub io_uring_disabled: Option<u8>,
    /// `kernel.io_uring_group`: who may when disabled is 1; -1 for no group.
    pub io_uring_group: Option<i64>,
    pub process: ProcessFacts,
}

impl StartFacts {
    pub fn of_host() -> Self {
        Self::read(&Root::host(), ring::probe())
    }

    pub fn read(root: &Root, ring: Result<Ring, RingRefusal>) -> Self {
        Self {
            ring,
            io_uring_disabled: root.value("proc/sys/kernel/io_uring_disabled"),
            io_uring_group: root.value("proc/sys/kernel/io_uring_group"),
            process: ProcessFacts::read(root),
        }
    }
}

/// Everything the report is about.
#[derive(Clone, Debug)]
pub struct Facts {
    pub start: StartFacts,
    pub kernel: Option<Kernel>,
    pub cpu: CpuFacts,
    pub interrupts: Vec<Interrupts>,
    pub memory: MemoryFacts,
    pub sockets: SocketFacts,
    /// Cost of entering and leaving the kernel, in nanoseconds.
    pub syscall_ns: u64,
}

impl Facts {
    /// Reads this machine and measures it for about 2 ms.
    pub fn of_host() -> Self {
        Self::read(&Root::host(), ring::probe(), cpu::measure_syscall_ns())
    }

    pub fn read(root: &Root, ring: Result<Ring, RingRefusal>, syscall_ns: u64) -> Self {
        let start = StartFacts::read(root, ring);
        Self {
            kernel: root.text("proc/sys/kernel/osrelease").and_then(Kernel::parse),
            cpu: CpuFacts::read(root, &start.process.cpus_allowed),
            interrupts: interrupt::read(root),
            memory: MemoryFacts::read(root),
            sockets: SocketFacts::read(root),
            syscall_ns,
            start,
        }
    }
}

/// `6.12.3-cloud-amd64`, of which the first two numbers count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    pub version: (u32, u32),
    pub release: String,
}

impl Kernel {
    fn parse(release: String) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        let version = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        Some(Self { version, release })
    }
}

#[cfg(test)]
mod tests;
