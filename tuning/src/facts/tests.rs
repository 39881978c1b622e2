//! How file texts become facts. What they mean is tested in `judge/tests.rs`.

use super::*;
use crate::fake::FakeHost;

const CGROUP: &str = "proc/self/cgroup";

#[test]
fn kernel_release_is_read_to_its_second_number() {
    for (release, version) in
        [("6.18.44-fc-v669", (6, 18)), ("5.10.0-28-amd64", (5, 10)), ("7.0-rc1", (7, 0))]
    {
        assert_eq!(Kernel::parse(release.to_owned()).unwrap().version, version);
    }
    assert_eq!(Kernel::parse("unknown".to_owned()), None);
}

#[test]
fn limits_tell_soft_from_hard_and_know_unlimited() {
    let host = FakeHost::good().with(
        "proc/self/limits",
        "Max open files            1024                 1048576              files     \n\
         Max locked memory         unlimited            unlimited            bytes     ",
    );
    let process = host.facts().start.process;
    let nofile = Limit { soft: Quantity::Of(1024), hard: Quantity::Of(1_048_576) };
    assert_eq!(process.nofile, Some(nofile));
    let memlock = Limit { soft: Quantity::Unlimited, hard: Quantity::Unlimited };
    assert_eq!(process.memlock, Some(memlock));
}

#[test]
fn capabilities_are_bits_of_a_hexadecimal_number() {
    let status = "proc/self/status";
    let with = |hex: &str| {
        let host = FakeHost::good().edit(status, "CapEff:\t0000000000000000", hex);
        let process = host.facts().start.process;
        (process.may_lock_memory(), process.is_admin())
    };
    assert_eq!(with("CapEff:\t000001ffffffffff"), (true, true));
    assert_eq!(with("CapEff:\t0000000000004000"), (true, false));
    assert_eq!(with("CapEff:\t0000000000200000"), (false, true));
}

#[test]
fn who_started_the_process_is_seen_in_marks_and_groups() {
    let started_by = |host: FakeHost| host.facts().start.process.started_by;
    let good = FakeHost::good;
    assert_eq!(started_by(good()), StartedBy::Shell);
    assert_eq!(started_by(good().with(".dockerenv", "")), StartedBy::Container);
    assert_eq!(started_by(good().with("run/.containerenv", "")), StartedBy::Container);
    let unit = good().with(CGROUP, "0::/system.slice/mpreg.service");
    assert_eq!(started_by(unit), StartedBy::SystemdUnit);
    let desktop = good().with(CGROUP, "0::/user.slice/user@1000.service/app.slice/term.service");
    assert_eq!(started_by(desktop), StartedBy::Shell);
}

#[test]
fn smallest_quota_of_all_ancestors_counts() {
    let host = FakeHost::good()
        .with(CGROUP, "0::/a.slice/b.service")
        .with("sys/fs/cgroup/a.slice/cpu.max", "150000 100000")
        .with("sys/fs/cgroup/a.slice/b.service/cpu.max", "max 100000")
        .with("sys/fs/cgroup/memory.max", "max")
        .with("sys/fs/cgroup/a.slice/memory.max", "1073741824");
    let facts = host.facts();
    assert_eq!(facts.cpu.quota_milli, Some(1_500));
    assert_eq!(facts.memory.usable_bytes, Some(1 << 30));
}

#[test]
fn first_version_groups_are_read_too() {
    let host = FakeHost::good()
        .with(CGROUP, "4:memory:/x\n3:cpu,cpuacct:/x\n0::/")
        .with("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1")
        .with("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000")
        .with("sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "50000")
        .with("sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000")
        .with("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712")
        .with("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "2097152");
    let facts = host.facts();
    assert_eq!(facts.cpu.quota_milli, Some(500));
    assert_eq!(facts.memory.usable_bytes, Some(2 << 20));
}

#[test]
fn smaller_of_both_versions_counts_where_both_are_mounted() {
    let host = FakeHost::good()
        .with(CGROUP, "4:memory:/\n3:cpu:/\n0::/x")
        .with("sys/fs/cgroup/x/cpu.max", "200000 100000")
        .with("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "300000")
        .with("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000")
        .with("sys/fs/cgroup/x/memory.max", "3145728")
        .with("sys/fs/cgroup/memory/memory.limit_in_bytes", "2097152");
    let facts = host.facts();
    assert_eq!(facts.cpu.quota_milli, Some(2_000));
    assert_eq!(facts.memory.usable_bytes, Some(2 << 20));
}

#[test]
fn group_paths_of_the_host_fall_back_to_the_mount() {
    let host = FakeHost::good()
        .with(CGROUP, "0::/docker/not-mounted-here")
        .with("sys/fs/cgroup/cpu.max", "200000 100000");
    assert_eq!(host.facts().cpu.quota_milli, Some(2_000));
}

#[test]
fn without_a_group_limit_the_machine_is_the_limit() {
    assert_eq!(FakeHost::good().facts().memory.usable_bytes, Some(16_384_000 * 1024));
}

#[test]
fn card_behind_a_virtio_child_has_its_parent_interrupts() {
    let want = Interrupts { interface: "eth0".to_owned(), count: 2, cpus: "1-2".parse().unwrap() };
    assert_eq!(FakeHost::good().facts().interrupts, [want]);
}

#[test]
fn old_kernels_tell_where_interrupts_may_go() {
    let host = FakeHost::good()
        .with("proc/irq/40/effective_affinity_list", "")
        .with("proc/irq/40/smp_affinity_list", "0-7");
    assert_eq!(host.facts().interrupts[0].cpus.to_string(), "0-7");
}

#[test]
fn blank_machine_gives_no_facts_and_no_panic() {
    let facts = FakeHost::blank().facts();
    assert_eq!(facts.kernel, None);
    assert_eq!(facts.start.process.nofile, None);
    assert_eq!(facts.memory.usable_bytes, None);
    assert!(facts.interrupts.is_empty());
}

#[test]
fn garbage_gives_no_facts_and_no_panic() {
    let mut host = FakeHost::good().with(CGROUP, "::\n0:\nx:cpu");
    for path in [
        "proc/sys/kernel/osrelease",
        "proc/self/status",
        "proc/self/limits",
        "proc/meminfo",
        "proc/sys/net/ipv4/tcp_rmem",
        "sys/kernel/mm/transparent_hugepage/enabled",
        "sys/devices/system/cpu/isolated",
        "sys/devices/system/node/node0/cpulist",
    ] {
        host = host.with(path, "Max open files\nMax locked memory 9999999999999999999999 -1 ]x[");
    }
    let facts = host.facts();
    assert_eq!(facts.kernel, None);
    assert_eq!(facts.start.process.nofile, None);
    assert_eq!(facts.start.process.memlock, None);
    assert_eq!(facts.memory.huge_pages, None);
    assert!(facts.cpu.nodes.is_empty());
}
