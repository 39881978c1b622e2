//! Where a run was taken and of what: without it two figures cannot be compared.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Machine {
    pub(super) unix_time_s: u64,
    /// Short, with `-dirty` behind it if the working tree was not it. `unknown` outside a checkout.
    pub(super) commit: String,
    pub(super) cpu: String,
    pub(super) cpus: usize,
    pub(super) memory_bytes: u64,
    pub(super) kernel: String,
    /// Scaling governor of the first core; empty where there is none.
    pub(super) governor: String,
    pub(super) clocksource: String,
}

impl Machine {
    /// Of this process, at this time. What cannot be read is empty.
    pub(super) fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            value.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let memory_kib = memory.split(' ').next().and_then(|number| number.parse::<u64>().ok());
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            unix_time_s: since_epoch.as_secs(),
            commit: commit(),
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory_kib.unwrap_or(0) * 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
                .trim()
                .to_owned(),
            clocksource: read("/sys/devices/system/clocksource/clocksource0/current_clocksource")
                .trim()
                .to_owned(),
        }
    }

    /// Whether figures of the other can be set beside figures of this one.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let hardware = |machine: &Self| {
            let Self { cpu, cpus, kernel, governor, clocksource, .. } = machine.clone();
            (cpu, cpus, kernel, governor, clocksource)
        };
        hardware(self) == hardware(other)
    }
}

fn commit() -> String {
    let describe = ["describe", "--always", "--dirty", "--exclude=*"];
    let output = Command::new("git").args(describe).output().ok();
    let text = output.filter(|output| output.status.success()).map(|output| output.stdout);
    let text = text.and_then(|bytes| String::from_utf8(bytes).ok());
    text.map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned())
}
