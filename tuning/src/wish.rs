//! What a router about to start asks of its machine.

/// Locked memory an executor may be charged, in bytes.
///
/// glommio 0.9 refuses any limit below this for a single executor. The kernel (6.14 and newer)
/// charges per user: 196 KiB for a data ring of 1024 and 8192 entries, about 60 KiB for glommio's
/// three rings, 192 KiB for the buffers glommio registers. The sum is below this as well.
pub const MEMLOCK_PER_EXECUTOR_BYTES: u64 = 512 * 1024;

/// Descriptors an executor holds besides connections: four rings, two eventfds, timers, a listener
/// each for TCP and AF_UNIX, and room for a second pair.
pub const FDS_PER_EXECUTOR: u64 = 16;

/// Descriptors of the process besides executors and connections: standard streams, log files,
/// admin listener and its clients.
pub const FDS_RESERVED: u64 = 64;

/// Memory an executor needs besides the message budget, in bytes: receive buffers, ring pages,
/// connection state, stacks.
pub const MEMORY_PER_EXECUTOR_BYTES: u64 = 16 << 20;

/// The size of the router that is to run here.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Data shards, one pinned executor each.
    pub shards: u32,
    /// Client connections held open at once, all shards together.
    pub connections_max: u64,
    /// Bytes all outbound queues together may hold.
    pub memory_budget_bytes: u64,
}

impl Wish {
    /// The data shards and the control core.
    pub fn executors(&self) -> u64 {
        u64::from(self.shards) + 1
    }

    pub fn memlock_bytes(&self) -> u64 {
        self.executors() * MEMLOCK_PER_EXECUTOR_BYTES
    }

    pub fn nofile(&self) -> u64 {
        self.connections_max
            .saturating_add(FDS_RESERVED)
            .saturating_add(self.executors() * FDS_PER_EXECUTOR)
    }

    pub fn memory_bytes(&self) -> u64 {
        self.memory_budget_bytes.saturating_add(self.executors() * MEMORY_PER_EXECUTOR_BYTES)
    }
}
