//! What the machine must give before a node starts: CPUs, descriptors, locked memory, io_uring.
//!
//! Limits are raised as far as this process may; connections are cut to the descriptors there are;
//! what then still keeps the node from starting is said in one line.

use mpreg_tuning::facts::StartFacts;
use mpreg_tuning::finding::Finding;
use mpreg_tuning::judge;
use mpreg_tuning::wish::Wish;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::config;
use crate::node::Cpus;

/// A router for fewer connections is not worth starting.
const CONNECTIONS_MIN: usize = 64;

/// What has to be changed before the node can start.
#[derive(Debug, thiserror::Error)]
pub enum HostRefusal {
    #[error("{0}")]
    Finding(Box<Finding>),
    #[error("node.cpus names CPU {cpu}, this process may use {allowed:?}")]
    Cpu { cpu: usize, allowed: Vec<usize> },
    /// A sandbox forbids even asking.
    #[error("asking which CPUs this process may use")]
    Affinity { source: Errno },
}

/// CPUs this process may use, in order.
pub(super) fn cpus_allowed() -> Result<Vec<usize>, HostRefusal> {
    let set = sched_getaffinity(None).map_err(|source| HostRefusal::Affinity { source })?;
    Ok((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect())
}

/// Puts numbers where the configuration leaves CPUs and shards to the machine.
pub(super) fn settle_cores(
    node: &mut config::Node,
    allowed: Vec<usize>,
) -> Result<(), HostRefusal> {
    if let Some(&cpu) = node.cpus.iter().find(|cpu| !allowed.contains(cpu)) {
        return Err(HostRefusal::Cpu { cpu, allowed });
    }
    if node.cpus.is_empty() {
        node.cpus = allowed;
    }
    node.shards = Some(Cpus::assign(&node.cpus, node.shards).shards.len());
    Ok(())
}

/// Raises the soft limits of descriptors and locked memory to the hard ones and asks whether what
/// is configured fits this machine.
pub(super) fn settle_limits(config: &mut config::Config) -> Result<(), HostRefusal> {
    raise_limits();
    let asked = config.limits.connections_max;
    let granted = connections_granted(&wish(config));
    config.limits.connections_max = granted;
    if let Some(finding) = judge::refusal(&StartFacts::of_host(), &wish(config)) {
        return Err(HostRefusal::Finding(Box::new(finding)));
    }
    // A refusal is one line, so this comes after it.
    if granted < asked {
        tracing::warn!(
            granted,
            asked,
            "limits.connections_max is cut to what the descriptor limit allows"
        );
    }
    Ok(())
}

/// What a router configured so asks of its machine. Cores are settled.
pub(super) fn wish(config: &config::Config) -> Wish {
    let shards = config.node.shards.expect("cores are settled first");
    Wish {
        shards: shards as u32,
        connections_max: config.limits.connections_max as u64,
        memory_budget_bytes: config.limits.memory_bytes as u64,
    }
}

/// Keeps this thread, and those it starts from here on, to one CPU.
pub(super) fn stay_on(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    if let Err(error) = sched_setaffinity(None, &set) {
        tracing::warn!(cpu, %error, "the main thread could not be kept to one CPU");
    }
}

/// Runs `start` so that threads it starts stay on `cpu`, and only those.
pub(super) fn starting_on<T>(cpu: usize, start: impl FnOnce() -> T) -> Result<T, HostRefusal> {
    let before = sched_getaffinity(None).map_err(|source| HostRefusal::Affinity { source })?;
    stay_on(cpu);
    let started = start();
    sched_setaffinity(None, &before).map_err(|source| HostRefusal::Affinity { source })?;
    Ok(started)
}

/// Raises the soft limits of descriptors and locked memory to the hard ones.
pub(super) fn raise_limits() {
    for resource in [Resource::Nofile, Resource::Memlock] {
        raise(resource);
    }
}

/// Connections a router of this size would be cut to here.
pub(super) fn connections_granted(wish: &Wish) -> usize {
    connections_within(getrlimit(Resource::Nofile).current, wish)
}

/// Connections `descriptors` are enough for, at most what is wished. Below [`CONNECTIONS_MIN`] the
/// wish stays at that, for the judge to refuse.
fn connections_within(descriptors: Option<u64>, wish: &Wish) -> usize {
    let asked = wish.connections_max;
    let Some(descriptors) = descriptors else { return asked as usize };
    let others = wish.nofile() - asked;
    let room = descriptors.saturating_sub(others);
    asked.min(room.max(CONNECTIONS_MIN as u64)) as usize
}

fn raise(resource: Resource) {
    let Rlimit { current, maximum } = getrlimit(resource);
    if current != maximum
        && let Err(error) = setrlimit(resource, Rlimit { current: maximum, maximum })
    {
        tracing::debug!(?resource, %error, "the soft limit stays below the hard one");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(shards: Option<usize>, cpus: &[usize]) -> config::Node {
        config::Node {
            shards,
            cpus: cpus.to_vec(),
            spin: core::time::Duration::ZERO,
            data_dir: None,
        }
    }

    /// `CPUS shards COUNT` that a node is given, or the refusal.
    fn settled(shards: Option<usize>, cpus: &[usize], allowed: &[usize]) -> String {
        let mut node = node(shards, cpus);
        match settle_cores(&mut node, allowed.to_vec()) {
            Ok(()) => format!("{:?} shards {}", node.cpus, node.shards.unwrap()),
            Err(refusal) => refusal.to_string(),
        }
    }

    #[test]
    fn one_cpu_is_left_to_the_control_core_if_there_are_two() {
        assert_eq!(settled(None, &[], &[0]), "[0] shards 1");
        assert_eq!(settled(None, &[], &[2, 3]), "[2, 3] shards 1");
        assert_eq!(settled(None, &[], &[0, 1, 2, 3]), "[0, 1, 2, 3] shards 3");
        assert_eq!(settled(None, &[3, 1, 0], &[0, 1, 2, 3]), "[3, 1, 0] shards 2");
        assert_eq!(settled(Some(4), &[], &[0, 1]), "[0, 1] shards 4");
        let many: Vec<usize> = (0..100).collect();
        assert!(settled(None, &[], &many).ends_with(" shards 64"));
    }

    #[test]
    fn a_cpu_that_may_not_be_used_is_refused_by_number() {
        let refusal = settled(None, &[1, 4], &[0, 1]);
        assert_eq!(refusal, "node.cpus names CPU 4, this process may use [0, 1]");
    }

    #[test]
    fn connections_give_way_to_descriptors_down_to_a_floor() {
        let wish =
            |connections_max| Wish { shards: 1, connections_max, memory_budget_bytes: 1 << 30 };
        let others = wish(0).nofile();
        assert_eq!(connections_within(None, &wish(50_000)), 50_000);
        assert_eq!(connections_within(Some(60_000), &wish(50_000)), 50_000);
        assert_eq!(connections_within(Some(20_000), &wish(50_000)), 20_000 - others as usize);
        assert_eq!(connections_within(Some(others), &wish(50_000)), CONNECTIONS_MIN);
        assert_eq!(connections_within(Some(0), &wish(10)), 10);
    }

    #[test]
    fn threads_started_elsewhere_do_not_move_the_caller() {
        let before = cpus_allowed().unwrap();
        let cpu = *before.last().unwrap();
        let inside =
            starting_on(cpu, || std::thread::spawn(cpus_allowed).join().unwrap().unwrap()).unwrap();
        assert_eq!(inside, [cpu]);
        assert_eq!(cpus_allowed().unwrap(), before);
    }
}
