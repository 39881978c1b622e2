//! The processors: which there are, how fast they are allowed to be, what they are busy with.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::cpus::CpuSet;
use crate::facts::cgroup;
use crate::root::Root;

const CPUS: &str = "sys/devices/system/cpu";
const NODES: &str = "sys/devices/system/node";

#[derive(Clone, Debug)]
pub struct CpuFacts {
    /// CPUs the scheduler keeps free unless asked for.
    pub isolated: CpuSet,
    /// CPUs of each memory node.
    pub nodes: BTreeMap<String, CpuSet>,
    /// Frequency governors of the allowed CPUs; empty where frequency is not the kernel's business.
    pub governors: BTreeMap<String, CpuSet>,
    pub clocksource: Option<String>,
    /// Names of processor flaws the kernel works around.
    pub mitigated: Vec<String>,
    /// CPU time the control group may use, in thousandths of a CPU.
    pub quota_milli: Option<u64>,
}

impl CpuFacts {
    pub(super) fn read(root: &Root, allowed: &CpuSet) -> Self {
        Self {
            isolated: root.value(&format!("{CPUS}/isolated")).unwrap_or_default(),
            nodes: nodes(root),
            governors: governors(root, allowed),
            clocksource: root
                .text("sys/devices/system/clocksource/clocksource0/current_clocksource"),
            mitigated: mitigated(root),
            quota_milli: cgroup::cpu_quota_milli(root),
        }
    }
}

fn nodes(root: &Root) -> BTreeMap<String, CpuSet> {
    root.names(NODES)
        .into_iter()
        .filter(|name| name.strip_prefix("node").is_some_and(|ix| ix.parse::<u32>().is_ok()))
        .filter_map(|name| Some((root.value(&format!("{NODES}/{name}/cpulist"))?, name)))
        .map(|(cpus, name)| (name, cpus))
        .collect()
}

fn governors(root: &Root, allowed: &CpuSet) -> BTreeMap<String, CpuSet> {
    let mut governors = BTreeMap::<String, CpuSet>::new();
    for cpu in allowed.iter() {
        if let Some(name) = root.text(&format!("{CPUS}/cpu{cpu}/cpufreq/scaling_governor")) {
            governors.entry(name).or_default().insert(cpu);
        }
    }
    governors
}

fn mitigated(root: &Root) -> Vec<String> {
    let directory = format!("{CPUS}/vulnerabilities");
    let is_mitigated = |name: &String| {
        root.text(&format!("{directory}/{name}")).is_some_and(|text| text.starts_with("Mitigation"))
    };
    root.names(&directory).into_iter().filter(is_mitigated).collect()
}

/// The cheapest system call there is, best of many rounds: the work of other processes makes a
/// round slower, never faster.
pub(super) fn measure_syscall_ns() -> u64 {
    const ROUNDS: usize = 40;
    const CALLS: u32 = 200;
    let round = || {
        let start = Instant::now();
        for _ in 0..CALLS {
            std::hint::black_box(rustix::process::getppid());
        }
        start.elapsed() / CALLS
    };
    let best = (0..ROUNDS).map(|_| round()).min().unwrap_or_default();
    u64::try_from(best.as_nanos()).unwrap_or(u64::MAX)
}
