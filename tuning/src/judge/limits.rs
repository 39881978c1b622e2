//! Resource limits of the process: locked memory and descriptors.

use crate::facts::{Limit, Quantity, StartFacts, StartedBy};
use crate::finding::{Check, Finding};
use crate::profile;
use crate::wish::{MEMLOCK_PER_EXECUTOR_BYTES, Wish};

pub(super) fn memlock(facts: &StartFacts, wish: &Wish) -> Finding {
    let executors = wish.executors();
    let exempt = facts.process.may_lock_memory();
    // glommio looks at the limit itself, so even the exempt need enough for one executor.
    let needed_bytes = if exempt { MEMLOCK_PER_EXECUTOR_BYTES } else { wish.memlock_bytes() };
    let wanted = match exempt {
        true => format!("{}, with CAP_IPC_LOCK", kib(Quantity::Of(needed_bytes))),
        false => format!("{} for {executors} executors", kib(Quantity::Of(needed_bytes))),
    };
    let Some(limit) = facts.process.memlock else {
        return Finding::not_shown(Check::Memlock, wanted);
    };
    let finding = Finding::ok(Check::Memlock, found(limit, kib), wanted);
    if Quantity::Of(needed_bytes) <= limit.soft {
        return finding;
    }
    let needed_kib = needed_bytes / 1024;
    let remedies = Remedies {
        container: format!("run the container with --ulimit memlock={needed_bytes}"),
        unit: format!("set LimitMEMLOCK={needed_kib}K in the unit"),
        shell: format!("ulimit -l {needed_kib}"),
        login: format!("set memlock to {needed_kib} KiB for this user and log in again"),
    };
    remedies.block(finding, facts, limit, needed_bytes)
}

pub(super) fn nofile(facts: &StartFacts, wish: &Wish) -> Finding {
    let needed = wish.nofile();
    let wanted = format!("{needed} for {} connections", wish.connections_max);
    let Some(limit) = facts.process.nofile else {
        return Finding::not_shown(Check::Nofile, wanted);
    };
    let finding = Finding::ok(Check::Nofile, found(limit, |quantity| quantity.to_string()), wanted);
    if Quantity::Of(needed) <= limit.soft {
        return finding;
    }
    let fewer = "or serve fewer connections";
    let remedies = Remedies {
        container: format!("run the container with --ulimit nofile={needed}, {fewer}"),
        unit: format!("set LimitNOFILE={needed} in the unit, {fewer}"),
        shell: format!("ulimit -n {needed}, {fewer}"),
        login: format!("set nofile to {needed} for this user and log in again, {fewer}"),
    };
    remedies.block(finding, facts, limit, needed)
}

/// How to raise a limit, by who set it.
struct Remedies {
    container: String,
    unit: String,
    /// The hard limit has room: a process may raise its own soft one.
    shell: String,
    login: String,
}

impl Remedies {
    fn block(self, finding: Finding, facts: &StartFacts, limit: Limit, needed: u64) -> Finding {
        let has_room = Quantity::Of(needed) <= limit.hard;
        match facts.process.started_by {
            StartedBy::SystemdUnit => finding.blocking(self.unit).fixed_by(&profile::UNIT),
            StartedBy::Container if has_room => {
                finding.blocking(self.shell).fixed_by(&profile::DOCKER)
            }
            StartedBy::Container => finding.blocking(self.container).fixed_by(&profile::DOCKER),
            StartedBy::Shell if has_room => finding.blocking(self.shell).fixed_by(&profile::LIMITS),
            StartedBy::Shell => finding.blocking(self.login).fixed_by(&profile::LIMITS),
        }
    }
}

fn found(limit: Limit, text: impl Fn(Quantity) -> String) -> String {
    match limit.soft == limit.hard {
        true => text(limit.soft),
        false => format!("{}, hard limit {}", text(limit.soft), text(limit.hard)),
    }
}

fn kib(bytes: Quantity) -> String {
    match bytes {
        Quantity::Of(bytes) => format!("{} KiB", bytes / 1024),
        Quantity::Unlimited => "unlimited".to_owned(),
    }
}
