//! Board: the few numbers generator threads and their coordinator share while a run is on.
//!
//! Gates hold a closed loop's publishers to their window. A gate counts deliveries of one
//! publisher's messages, whichever thread receives them; the publisher may be `window` messages
//! ahead of its slowest gate.
//!
//! Every number is a counter or a flag read with relaxed order: nothing else is published through
//! them, and a reader that sees one late only waits a turn longer.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::latency::Sketch;

#[derive(Debug)]
pub(crate) struct Board {
    gates: Vec<AtomicU64>,
    tallies: Vec<Tally>,
    is_stopped: AtomicBool,
    is_over: AtomicBool,
}

/// What one thread has done so far. On cache lines of its own: its thread writes it every turn.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Tally {
    published: AtomicU64,
    owed: AtomicU64,
    received: AtomicU64,
    busy_ns: AtomicU64,
    /// The thread's id in the kernel; zero before it began.
    tid: AtomicU32,
    pub sketch: Sketch,
}

/// Tallies of all threads together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub published: u64,
    /// Deliveries that `published` must become.
    pub owed: u64,
    pub received: u64,
    /// Time of turns in which something was sent or received.
    pub busy_ns: u64,
}

impl Board {
    pub(crate) fn new(gates_count: usize, threads_count: usize) -> Self {
        Self {
            gates: (0..gates_count).map(|_| AtomicU64::new(0)).collect(),
            tallies: (0..threads_count).map(|_| Tally::default()).collect(),
            is_stopped: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        }
    }

    /// Counts deliveries at a gate.
    #[inline]
    pub(crate) fn open_gate(&self, gate: usize, deliveries: u64) {
        self.gates[gate].fetch_add(deliveries, Relaxed);
    }

    /// Deliveries at the slowest of these gates; never empty.
    #[inline]
    pub(crate) fn slowest(&self, gates: Range<usize>) -> u64 {
        self.gates[gates]
            .iter()
            .map(|gate| gate.load(Relaxed))
            .min()
            .expect("a publisher has a gate")
    }

    pub(crate) fn tally(&self, thread: usize) -> &Tally {
        &self.tallies[thread]
    }

    pub(crate) fn totals(&self) -> Totals {
        self.tallies.iter().fold(Totals::default(), |sum, tally| Totals {
            published: sum.published + tally.published.load(Relaxed),
            owed: sum.owed + tally.owed.load(Relaxed),
            received: sum.received + tally.received.load(Relaxed),
            busy_ns: sum.busy_ns + tally.busy_ns.load(Relaxed),
        })
    }

    /// Kernel ids of the generator threads.
    pub(crate) fn tids(&self) -> Vec<u32> {
        self.tallies.iter().map(|tally| tally.tid.load(Relaxed)).collect()
    }

    pub(crate) fn sketches(&self) -> impl Iterator<Item = &Sketch> {
        self.tallies.iter().map(|tally| &tally.sketch)
    }

    /// Nothing more is to be published: a connection failed.
    pub(crate) fn stop(&self) {
        self.is_stopped.store(true, Relaxed);
    }

    #[inline]
    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Relaxed)
    }

    /// Nothing more is waited for: the threads return.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Relaxed);
    }

    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }
}

impl Tally {
    /// Called by the thread whose tally it is.
    pub(crate) fn begin(&self) {
        self.tid.store(rustix::thread::gettid().as_raw_pid() as u32, Relaxed);
    }

    /// One writer, so plain stores.
    #[inline]
    pub(crate) fn post(&self, totals: Totals) {
        let Totals { published, owed, received, busy_ns } = totals;
        self.published.store(published, Relaxed);
        self.owed.store(owed, Relaxed);
        self.received.store(received, Relaxed);
        self.busy_ns.store(busy_ns, Relaxed);
    }
}
