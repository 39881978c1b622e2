//! Placement: which CPUs the generator's threads run on.
//!
//! A generator that spins on a router's CPU measures itself. Unless told otherwise it looks where
//! the router's threads are pinned and keeps off those CPUs.

use std::collections::BTreeSet;
use std::fs;
use std::str::FromStr;

/// `--cpu`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cpus {
    /// Those allowed to this process that no thread of the router is pinned to.
    #[default]
    Auto,
    /// Wherever the kernel likes.
    Any,
    /// One per thread, in turn.
    These(Vec<usize>),
}

/// Why a text names no CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("CPUs are given as numbers with commas between, or auto, or none")]
pub struct BadCpus;

impl FromStr for Cpus {
    type Err = BadCpus;

    fn from_str(text: &str) -> Result<Self, BadCpus> {
        match text {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::Any),
            list => {
                let cpus: Result<_, _> = list.split(',').map(str::parse).collect();
                Ok(Self::These(cpus.map_err(|_| BadCpus)?))
            }
        }
    }
}

/// The CPU of each of `threads_count` threads; none where the kernel is to choose.
pub(crate) fn choose(
    cpus: &Cpus,
    threads_count: usize,
    router_pid: Option<u32>,
) -> Vec<Option<usize>> {
    let pool = match cpus {
        Cpus::Any => Vec::new(),
        Cpus::These(list) => list.clone(),
        Cpus::Auto => {
            let taken = router_pid.map(pinned_cpus).unwrap_or_default();
            let allowed = core_affinity::get_core_ids().unwrap_or_default();
            let free = allowed.into_iter().map(|core| core.id).filter(|cpu| !taken.contains(cpu));
            // Without a pinned router there is nothing to keep off, and nothing to gain.
            let free = if taken.is_empty() { Vec::new() } else { free.collect() };
            if threads_count <= free.len() { free } else { Vec::new() }
        }
    };
    (0..threads_count).map(|thread| pool.get(thread % pool.len().max(1)).copied()).collect()
}

/// Pins the calling thread; false if the kernel refuses.
pub(crate) fn pin(cpu: usize) -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
}

/// CPUs to which a thread of the process is bound alone.
fn pinned_cpus(pid: u32) -> BTreeSet<usize> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return BTreeSet::new() };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("status")).ok())
        .filter_map(|status| only_cpu(&status))
        .collect()
}

/// The CPU of a thread that may run on one only.
fn only_cpu(status: &str) -> Option<usize> {
    status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_numbers_with_commas() {
        assert_eq!("auto".parse(), Ok(Cpus::Auto));
        assert_eq!("none".parse(), Ok(Cpus::Any));
        assert_eq!("3".parse(), Ok(Cpus::These(vec![3])));
        assert_eq!("0,2".parse(), Ok(Cpus::These(vec![0, 2])));
        assert_eq!("0-2".parse::<Cpus>(), Err(BadCpus));
        assert_eq!("".parse::<Cpus>(), Err(BadCpus));
    }

    #[test]
    fn threads_take_listed_cpus_in_turn() {
        let list = Cpus::These(vec![4, 6]);
        assert_eq!(choose(&list, 3, None), [Some(4), Some(6), Some(4)]);
        assert_eq!(choose(&Cpus::Any, 2, None), [None, None]);
        assert_eq!(choose(&Cpus::Auto, 1, None), [None], "no router, nothing to keep off");
    }

    #[test]
    fn a_thread_is_pinned_if_one_cpu_is_left_to_it() {
        assert_eq!(only_cpu("Name:\tx\nCpus_allowed_list:\t1\n"), Some(1));
        assert_eq!(only_cpu("Name:\tx\nCpus_allowed_list:\t0-1\n"), None);
        assert_eq!(only_cpu("Name:\tx\n"), None);
    }
}
