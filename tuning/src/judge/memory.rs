//! Memory: enough, and not moved about.

use crate::facts::Facts;
use crate::finding::{Check, Finding};
use crate::profile;
use crate::wish::Wish;

/// With swap at hand, up to here the kernel swaps only to avoid running out of memory.
const SWAPPINESS_MAX: u32 = 10;

pub(super) fn huge_pages(facts: &Facts) -> Finding {
    let wanted = "madvise or never";
    let Some(mode) = &facts.memory.huge_pages else {
        return Finding::not_shown(Check::HugePages, wanted);
    };
    let finding = Finding::ok(Check::HugePages, mode, wanted);
    if mode != "always" {
        return finding;
    }
    finding
        .advice(
            "set transparent_hugepage/enabled to madvise: always makes small allocations take \
             2 MiB each and page faults wait for compaction",
        )
        .fixed_by(&profile::TMPFILES)
}

pub(super) fn swap(facts: &Facts) -> Finding {
    let wanted = format!("no swap, or vm.swappiness up to {SWAPPINESS_MAX}");
    let Some(swap) = facts.memory.swap else {
        return Finding::not_shown(Check::Swap, wanted);
    };
    if swap.bytes == 0 {
        return Finding::ok(Check::Swap, "no swap", wanted);
    }
    let found = format!("{}, vm.swappiness {}", mib(swap.bytes), swap.swappiness);
    let finding = Finding::ok(Check::Swap, found, wanted);
    if swap.swappiness <= SWAPPINESS_MAX {
        return finding;
    }
    finding
        .advice("sysctl --write vm.swappiness=1: idle connections come back from disk otherwise")
        .fixed_by(&profile::SYSCTL)
}

pub(super) fn usable(facts: &Facts, wish: &Wish) -> Finding {
    let needed_bytes = wish.memory_bytes();
    let wanted = format!("{} for queues and executors", mib(needed_bytes));
    let Some(usable_bytes) = facts.memory.usable_bytes else {
        return Finding::not_shown(Check::Memory, wanted);
    };
    let finding = Finding::ok(Check::Memory, mib(usable_bytes), wanted);
    if needed_bytes <= usable_bytes {
        return finding;
    }
    finding.advice(
        "lower the memory budget or raise the limit: the kernel would kill the router before \
         the router drops messages",
    )
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
