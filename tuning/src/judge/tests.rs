//! File texts of a made-up machine in, verdicts out.

use rustix::io::Errno;

use crate::fake::FakeHost;
use crate::finding::{Check, Finding, Verdict};
use crate::profile;
use crate::ring::{RingCall, RingFeature, RingLevel, RingRefusal};

const STATUS: &str = "proc/self/status";
const LIMITS: &str = "proc/self/limits";
const DISABLED: &str = "proc/sys/kernel/io_uring_disabled";
const SECCOMP: (&str, &str) = ("Seccomp:\t0", "Seccomp:\t2");
const IPC_LOCK: (&str, &str) = ("CapEff:\t0000000000000000", "CapEff:\t0000000000004000");
const ADMIN: (&str, &str) = ("CapEff:\t0000000000000000", "CapEff:\t0000000000200000");
const MEMLOCK: &str = "67108864             67108864 ";
const NOFILE: &str = "1048576              1048576 ";

/// Compares `verdict: what was found`, and checks what must hold on any machine: remedies exactly
/// for what is not ok, and a start that is refused exactly when something blocks.
#[track_caller]
fn check(host: &FakeHost, check: Check, want: &str) -> Finding {
    let finding = host.finding(check);
    assert_eq!(format!("{}: {}", finding.verdict.as_str(), finding.found), want);
    for finding in host.findings() {
        assert_eq!(finding.remedy.is_some(), finding.verdict != Verdict::Ok, "{finding}");
        assert!(finding.profile.is_none_or(|name| profile::by_name(name).is_some()), "{finding}");
    }
    let blocking = host.findings().into_iter().find(|f| f.verdict == Verdict::Blocking);
    assert_eq!(host.refusal(), blocking);
    finding
}

#[test]
fn well_kept_machine_has_nothing_to_change() {
    let findings = FakeHost::good().findings();
    assert_eq!(findings.len(), 20);
    assert!(findings.is_sorted_by_key(|finding| finding.check));
    for finding in findings {
        assert_eq!(finding.verdict, Verdict::Ok, "{finding}");
    }
}

#[test]
fn machine_that_shows_nothing_blocks_nothing() {
    let host = FakeHost::blank();
    check(&host, Check::Memlock, "ok: not shown by this machine");
    assert!(host.findings().iter().all(|finding| finding.verdict == Verdict::Ok));
}

#[test]
fn kernel_version_is_advice_only() {
    let kernel = |release: &str| FakeHost::good().with("proc/sys/kernel/osrelease", release);
    check(&kernel("6.12.0"), Check::Kernel, "ok: 6.12.0");
    check(&kernel("7.0.1"), Check::Kernel, "ok: 7.0.1");
    check(&kernel("6.11.9"), Check::Kernel, "advice: 6.11.9");
    let oldest = check(&kernel("6.1.0-18-amd64"), Check::Kernel, "advice: 6.1.0-18-amd64");
    assert!(oldest.remedy.unwrap().contains("multishot accept"));
    let old = check(&kernel("5.15.0"), Check::Kernel, "advice: 5.15.0");
    assert!(old.remedy.unwrap().contains("not meant for kernels before 6.1"));
}

#[test]
fn refused_ring_is_explained_by_the_sysctl_first() {
    let off = FakeHost::good().edit(STATUS, SECCOMP.0, SECCOMP.1).refused(Errno::PERM);
    let finding = check(
        &off.with(DISABLED, "2"),
        Check::IoUring,
        "blocking: io_uring_setup refused (Operation not permitted (os error 1)): \
         kernel.io_uring_disabled is 2, off for everyone",
    );
    assert_eq!(finding.profile, Some("sysctl.conf"));
}

#[test]
fn refused_ring_outside_the_group_names_the_group() {
    for (group, named) in [("998", "(998)"), ("0", "(0)"), ("-1", "(unset)")] {
        let host = FakeHost::good()
            .with(DISABLED, "1")
            .with("proc/sys/kernel/io_uring_group", group)
            .refused(Errno::PERM);
        let finding = check(
            &host,
            Check::IoUring,
            "blocking: io_uring_setup refused (Operation not permitted (os error 1)): \
             kernel.io_uring_disabled is 1, off outside of one group",
        );
        let remedy = finding.remedy.unwrap();
        assert!(remedy.contains(&format!("io_uring_group {named}")), "{remedy}");
    }
}

#[test]
fn group_is_not_the_reason_for_an_administrator() {
    let host = FakeHost::good()
        .with(DISABLED, "1")
        .edit(STATUS, ADMIN.0, ADMIN.1)
        .edit(STATUS, SECCOMP.0, SECCOMP.1)
        .refused(Errno::PERM);
    assert!(host.finding(Check::IoUring).found.ends_with("a seccomp filter forbids it"));
}

