//! Memory: how much there is, what may take it away.

use crate::facts::{cgroup, process};
use crate::root::Root;

#[derive(Clone, Debug)]
pub struct MemoryFacts {
    /// What this process could use at most: the machine's, or its control group's if that is less.
    pub usable_bytes: Option<u64>,
    pub swap: Option<Swap>,
    /// Transparent huge pages: `always`, `madvise` or `never`.
    pub huge_pages: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swap {
    pub bytes: u64,
    /// 0 to 200: how willingly the kernel swaps rather than drops its own caches.
    pub swappiness: u32,
}

impl MemoryFacts {
    pub(super) fn read(root: &Root) -> Self {
        let meminfo = root.text("proc/meminfo").unwrap_or_default();
        let total_bytes = kib_field_bytes(&meminfo, "MemTotal");
        let swap = kib_field_bytes(&meminfo, "SwapTotal")
            .zip(root.value("proc/sys/vm/swappiness"))
            .map(|(bytes, swappiness)| Swap { bytes, swappiness });
        Self {
            usable_bytes: [total_bytes, cgroup::memory_bytes(root)].into_iter().flatten().min(),
            swap,
            huge_pages: root
                .text("sys/kernel/mm/transparent_hugepage/enabled")
                .as_deref()
                .and_then(chosen)
                .map(str::to_owned),
        }
    }
}

/// A `Name:  1234 kB` line.
fn kib_field_bytes(meminfo: &str, name: &str) -> Option<u64> {
    let kib: u64 = process::field(meminfo, name)?.strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

/// The word in brackets: `always [madvise] never`.
fn chosen(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0)
}
