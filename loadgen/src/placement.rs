//! Placement: which CPUs the generator's threads run on.
//!
//! A generator that spins on a router's CPU measures itself. Unless told otherwise it looks where
//! the router's threads are pinned and keeps off those CPUs.

use std::fs;
use std::str::FromStr;

/// `--cpu`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cpus {
    /// Those allowed to this process that no thread of the router is pinned to, or if there are too
    /// few, those that none of its data threads is pinned to; or else wherever the kernel likes.
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
pub(crate) fn choose(cpus: &Cpus, threads_count: usize, router_pids: &[u32]) -> Vec<Option<usize>> {
    let pool = match cpus {
        Cpus::Any => Vec::new(),
        Cpus::These(list) => list.clone(),
        Cpus::Auto => {
            let pinned: Vec<_> = router_pids.iter().copied().flat_map(pinned_threads).collect();
            let allowed = core_affinity::get_core_ids().unwrap_or_default();
            let allowed: Vec<_> = allowed.into_iter().map(|core| core.id).collect();
            away_from(&pinned, &allowed, threads_count)
        }
    };
    (0..threads_count).map(|thread| pool.get(thread % pool.len().max(1)).copied()).collect()
}

/// CPUs with no pinned thread; if those are too few, CPUs with no data thread; if those are too
/// few, or there is nothing to keep off, none.
fn away_from(pinned: &[Pinned], allowed: &[usize], threads_count: usize) -> Vec<usize> {
    let free_of = |matters: fn(&Pinned) -> bool| -> Vec<usize> {
        let is_taken =
            |cpu: usize| pinned.iter().any(|thread| thread.cpu == cpu && matters(thread));
        allowed.iter().copied().filter(|&cpu| !is_taken(cpu)).collect()
    };
    let choices = [free_of(|_| true), free_of(|thread| thread.is_data)];
    let enough = |pool: &Vec<usize>| threads_count <= pool.len() && pool.len() < allowed.len();
    choices.into_iter().find(enough).unwrap_or_default()
}

/// Pins the calling thread; false if the kernel refuses.
pub(crate) fn pin(cpu: usize) -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
}

/// A thread bound to one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pinned {
    cpu: usize,
    /// Named as a router names the threads that carry messages. Its control thread mostly sleeps.
    is_data: bool,
}

fn pinned_threads(pid: u32) -> Vec<Pinned> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("status")).ok())
        .filter_map(|status| pinned(&status))
        .collect()
}

/// What a `status` says of a thread that may run on one CPU only.
fn pinned(status: &str) -> Option<Pinned> {
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let cpu = field("Cpus_allowed_list:")?.parse().ok()?;
    Some(Pinned { cpu, is_data: field("Name:")?.contains("shard") })
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
        assert_eq!(choose(&list, 3, &[]), [Some(4), Some(6), Some(4)]);
        assert_eq!(choose(&Cpus::Any, 2, &[]), [None, None]);
        assert_eq!(choose(&Cpus::Auto, 1, &[]), [None], "no router, nothing to keep off");
    }

    #[test]
    fn auto_keeps_off_pinned_threads_or_at_least_off_those_that_carry_data() {
        let control = Pinned { cpu: 0, is_data: false };
        let data = Pinned { cpu: 1, is_data: true };
        assert_eq!(away_from(&[control, data], &[0, 1, 2], 1), [2]);
        assert_eq!(away_from(&[control, data], &[0, 1], 1), [0]);
        assert_eq!(away_from(&[control, data], &[0, 1, 2], 2), [0, 2]);
        assert_eq!(away_from(&[control, data], &[0, 1], 2), [] as [usize; 0]);
        assert_eq!(away_from(&[], &[0, 1], 1), [] as [usize; 0]);
    }

    #[test]
    fn a_thread_is_pinned_if_one_cpu_is_left_to_it() {
        let status = |name, list| format!("Name:\t{name}\nCpus_allowed_list:\t{list}\n");
        let shard = Some(Pinned { cpu: 1, is_data: true });
        assert_eq!(pinned(&status("mpreg-shard-0", "1")), shard);
        assert_eq!(pinned(&status("x", "3")), Some(Pinned { cpu: 3, is_data: false }));
        assert_eq!(pinned(&status("x", "0-1")), None);
        assert_eq!(pinned("Name:\tx\n"), None);
    }
}