#[test]
fn seccomp_remedy_fits_who_started_the_process() {
    let filtered = || FakeHost::good().edit(STATUS, SECCOMP.0, SECCOMP.1).refused(Errno::PERM);
    let remedy = |host: FakeHost| {
        let finding = check(
            &host,
            Check::IoUring,
            "blocking: io_uring_setup refused (Operation not permitted (os error 1)): \
             a seccomp filter forbids it",
        );
        (finding.remedy.unwrap(), finding.profile)
    };
    let (docker, profile) = remedy(filtered().with(".dockerenv", ""));
    assert!(docker.contains("--security-opt seccomp="));
    assert_eq!(profile, Some("docker-seccomp.md"));
    let unit = filtered().with("proc/self/cgroup", "0::/system.slice/mpreg.service");
    let (unit, profile) = remedy(unit);
    assert!(unit.contains("@aio"));
    assert_eq!(profile, Some("mpreg.service.d/override.conf"));
    let (shell, profile) = remedy(filtered());
    assert!(shell.contains("io_uring_register"));
    assert_eq!(profile, None);
}

#[test]
fn each_errno_has_its_own_reason() {
    for (errno, filter, reason) in [
        (Errno::PERM, false, "a security module or sandbox forbids it"),
        (Errno::ACCESS, true, "a security module or sandbox forbids it"),
        (Errno::NOSYS, false, "this kernel has no io_uring"),
        (Errno::NOSYS, true, "a seccomp filter forbids it"),
        (Errno::NOMEM, true, "the locked memory of this user is used up"),
        (Errno::MFILE, false, "no descriptor is left"),
        (Errno::NFILE, false, "no descriptor is left"),
        (Errno::IO, false, "for a reason not known here"),
    ] {
        let mode = if filter { SECCOMP.1 } else { SECCOMP.0 };
        let host = FakeHost::good().edit(STATUS, SECCOMP.0, mode).refused(errno);
        let finding = host.finding(Check::IoUring);
        assert_eq!(finding.verdict, Verdict::Blocking);
        assert!(finding.found.ends_with(reason), "{errno}: {finding}");
    }
}

#[test]
fn refused_register_is_told_from_refused_setup() {
    let mut host = FakeHost::good();
    host.ring = Err(RingRefusal { call: RingCall::Register, errno: Errno::PERM });
    assert!(host.finding(Check::IoUring).found.starts_with("io_uring_register refused"));
}

#[test]
fn refused_ring_has_no_features_to_judge() {
    let host = FakeHost::good().refused(Errno::NOSYS);
    let checks: Vec<_> = host.findings().iter().map(|finding| finding.check).collect();
    assert!(!checks.contains(&Check::RingFeatures) && !checks.contains(&Check::RingLevel));
    assert_eq!(host.refusal().unwrap().check, Check::IoUring);
}

#[test]
fn missing_required_feature_blocks_and_optional_does_not() {
    for feature in RingFeature::ALL {
        let mut host = FakeHost::good();
        host.ring.as_mut().unwrap().features.remove(&feature);
        let finding = host.finding(Check::RingFeatures);
        match feature.is_required() {
            true => {
                let want = format!("blocking: missing: {}", feature.as_str());
                check(&host, Check::RingFeatures, &want);
            }
            false => assert_eq!(finding.verdict, Verdict::Ok, "{finding}"),
        }
    }
}

#[test]
fn lesser_ring_levels_are_named() {
    let level = |level| {
        let mut host = FakeHost::good();
        host.ring.as_mut().unwrap().level = level;
        host
    };
    let deferred = level(RingLevel::DeferredSqArray);
    check(&deferred, Check::RingLevel, "ok: deferred, with submission array");
    check(&level(RingLevel::Cooperative), Check::RingLevel, "advice: cooperative");
    check(&level(RingLevel::Plain), Check::RingLevel, "advice: plain");
}

#[test]
fn filter_that_allows_io_uring_is_fine() {
    let host = FakeHost::good().edit(STATUS, SECCOMP.0, SECCOMP.1);
    check(&host, Check::Seccomp, "ok: a filter that allows io_uring");
}

#[test]
fn memlock_is_counted_per_executor() {
    // 7 shards and control: 8 times 512 KiB.
    let enough = FakeHost::good().edit(LIMITS, MEMLOCK, "4194304 4194304 ");
    check(&enough, Check::Memlock, "ok: 4096 KiB");
    let short = FakeHost::good().edit(LIMITS, MEMLOCK, "4194303 4194303 ");
    let finding = check(&short, Check::Memlock, "blocking: 4095 KiB");
    assert_eq!(finding.wanted, "4096 KiB for 8 executors");
    assert!(finding.remedy.unwrap().contains("log in again"));
}

