//! What the kernel's io_uring offers this process, asked of the kernel itself.
//!
//! Ring flags and register calls are tried on a ring of eight entries that is dropped at once.
//! Receiving and accepting modes have no probe of their own; they are read off the opcode that
//! came in the same kernel release, because kernels and backports add opcodes in order.
//!
//! Tests: `tests/live.rs`; rules over made-up rings are in `judge/tests.rs`.

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use io_uring::{Builder, IoUring, Probe, opcode};
use rustix::io::Errno;

/// Entries of the ring that is tried: small enough for any memlock limit.
const PROBE_ENTRIES: u32 = 8;

/// The best set of ring flags the kernel accepts, best first. The router creates its rings with
/// [`RingLevel::apply`], so what is probed is what runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingLevel {
    /// SINGLE_ISSUER, DEFER_TASKRUN, TASKRUN_FLAG, SUBMIT_ALL, NO_SQARRAY: Linux 6.6.
    Deferred,
    /// The same without NO_SQARRAY: Linux 6.1.
    DeferredSqArray,
    /// COOP_TASKRUN, TASKRUN_FLAG, SUBMIT_ALL: Linux 5.19.
    Cooperative,
    /// No flags.
    Plain,
}

impl RingLevel {
    pub const BEST_FIRST: [Self; 4] =
        [Self::Deferred, Self::DeferredSqArray, Self::Cooperative, Self::Plain];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deferred => "deferred",
            Self::DeferredSqArray => "deferred, with submission array",
            Self::Cooperative => "cooperative",
            Self::Plain => "plain",
        }
    }

    /// Sets this level's flags; sizes are the caller's. Rings of the deferred levels must be
    /// created and entered by one thread.
    pub fn apply(self, builder: &mut Builder) {
        match self {
            Self::Deferred | Self::DeferredSqArray => {
                builder.setup_single_issuer().setup_defer_taskrun();
                builder.setup_taskrun_flag().setup_submit_all();
            }
            Self::Cooperative => {
                builder.setup_coop_taskrun().setup_taskrun_flag().setup_submit_all();
            }
            Self::Plain => (),
        }
        if self == Self::Deferred {
            builder.setup_no_sqarray();
        }
    }
}

/// A part of io_uring that may be absent, with the release that brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RingFeature {
    /// Waiting with a deadline: Linux 5.11.
    WaitDeadline,
    /// Buffers handed over in a shared ring: Linux 5.19.
    BufferRing,
    /// One accept for many connections: Linux 5.19.
    AcceptMultishot,
    /// One receive for many messages: Linux 6.0.
    ReceiveMultishot,
    /// Entering the ring without a descriptor lookup: Linux 5.18.
    RegisteredRing,
    /// Sending without a copy into the kernel: Linux 6.0 and 6.1.
    SendZeroCopy,
}

impl RingFeature {
    pub const ALL: [Self; 6] = [
        Self::WaitDeadline,
        Self::BufferRing,
        Self::AcceptMultishot,
        Self::ReceiveMultishot,
        Self::RegisteredRing,
        Self::SendZeroCopy,
    ];

    /// The data plane has no other way to do it.
    pub fn is_required(self) -> bool {
        match self {
            Self::WaitDeadline
            | Self::BufferRing
            | Self::AcceptMultishot
            | Self::ReceiveMultishot => true,
            Self::RegisteredRing | Self::SendZeroCopy => false,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::WaitDeadline => "wait with deadline",
            Self::BufferRing => "buffer rings",
            Self::AcceptMultishot => "multishot accept",
            Self::ReceiveMultishot => "multishot receive",
            Self::RegisteredRing => "registered ring",
            Self::SendZeroCopy => "zero-copy send",
        }
    }
}

/// A kernel that lets this process use io_uring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    pub level: RingLevel,
    pub features: BTreeSet<RingFeature>,
}

/// The system call that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingCall {
    Setup,
    Register,
}

impl fmt::Display for RingCall {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Setup => "io_uring_setup",
            Self::Register => "io_uring_register",
        })
    }
}

/// No ring could be had; `judge` works out why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingRefusal {
    pub call: RingCall,
    pub errno: Errno,
}

/// Creates and drops up to four small rings. About 0.1 ms; must run before any executor, because
/// glommio panics where io_uring is forbidden.
pub fn probe() -> Result<Ring, RingRefusal> {
    let mut refused = RingRefusal { call: RingCall::Setup, errno: Errno::INVAL };
    for level in RingLevel::BEST_FIRST {
        let mut builder = IoUring::builder();
        level.apply(&mut builder);
        match builder.build(PROBE_ENTRIES) {
            Ok(ring) => return Ok(Ring { level, features: features(ring)? }),
            Err(error) => refused.errno = errno(&error),
        }
        // Only an unknown flag is worth another try; anything else refuses every level.
        if refused.errno != Errno::INVAL {
            break;
        }
    }
    Err(refused)
}

fn features(ring: IoUring) -> Result<BTreeSet<RingFeature>, RingRefusal> {
    let mut submitter = ring.submitter();
    let mut opcodes = Probe::new();
    if let Err(error) = submitter.register_probe(&mut opcodes) {
        let errno = errno(&error);
        // Kernels before 5.6 cannot be asked; they have none of the opcodes below either.
        if errno != Errno::INVAL {
            return Err(RingRefusal { call: RingCall::Register, errno });
        }
    }
    let registered_ring = submitter.register_ring_fd().is_ok();
    if registered_ring {
        // Left registered, the ring would live as long as this thread. It was registered just
        // above, so the only possible error is that it is gone.
        drop(submitter.unregister_ring_fd());
    }
    // There is no group 0 on this ring: a kernel that knows buffer rings says so with ENOENT.
    let buffer_ring =
        submitter.unregister_buf_ring(0).is_err_and(|error| errno(&error) == Errno::NOENT);
    let offered = |feature: &RingFeature| match feature {
        RingFeature::WaitDeadline => ring.params().is_feature_ext_arg(),
        RingFeature::BufferRing => buffer_ring,
        RingFeature::AcceptMultishot => opcodes.is_supported(opcode::Socket::CODE),
        RingFeature::ReceiveMultishot => opcodes.is_supported(opcode::SendZc::CODE),
        RingFeature::RegisteredRing => registered_ring,
        RingFeature::SendZeroCopy => opcodes.is_supported(opcode::SendMsgZc::CODE),
    };
    Ok(RingFeature::ALL.into_iter().filter(offered).collect())
}

/// Every error of the crate comes from a system call; one without a number is our own mistake.
fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).expect("the io-uring crate reports system errors only")
}
