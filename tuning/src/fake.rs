//! A made-up machine for tests: a tree of files like `/proc` and `/sys`, and a ring that is allowed.
//!
//! It starts out as one with nothing to complain about; a test changes a file and sees what the
//! rules say.

use std::fs;
use std::os::unix::fs::symlink;

use rustix::io::Errno;
use tempfile::TempDir;

use crate::facts::{Facts, StartFacts};
use crate::finding::{Check, Finding};
use crate::judge::{judge, refusal};
use crate::ring::{Ring, RingCall, RingFeature, RingLevel, RingRefusal};
use crate::root::Root;
use crate::wish::Wish;

/// A well-kept machine: 8 CPUs on one node, started from a shell.
const GOOD: [(&str, &str); 26] = [
    ("proc/sys/kernel/osrelease", "6.12.3-cloud-amd64"),
    ("proc/sys/kernel/io_uring_disabled", "0"),
    ("proc/sys/kernel/io_uring_group", "-1"),
    (
        "proc/self/status",
        "Name:\tmpreg\nCapEff:\t0000000000000000\nSeccomp:\t0\nCpus_allowed_list:\t0-7",
    ),
    (
        "proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units     \n\
         Max open files            1048576              1048576              files     \n\
         Max locked memory         67108864             67108864             bytes     ",
    ),
    ("proc/self/cgroup", "0::/user.slice/session-1.scope"),
    ("proc/meminfo", "MemTotal:       16384000 kB\nSwapTotal:             0 kB"),
    ("proc/sys/vm/swappiness", "60"),
    ("proc/sys/net/core/somaxconn", "4096"),
    ("proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456"),
    ("proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304"),
    ("proc/irq/40/effective_affinity_list", "1"),
    ("proc/irq/41/effective_affinity_list", "2"),
    ("sys/devices/pci0000:00/0000:00:03.0/msi_irqs/40", "msix"),
    ("sys/devices/pci0000:00/0000:00:03.0/msi_irqs/41", "msix"),
    ("sys/devices/pci0000:00/0000:00:03.0/virtio2/vendor", "0x1af4"),
    ("sys/devices/virtual/net/lo/mtu", "65536"),
    ("sys/class/net/lo/mtu", "65536"),
    ("sys/class/net/eth0/mtu", "1500"),
    ("sys/devices/system/cpu/isolated", ""),
    ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance"),
    ("sys/devices/system/cpu/cpu7/cpufreq/scaling_governor", "performance"),
    ("sys/devices/system/cpu/vulnerabilities/meltdown", "Not affected"),
    ("sys/devices/system/node/node0/cpulist", "0-7"),
    ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never"),
];

pub(crate) const WISH: Wish =
    Wish { shards: 7, connections_max: 10_000, memory_budget_bytes: 1 << 30 };

pub(crate) struct FakeHost {
    directory: TempDir,
    pub(crate) ring: Result<Ring, RingRefusal>,
    pub(crate) syscall_ns: u64,
    pub(crate) wish: Wish,
}

impl FakeHost {
    pub(crate) fn good() -> Self {
        let features = RingFeature::ALL.into_iter().collect();
        let host = Self {
            directory: temporary(),
            ring: Ok(Ring { level: RingLevel::Deferred, features }),
            syscall_ns: 80,
            wish: WISH,
        };
        let host = GOOD.into_iter().fold(host, |host, (path, text)| host.with(path, text));
        let link = host.directory.path().join("sys/class/net/eth0/device");
        symlink("../../../devices/pci0000:00/0000:00:03.0/virtio2", link)
            .expect("the directory is ours and empty");
        host
    }

    /// A machine that shows nothing at all.
    pub(crate) fn blank() -> Self {
        Self { directory: temporary(), ..Self::good() }
    }

    pub(crate) fn with(self, path: &str, text: &str) -> Self {
        let path = self.directory.path().join(path);
        let parent = path.parent().expect("a path below the directory");
        fs::create_dir_all(parent).expect("the directory is ours");
        fs::write(path, format!("{text}\n")).expect("the directory is ours");
        self
    }

    /// Replaces one word or line in a file.
    pub(crate) fn edit(self, path: &str, from: &str, to: &str) -> Self {
        let text = fs::read_to_string(self.directory.path().join(path))
            .expect("only known files are edited");
        assert!(text.contains(from), "{path} has no {from:?}");
        let text = text.replace(from, to);
        self.with(path, text.trim_end())
    }

    pub(crate) fn refused(self, errno: Errno) -> Self {
        Self { ring: Err(RingRefusal { call: RingCall::Setup, errno }), ..self }
    }

    pub(crate) fn facts(&self) -> Facts {
        Facts::read(&Root::new(self.directory.path()), self.ring.clone(), self.syscall_ns)
    }

    pub(crate) fn findings(&self) -> Vec<Finding> {
        judge(&self.facts(), &self.wish)
    }

    pub(crate) fn finding(&self, check: Check) -> Finding {
        let mut findings = self.findings();
        findings.retain(|finding| finding.check == check);
        findings.pop().unwrap_or_else(|| panic!("nothing said of {check:?}"))
    }

    pub(crate) fn refusal(&self) -> Option<Finding> {
        let start = StartFacts::read(&Root::new(self.directory.path()), self.ring.clone());
        refusal(&start, &self.wish)
    }
}

fn temporary() -> TempDir {
    TempDir::new().expect("tests have a place for temporary files")
}
