//! Limits of the control groups this process is in, of either version.
//!
//! A group is bound by its ancestors as well, so the smallest value on the way up counts. Inside a
//! container the path may name a directory that is not mounted; the mount itself is then the
//! container's group.

use crate::root::Root;

/// CPU time the group may use, in thousandths of a CPU.
pub(super) fn cpu_quota_milli(root: &Root) -> Option<u64> {
    let unified = smallest(root, "", "cpu.max", |root, file| {
        let text = root.text(file)?;
        let (quota, period) = text.split_once(' ')?;
        milli(quota.parse().ok()?, period.parse().ok()?)
    });
    let legacy = smallest(root, "cpu", "cpu.cfs_quota_us", |root, file| {
        let period = root.value(&file.replace("quota", "period"))?;
        milli(root.value(file)?, period)
    });
    [unified, legacy].into_iter().flatten().min()
}

/// Memory the group may use, in bytes.
pub(super) fn memory_bytes(root: &Root) -> Option<u64> {
    let unified = smallest(root, "", "memory.max", |root, file| root.value(file));
    let legacy = smallest(root, "memory", "memory.limit_in_bytes", |root, file| root.value(file));
    [unified, legacy].into_iter().flatten().min()
}

fn milli(quota_us: u64, period_us: u64) -> Option<u64> {
    quota_us.checked_mul(1_000)?.checked_div(period_us)
}

/// Smallest value of `file` in the group and its ancestors. `controller` is empty for version 2.
fn smallest(
    root: &Root,
    controller: &str,
    file: &str,
    value: impl Fn(&Root, &str) -> Option<u64>,
) -> Option<u64> {
    let groups = root.text("proc/self/cgroup")?;
    let path = groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        let path = parts.next()?;
        controllers.split(',').any(|name| name == controller).then_some(path)
    })?;
    let mut group = path.trim_matches('/');
    let mut least = None;
    loop {
        let file = ["sys/fs/cgroup", controller, group, file]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("/");
        least = least.into_iter().chain(value(root, &file)).min();
        if group.is_empty() {
            return least;
        }
        group = group.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
}