#[test]
fn memlock_below_one_executor_blocks_even_the_exempt() {
    let exempt = |limit: &str| {
        FakeHost::good().edit(STATUS, IPC_LOCK.0, IPC_LOCK.1).edit(LIMITS, MEMLOCK, limit)
    };
    check(&exempt("524288 524288 "), Check::Memlock, "ok: 512 KiB");
    check(&exempt("65536 65536 "), Check::Memlock, "blocking: 64 KiB");
}

#[test]
fn limits_the_shell_may_raise_are_raised_there() {
    let memlock = FakeHost::good().edit(LIMITS, MEMLOCK, "65536 unlimited ");
    let finding = check(&memlock, Check::Memlock, "blocking: 64 KiB, hard limit unlimited");
    assert_eq!(finding.remedy.as_deref(), Some("ulimit -l 4096"));
    let nofile = FakeHost::good().edit(LIMITS, NOFILE, "1024 10192 ");
    let finding = check(&nofile, Check::Nofile, "blocking: 1024, hard limit 10192");
    assert!(finding.remedy.unwrap().starts_with("ulimit -n 10192"));
    assert_eq!(finding.profile, Some("limits.conf"));
}

#[test]
fn limits_in_units_and_containers_are_raised_there() {
    let short = || FakeHost::good().edit(LIMITS, NOFILE, "1024 524288 ");
    let unit = short().with("proc/self/cgroup", "0::/system.slice/mpreg.service");
    let finding = check(&unit, Check::Nofile, "blocking: 1024, hard limit 524288");
    assert!(finding.remedy.unwrap().starts_with("set LimitNOFILE=10192"));
    assert_eq!(finding.profile, Some("mpreg.service.d/override.conf"));
    let roomy = short().with(".dockerenv", "");
    let finding = check(&roomy, Check::Nofile, "blocking: 1024, hard limit 524288");
    assert!(finding.remedy.unwrap().starts_with("ulimit -n 10192"));
    let finding = check(&roomy.edit(LIMITS, "524288", "1024"), Check::Nofile, "blocking: 1024");
    assert!(finding.remedy.unwrap().contains("--ulimit nofile=10192"));
    assert_eq!(finding.profile, Some("docker-seccomp.md"));
}

#[test]
fn nofile_covers_connections_executors_and_the_rest() {
    let limit = |nofile: &str| FakeHost::good().edit(LIMITS, NOFILE, nofile);
    check(&limit("10192 10192 "), Check::Nofile, "ok: 10192");
    check(&limit("10191 10191 "), Check::Nofile, "blocking: 10191");
}

#[test]
fn wish_beyond_all_numbers_blocks() {
    let mut host = FakeHost::good();
    host.wish.connections_max = u64::MAX;
    host.wish.shards = u32::MAX;
    assert_eq!(host.finding(Check::Nofile).verdict, Verdict::Blocking);
}

#[test]
fn fewer_cpus_than_executors_is_advice() {
    let allowed = |list: &str| FakeHost::good().edit(STATUS, "0-7", list);
    let seven = check(&allowed("0-6"), Check::Cpus, "advice: 7 allowed (0-6)");
    assert!(seven.remedy.unwrap().contains("control shares a shard's CPU"));
    let two = check(&allowed("1,3"), Check::Cpus, "advice: 2 allowed (1,3)");
    assert!(two.remedy.unwrap().starts_with("use --shards 2"));
}

#[test]
fn cpu_quota_below_all_executors_is_advice() {
    let quota = |text: &str| FakeHost::good().with("sys/fs/cgroup/cpu.max", text);
    check(&quota("max 100000"), Check::CpuQuota, "ok: none");
    check(&quota("800000 100000"), Check::CpuQuota, "ok: 8.000 CPUs");
    check(&quota("150000 100000"), Check::CpuQuota, "advice: 1.500 CPUs");
}

#[test]
fn isolated_cpus_want_to_be_used() {
    let isolated = |list: &str| FakeHost::good().with("sys/devices/system/cpu/isolated", list);
    check(&isolated("4-7"), Check::IsolatedCpus, "ok: 4-7");
    let unused = check(&isolated("6-9"), Check::IsolatedCpus, "advice: 6-9");
    assert!(unused.remedy.unwrap().contains("CPUAffinity=8-9"));
}

