//! Interrupts of network cards and the CPUs that serve them.
//!
//! Only cards with message-signalled interrupts are seen: they have a list of their own. Virtual
//! interfaces have none, nor has loopback.

use std::fs;

use crate::cpus::CpuSet;
use crate::root::{self, Root};

const INTERFACES: &str = "sys/class/net";

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interrupts {
    pub interface: String,
    pub count: usize,
    /// CPUs that serve at least one of them.
    pub cpus: CpuSet,
}

pub(super) fn read(root: &Root) -> Vec<Interrupts> {
    root.names(INTERFACES)
        .into_iter()
        .filter_map(|interface| {
            let numbers = numbers(root, &interface);
            let mut cpus = CpuSet::default();
            for number in &numbers {
                cpus.extend(&served_by(root, number));
            }
            (!cpus.is_empty()).then_some(Interrupts { interface, count: numbers.len(), cpus })
        })
        .collect()
}

fn numbers(root: &Root, interface: &str) -> Vec<String> {
    let link = root.path(&format!("{INTERFACES}/{interface}/device"));
    let Ok(device) = fs::canonicalize(link) else {
        return Vec::new();
    };
    // A virtio card is a child of the PCI device that has the interrupts.
    let candidates = [Some(device.as_path()), device.parent()];
    candidates
        .into_iter()
        .flatten()
        .map(|device| root::names(&device.join("msi_irqs")))
        .find(|numbers| !numbers.is_empty())
        .unwrap_or_default()
}

fn served_by(root: &Root, number: &str) -> CpuSet {
    ["effective_affinity_list", "smp_affinity_list"]
        .into_iter()
        .filter_map(|file| root.value::<CpuSet>(&format!("proc/irq/{number}/{file}")))
        .find(|cpus| !cpus.is_empty())
        .unwrap_or_default()
}
