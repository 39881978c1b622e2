//! One answer to one question about the machine.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::profile::Profile;

/// What is asked. The order is the order of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    Kernel,
    IoUring,
    RingFeatures,
    RingLevel,
    Seccomp,
    Memlock,
    Nofile,
    Cpus,
    CpuQuota,
    IsolatedCpus,
    Numa,
    Governor,
    Clocksource,
    Interrupts,
    Mitigations,
    HugePages,
    Swap,
    Memory,
    AcceptBacklog,
    SocketBuffers,
}

impl Check {
    /// Stable: scripts read it in the JSON report.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::IoUring => "io-uring",
            Self::RingFeatures => "ring-features",
            Self::RingLevel => "ring-level",
            Self::Seccomp => "seccomp",
            Self::Memlock => "memlock",
            Self::Nofile => "nofile",
            Self::Cpus => "cpus",
            Self::CpuQuota => "cpu-quota",
            Self::IsolatedCpus => "isolated-cpus",
            Self::Numa => "numa",
            Self::Governor => "governor",
            Self::Clocksource => "clocksource",
            Self::Interrupts => "interrupts",
            Self::Mitigations => "mitigations",
            Self::HugePages => "huge-pages",
            Self::Swap => "swap",
            Self::Memory => "memory",
            Self::AcceptBacklog => "accept-backlog",
            Self::SocketBuffers => "socket-buffers",
        }
    }
}

impl Serialize for Check {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.as_str())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    /// The router runs, slower or less evenly than it could.
    Advice,
    /// The router does not start.
    Blocking,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Advice => "advice",
            Self::Blocking => "blocking",
        }
    }
}

/// `Display` is one line, as `mpreg serve` prints it when it refuses to start.
///
/// There is a remedy exactly when the verdict is not `Ok`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub check: Check,
    pub verdict: Verdict,
    pub found: String,
    pub wanted: String,
    /// What to change, as a sentence or a command.
    pub remedy: Option<String>,
    /// Name of the shipped file that makes the change, see [`crate::profile`].
    pub profile: Option<&'static str>,
}

impl Finding {
    pub(crate) fn ok(check: Check, found: impl Into<String>, wanted: impl Into<String>) -> Self {
        let (found, wanted) = (found.into(), wanted.into());
        Self { check, verdict: Verdict::Ok, found, wanted, remedy: None, profile: None }
    }

    /// The machine does not show it, as guests and containers often do not.
    pub(crate) fn not_shown(check: Check, wanted: impl Into<String>) -> Self {
        Self::ok(check, "not shown by this machine", wanted)
    }

    pub(crate) fn advice(self, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Advice, remedy: Some(remedy.into()), ..self }
    }

    pub(crate) fn blocking(self, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Blocking, remedy: Some(remedy.into()), ..self }
    }

    pub(crate) fn fixed_by(self, profile: &Profile) -> Self {
        Self { profile: Some(profile.name), ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { check, found, wanted, remedy, profile, .. } = self;
        write!(out, "{}: {found}; wanted {wanted}", check.as_str())?;
        if let Some(remedy) = remedy {
            write!(out, "; {remedy}")?;
        }
        if let Some(profile) = profile {
            write!(out, " (profile {profile})")?;
        }
        Ok(())
    }
}
