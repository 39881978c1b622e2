//! CPU: what processes and the machine have used, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::io;

/// Time on a CPU of each thread of a process, in nanoseconds since the thread began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TaskTimes(BTreeMap<u32, u64>);

/// What was used between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    pub sum_ns: u64,
    /// The busiest thread's.
    pub busiest_ns: u64,
}

impl TaskTimes {
    /// Reads those threads of `pid` that `counts`.
    pub(crate) fn read(pid: u32, counts: impl Fn(u32) -> bool) -> io::Result<Self> {
        let mut times = BTreeMap::new();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?;
            let Some(tid) = task.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A thread may end between the listing and the reading; its time is then lost.
            let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
            if counts(tid) {
                times.insert(tid, running_ns(&text));
            }
        }
        Ok(Self(times))
    }

    /// What was used since `earlier`; threads that have begun since count whole.
    pub(crate) fn since(&self, earlier: &Self) -> Used {
        let used =
            |(tid, ns): (&u32, &u64)| ns.saturating_sub(earlier.0.get(tid).copied().unwrap_or(0));
        Used {
            sum_ns: self.0.iter().map(used).sum(),
            busiest_ns: self.0.iter().map(used).max().unwrap_or(0),
        }
    }
}

/// The first number of a `schedstat`.
fn running_ns(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Resident memory of a process, bytes.
pub(crate) fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Time of all CPUs of the machine together, in nanoseconds since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MachineTimes {
    /// Running anything.
    pub busy_ns: u64,
    /// Wanted, and given by the hypervisor to someone else.
    pub steal_ns: u64,
}

impl MachineTimes {
    pub(crate) fn read() -> io::Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        Ok(Self::parse(&text, rustix::param::clock_ticks_per_second()))
    }

    fn parse(text: &str, ticks_per_s: u64) -> Self {
        let line = text.lines().next().unwrap_or("");
        let ticks: Vec<u64> =
            line.split_whitespace().skip(1).map(|number| number.parse().unwrap_or(0)).collect();
        let sum_ns = |places: &[usize]| -> u64 {
            let ticks: u64 = places.iter().map(|&at| ticks.get(at).copied().unwrap_or(0)).sum();
            ticks * (1_000_000_000 / ticks_per_s)
        };
        // user, nice, system, (idle, iowait,) irq, softirq, steal.
        Self { busy_ns: sum_ns(&[0, 1, 2, 5, 6]), steal_ns: sum_ns(&[7]) }
    }

    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            busy_ns: self.busy_ns.saturating_sub(earlier.busy_ns),
            steal_ns: self.steal_ns.saturating_sub(earlier.steal_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_compared_with_themselves() {
        let earlier = TaskTimes([(1, 100), (2, 50), (3, 7)].into());
        let later = TaskTimes([(1, 400), (2, 60), (4, 20)].into());
        assert_eq!(later.since(&earlier), Used { sum_ns: 330, busiest_ns: 300 });
    }

    #[test]
    fn steal_and_busy_are_told_apart() {
        let text = "cpu  10 1 5 1000 40 2 3 9 0 0\ncpu0 ...\n";
        let want = MachineTimes { busy_ns: 210_000_000, steal_ns: 90_000_000 };
        assert_eq!(MachineTimes::parse(text, 100), want);
    }

    #[test]
    fn this_process_has_used_something_and_less_without_this_thread() {
        let mut sum = 0u64;
        (0..20_000_000u64).for_each(|n| sum = std::hint::black_box(sum ^ n));
        let me = rustix::thread::gettid().as_raw_pid() as u32;
        let all = TaskTimes::read(std::process::id(), |_| true).unwrap();
        let others = TaskTimes::read(std::process::id(), |tid| tid != me).unwrap();
        assert!(all.0.contains_key(&me) && 0 < all.0[&me]);
        assert!(!others.0.contains_key(&me));
        assert!(resident_bytes(std::process::id()).unwrap() > 100_000);
    }
}
