//! Processors: enough of them, undisturbed, awake, with a cheap clock.

use crate::facts::Facts;
use crate::finding::{Check, Finding};
use crate::profile;
use crate::wish::Wish;

/// Read without entering the kernel; every other source costs a system call per reading.
const CLOCKSOURCES_CHEAP: [&str; 4] =
    ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter"];

/// A system call without workarounds for processor flaws costs 50 to 150 ns; from here on they
/// show in a router that enters the kernel once per turn.
const SYSCALL_DEAR_NS: u64 = 300;

pub(super) fn cpus(facts: &Facts, wish: &Wish) -> Finding {
    let allowed = &facts.start.process.cpus_allowed;
    let (shards, count) = (u64::from(wish.shards), allowed.len() as u64);
    let wanted = format!("a CPU for each of {shards} shards and one for control");
    if allowed.is_empty() {
        return Finding::not_shown(Check::Cpus, wanted);
    }
    let finding = Finding::ok(Check::Cpus, format!("{count} allowed ({allowed})"), wanted);
    if count < shards {
        finding.advice(format!("use --shards {}: shards that share a CPU delay each other", count))
    } else if count == shards {
        finding.advice("allow one CPU more or use one shard less: control shares a shard's CPU")
    } else {
        finding
    }
}

pub(super) fn quota(facts: &Facts, wish: &Wish) -> Finding {
    let needed_milli = wish.executors() * 1_000;
    let wanted = format!("none, or at least {} CPUs", wish.executors());
    let Some(milli) = facts.cpu.quota_milli else {
        return Finding::ok(Check::CpuQuota, "none", wanted);
    };
    let found = format!("{}.{:03} CPUs", milli / 1_000, milli % 1_000);
    let finding = Finding::ok(Check::CpuQuota, found, wanted);
    if needed_milli <= milli {
        return finding;
    }
    finding.advice(
        "raise the CPU limit of the container or unit: all shards stop for the rest of each \
         100 ms once it is used up",
    )
}

pub(super) fn isolated(facts: &Facts) -> Finding {
    let isolated = &facts.cpu.isolated;
    let wanted = "none, or used by the router";
    if isolated.is_empty() {
        return Finding::ok(Check::IsolatedCpus, "none", wanted);
    }
    let finding = Finding::ok(Check::IsolatedCpus, isolated.to_string(), wanted);
    let unused = isolated.without(&facts.start.process.cpus_allowed);
    if unused.is_empty() {
        return finding;
    }
    finding
        .advice(format!("start with CPUAffinity={unused} or taskset --cpu-list {unused}"))
        .fixed_by(&profile::UNIT)
}

pub(super) fn numa(facts: &Facts) -> Finding {
    let wanted = "all CPUs on one memory node";
    let allowed = &facts.start.process.cpus_allowed;
    let nodes: Vec<_> = facts.cpu.nodes.iter().filter(|(_, cpus)| cpus.meets(allowed)).collect();
    match nodes.as_slice() {
        [] => Finding::not_shown(Check::Numa, wanted),
        [(name, _)] => Finding::ok(Check::Numa, name.as_str(), wanted),
        [(_, cpus), ..] => Finding::ok(Check::Numa, format!("{} nodes", nodes.len()), wanted)
            .advice(format!(
                "run one router per node, the first with CPUAffinity={cpus}: \
                 handing messages between nodes costs several times as much"
            ))
            .fixed_by(&profile::UNIT),
    }
}

pub(super) fn governor(facts: &Facts) -> Finding {
    let wanted = "performance";
    let governors = &facts.cpu.governors;
    if governors.is_empty() {
        return Finding::not_shown(Check::Governor, wanted);
    }
    let found: Vec<_> = governors.iter().map(|(name, cpus)| format!("{name} on {cpus}")).collect();
    let finding = Finding::ok(Check::Governor, found.join(", "), wanted);
    if governors.keys().all(|name| name == wanted) {
        return finding;
    }
    finding
        .advice("set scaling_governor to performance: a slowed CPU answers the first message late")
        .fixed_by(&profile::TMPFILES)
}

pub(super) fn clocksource(facts: &Facts) -> Finding {
    let wanted = "tsc, or the hypervisor's own";
    let Some(name) = &facts.cpu.clocksource else {
        return Finding::not_shown(Check::Clocksource, wanted);
    };
    let finding = Finding::ok(Check::Clocksource, name, wanted);
    if CLOCKSOURCES_CHEAP.contains(&name.as_str()) {
        return finding;
    }
    finding.advice(
        "boot with tsc=reliable if the machine's TSC is sound: each reading of this clock is a \
         system call",
    )
}

pub(super) fn interrupts(facts: &Facts) -> Finding {
    let wanted = "each network card served by several CPUs, or by none of the router's";
    if facts.interrupts.is_empty() {
        return Finding::not_shown(Check::Interrupts, wanted);
    }
    let allowed = &facts.start.process.cpus_allowed;
    let found: Vec<_> = facts
        .interrupts
        .iter()
        .map(|card| format!("{}: {} on CPU {}", card.interface, card.count, card.cpus))
        .collect();
    let finding = Finding::ok(Check::Interrupts, found.join(", "), wanted);
    let crowded = facts
        .interrupts
        .iter()
        .find(|card| card.cpus.len() == 1 && card.cpus.meets(allowed) && 1 < allowed.len());
    let Some(card) = crowded else {
        return finding;
    };
    finding.advice(format!(
        "run irqbalance, or spread them over {allowed} in /proc/irq/*/smp_affinity_list; \
         a card with one queue: rps_cpus of {}",
        card.interface
    ))
}

pub(super) fn mitigations(facts: &Facts) -> Finding {
    let wanted = format!("system calls below {SYSCALL_DEAR_NS} ns");
    let mitigated = match facts.cpu.mitigated.as_slice() {
        [] => "no workarounds".to_owned(),
        names => format!("workarounds: {}", names.join(", ")),
    };
    let found = format!("{} ns a system call, {mitigated}", facts.syscall_ns);
    let finding = Finding::ok(Check::Mitigations, found, wanted);
    if facts.syscall_ns < SYSCALL_DEAR_NS || facts.cpu.mitigated.is_empty() {
        return finding;
    }
    finding.advice(
        "use a processor that needs fewer workarounds; switching them off is only for machines \
         where no code of others runs",
    )
}