#[test]
fn spanning_memory_nodes_is_advice() {
    let node = |cpus: &str| FakeHost::good().with("sys/devices/system/node/node1/cpulist", cpus);
    check(&node("8-15"), Check::Numa, "ok: node0");
    check(&node("7"), Check::Numa, "advice: 2 nodes");
}

#[test]
fn every_cpu_should_run_the_performance_governor() {
    let path = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
    check(
        &FakeHost::good().with(path, "schedutil"),
        Check::Governor,
        "advice: performance on 7, schedutil on 0",
    );
}

#[test]
fn clocks_that_cost_a_system_call_are_advice() {
    let path = "sys/devices/system/clocksource/clocksource0/current_clocksource";
    check(&FakeHost::good().with(path, "kvm-clock"), Check::Clocksource, "ok: kvm-clock");
    check(&FakeHost::good().with(path, "hpet"), Check::Clocksource, "advice: hpet");
}

#[test]
fn card_served_by_one_router_cpu_is_advice() {
    let path = "proc/irq/41/effective_affinity_list";
    let crowded = FakeHost::good().with(path, "1");
    check(&crowded, Check::Interrupts, "advice: eth0: 2 on CPU 1");
    // One CPU set apart for interrupts is a choice, not an accident.
    let apart = crowded.edit(STATUS, "0-7", "2-7");
    check(&apart, Check::Interrupts, "ok: eth0: 2 on CPU 1");
    // With one CPU for everything there is nothing to spread over.
    let single = apart.edit(STATUS, "2-7", "1");
    check(&single, Check::Interrupts, "ok: eth0: 2 on CPU 1");
}

#[test]
fn workarounds_matter_only_when_they_can_be_measured() {
    let path = "sys/devices/system/cpu/vulnerabilities/meltdown";
    let mut host = FakeHost::good().with(path, "Mitigation: PTI");
    let cheap = "ok: 80 ns a system call, workarounds: meltdown";
    check(&host, Check::Mitigations, cheap);
    host.syscall_ns = 300;
    let dear = "advice: 300 ns a system call, workarounds: meltdown";
    check(&host, Check::Mitigations, dear);
    let host = host.with(path, "Not affected");
    check(&host, Check::Mitigations, "ok: 300 ns a system call, no workarounds");
}

#[test]
fn huge_pages_for_everything_are_advice() {
    let path = "sys/kernel/mm/transparent_hugepage/enabled";
    let host = FakeHost::good().with(path, "[always] madvise never");
    check(&host, Check::HugePages, "advice: always");
}

#[test]
fn eager_swap_is_advice() {
    let swap =
        FakeHost::good().edit("proc/meminfo", "SwapTotal:             0", "SwapTotal: 1048576");
    check(&swap, Check::Swap, "advice: 1024 MiB, vm.swappiness 60");
    let patient = swap.with("proc/sys/vm/swappiness", "10");
    check(&patient, Check::Swap, "ok: 1024 MiB, vm.swappiness 10");
}

#[test]
fn memory_limit_below_the_budget_is_advice() {
    // 1 GiB of queues and 8 executors of 16 MiB.
    let limit = |bytes: &str| FakeHost::good().with("sys/fs/cgroup/memory.max", bytes);
    check(&limit("1207959552"), Check::Memory, "ok: 1152 MiB");
    check(&limit("1207959551"), Check::Memory, "advice: 1151 MiB");
}

#[test]
fn short_accept_backlog_is_advice() {
    let host = FakeHost::good().with("proc/sys/net/core/somaxconn", "128");
    check(&host, Check::AcceptBacklog, "advice: 128");
}

#[test]
fn small_or_disordered_socket_buffers_are_advice() {
    let receive = |text: &str| FakeHost::good().with("proc/sys/net/ipv4/tcp_rmem", text);
    let found = |range: &str| format!("advice: receive {range} KiB, send 16 to 4096 KiB");
    // The smallest that will do, all three alike.
    let least = "ok: receive 2048 to 2048 KiB, send 16 to 4096 KiB";
    check(&receive("2097152 2097152 2097152"), Check::SocketBuffers, least);
    check(&receive("4096 131072 1048576"), Check::SocketBuffers, &found("128 to 1024"));
    check(&receive("4096 8192 6291456"), Check::SocketBuffers, &found("8 to 6144"));
    check(&receive("262144 131072 6291456"), Check::SocketBuffers, &found("128 to 6144"));
}

#[test]
fn finding_is_one_line() {
    let host = FakeHost::good().edit(LIMITS, MEMLOCK, "65536 65536 ");
    assert_eq!(
        host.refusal().unwrap().to_string(),
        "memlock: 64 KiB; wanted 4096 KiB for 8 executors; set memlock to 4096 KiB for this user \
         and log in again (profile limits.conf)"
    );
}
