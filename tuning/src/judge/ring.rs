//! io_uring: whether it may be used, and what of it there is.

use rustix::io::Errno;

use crate::facts::{Facts, StartFacts, StartedBy};
use crate::finding::{Check, Finding};
use crate::profile;
use crate::ring::{Ring, RingFeature, RingLevel, RingRefusal};

/// The oldest kernel the router is meant for. A number decides nothing: what a kernel can do is
/// probed, and a distribution may have brought it to an older one.
const KERNEL_OLDEST: (u32, u32) = (6, 1);
/// Multishot accept was mended in 6.8; this is the first long-term kernel after it.
const KERNEL_WANTED: (u32, u32) = (6, 12);

pub(super) fn kernel(facts: &Facts) -> Finding {
    let wanted = "6.12 or newer";
    let Some(kernel) = &facts.kernel else {
        return Finding::not_shown(Check::Kernel, wanted);
    };
    let finding = Finding::ok(Check::Kernel, &kernel.release, wanted);
    if KERNEL_WANTED <= kernel.version {
        finding
    } else if KERNEL_OLDEST <= kernel.version {
        finding.advice("use Linux 6.12 or newer: multishot accept has faults before 6.8")
    } else {
        finding.advice("use Linux 6.12 or newer: the router is not meant for kernels before 6.1")
    }
}

pub(super) fn io_uring(facts: &StartFacts) -> Finding {
    let wanted = "io_uring allowed";
    let refusal = match &facts.ring {
        Ok(_) => return Finding::ok(Check::IoUring, "allowed", wanted),
        Err(refusal) => refusal,
    };
    let finding = |why: &str| {
        let RingRefusal { call, errno } = refusal;
        Finding::ok(Check::IoUring, format!("{call} refused ({errno}): {why}"), wanted)
    };
    let disabled = facts.io_uring_disabled.unwrap_or(0);
    match refusal.errno {
        Errno::PERM if disabled == 2 => finding("kernel.io_uring_disabled is 2, off for everyone")
            .blocking("sysctl --write kernel.io_uring_disabled=0")
            .fixed_by(&profile::SYSCTL),
        Errno::PERM if disabled == 1 && !facts.process.is_admin() => {
            let group = facts.io_uring_group.filter(|&group| 0 <= group);
            let group = group.map_or_else(|| "unset".to_owned(), |group| group.to_string());
            finding("kernel.io_uring_disabled is 1, off outside of one group")
                .blocking(format!(
                    "run as a member of kernel.io_uring_group ({group}), \
                     or sysctl --write kernel.io_uring_disabled=0"
                ))
                .fixed_by(&profile::SYSCTL)
        }
        Errno::PERM | Errno::NOSYS if facts.process.has_seccomp_filter => {
            allow_in_seccomp(finding("a seccomp filter forbids it"), facts.process.started_by)
        }
        Errno::PERM | Errno::ACCESS => finding("a security module or sandbox forbids it").blocking(
            "look for the denial with journalctl --dmesg and allow io_uring in its policy",
        ),
        Errno::NOSYS => finding("this kernel has no io_uring").blocking(
            "use Linux 6.1 or newer with CONFIG_IO_URING=y; in a gVisor sandbox, use runc",
        ),
        Errno::NOMEM => finding("the locked memory of this user is used up")
            .blocking("raise memlock for this user")
            .fixed_by(&profile::LIMITS),
        Errno::MFILE | Errno::NFILE => {
            finding("no descriptor is left").blocking("raise nofile").fixed_by(&profile::LIMITS)
        }
        _ => finding("for a reason not known here").blocking("use Linux 6.1 or newer"),
    }
}

fn allow_in_seccomp(finding: Finding, started_by: StartedBy) -> Finding {
    match started_by {
        StartedBy::Container => finding
            .blocking("run the container with --security-opt seccomp=FILE that allows io_uring")
            .fixed_by(&profile::DOCKER),
        StartedBy::SystemdUnit => finding
            .blocking("add @aio to the SystemCallFilter of the unit")
            .fixed_by(&profile::UNIT),
        StartedBy::Shell => finding.blocking(
            "allow io_uring_setup, io_uring_enter and io_uring_register in the filter \
             of whatever started this process",
        ),
    }
}

pub(super) fn features(ring: &Ring) -> Finding {
    let required = || RingFeature::ALL.into_iter().filter(|feature| feature.is_required());
    let wanted = list(required());
    let missing = list(required().filter(|feature| !ring.features.contains(feature)));
    if missing.is_empty() {
        return Finding::ok(Check::RingFeatures, list(ring.features.iter().copied()), wanted);
    }
    Finding::ok(Check::RingFeatures, format!("missing: {missing}"), wanted)
        .blocking("use Linux 6.1 or newer")
}

fn list(features: impl Iterator<Item = RingFeature>) -> String {
    features.map(RingFeature::as_str).collect::<Vec<_>>().join(", ")
}

pub(super) fn level(ring: &Ring) -> Finding {
    let finding = Finding::ok(Check::RingLevel, ring.level.as_str(), "deferred");
    match ring.level {
        RingLevel::Deferred | RingLevel::DeferredSqArray => finding,
        RingLevel::Cooperative => {
            finding.advice("use Linux 6.1 or newer: completions are handled at the router's choice")
        }
        RingLevel::Plain => finding
            .advice("use Linux 6.1 or newer: a plain ring forwards 15 to 22 % fewer messages"),
    }
}

pub(super) fn seccomp(facts: &StartFacts) -> Finding {
    let found = match (facts.process.has_seccomp_filter, facts.ring.is_ok()) {
        (false, _) => "no filter",
        (true, true) => "a filter that allows io_uring",
        (true, false) => "a filter, see io-uring",
    };
    Finding::ok(Check::Seccomp, found, "no filter, or one that allows io_uring")
}
