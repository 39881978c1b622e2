//! The ring of one shard: `io_uring` for every hot socket. All kernel memory sharing is in here.
//!
//! One ring per shard, created and entered by the shard's thread alone. Multishot accept and receive
//! into provided buffers; one send in flight per connection; a multishot poll on the eventfd that
//! other cores ring.
//!
//! # Safety argument
//!
//! - R1: the kernel writes to receive buffer `b` only while `b` is in the buffer ring. A buffer is put
//!   there at start and by [`Ring::recycle`], which consumes the [`Buffer`]; a [`Buffer`] is made only
//!   from a completion that took `b` out. So bytes seen through a `Buffer` do not change.
//! - R2: the kernel reads the pieces, iovecs and message header of a send until its completion is
//!   posted. They are owned by the ring's `flights` from submission until [`Ring::reap`] sees that
//!   completion, and are boxed, so they do not move.
//! - R3: buffer memory and the buffer ring are mapped once and never unmapped: a ring lives as long as
//!   its process (completions may still arrive while a ring is torn down).
//! - R4: a descriptor given to the ring stays open until its receive and its send have completed:
//!   [`Ring`] borrows it per call and the owner keeps it until both ended (`link::Link`).
//! - R5: the timespec of a timeout is read at submission; it is kept in a box until the next one.
//!
//! `unsafe` is confined to this file. Miri cannot run `io_uring`; the live tests in
//! `tests/it` do.
#![expect(unsafe_code, reason = "the kernel shares memory with this file alone")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::types::{BufRingEntry, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use mpreg_tuning::ring::RingLevel;

use crate::limits::{RECEIVE_BUFFER_BYTES, RECEIVE_BUFFERS, RING_COMPLETIONS, RING_ENTRIES};
use crate::outbound::Piece;

/// The buffer group of the one buffer ring.
const GROUP: u16 = 0;

/// A connection's slot, as the shard numbers them.
pub type Slot = u32;

/// What an operation was, in the top byte of its user data.
const ACCEPT: u64 = 1 << 56;
const RECEIVE: u64 = 2 << 56;
const SEND: u64 = 3 << 56;
const WAKE: u64 = 4 << 56;
const TIMER: u64 = 5 << 56;
const CANCEL: u64 = 6 << 56;
const OPERATION: u64 = 0xff << 56;

/// What debug builds overwrite received bytes with once they are given back.
const POISON: u8 = 0xa5;

/// A receive buffer with bytes in it. Give it back with [`Ring::recycle`].
#[derive(Debug, PartialEq, Eq)]
pub struct Buffer {
    id: u16,
    length: u32,
}

/// A send on its way: what the kernel reads until it is done.
#[derive(Debug)]
pub struct Flight {
    pub pieces: Vec<Piece>,
    iovecs: Vec<libc::iovec>,
    header: libc::msghdr,
    /// Bytes of the pieces that are sent already.
    sent: usize,
    bytes: usize,
}

/// What happened.
#[derive(Debug)]
pub enum Completion {
    Accepted {
        listener: u8,
        socket: OwnedFd,
    },
    /// The listener takes no more until it is armed again.
    AcceptEnded {
        listener: u8,
        error: io::Error,
    },
    Received {
        slot: Slot,
        buffer: Buffer,
        /// Whether more will come without arming again.
        more: bool,
    },
    /// Nothing more comes until armed again: end of stream (no error), an error, no buffer.
    ReceiveEnded {
        slot: Slot,
        error: Option<io::Error>,
    },
    /// All of the flight is sent, or the connection is lost.
    Sent {
        slot: Slot,
        flight: Box<Flight>,
        result: io::Result<()>,
    },
    /// Another core rang.
    Woken {
        more: bool,
    },
    TimerDue,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    Ready,
    TimedOut,
}

#[derive(Debug, Default, Clone, Copy)]
pub struct RingCounts {
    pub enters: u64,
    pub completions: u64,
    pub short_sends: u64,
}

pub struct Ring {
    ring: IoUring,
    pool: Pool,
    flights: Vec<Option<Box<Flight>>>,
    reaped: Vec<(u64, i32, u32)>,
    timespec: Box<Timespec>,
    pub counts: RingCounts,
}

impl Default for Flight {
    fn default() -> Self {
        // SAFETY: `msghdr` is plain C data for which all zeros is a valid, empty value.
        let header = unsafe { std::mem::zeroed() };
        Self { pieces: Vec::new(), iovecs: Vec::new(), header, sent: 0, bytes: 0 }
    }
}

impl Ring {
    /// Sets the ring up for the calling thread. Falls back over flags an older kernel lacks.
    pub fn new() -> io::Result<Self> {
        let ring = Self::build()?;
        // A registered ring descriptor saves a lookup per enter; kernels without it work as well.
        if let Err(error) = ring.submitter().register_ring_fd() {
            tracing::debug!(%error, "ring descriptor not registered");
        }
        let pool = Pool::new(&ring)?;
        Ok(Self {
            ring,
            pool,
            flights: Vec::new(),
            reaped: Vec::with_capacity(RING_COMPLETIONS as usize),
            timespec: Box::new(Timespec::new()),
            counts: RingCounts::default(),
        })
    }

    /// The best ring this kernel gives: a flag it does not know is refused as an invalid argument.
    fn build() -> io::Result<IoUring> {
        let mut refusal = io::ErrorKind::Unsupported.into();
        for level in RingLevel::BEST_FIRST {
            let mut builder = IoUring::builder();
            builder.setup_cqsize(RING_COMPLETIONS);
            level.apply(&mut builder);
            match builder.build(RING_ENTRIES) {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refusal = error,
                built => return built,
            }
        }
        Err(refusal)
    }

    /// Signals this eventfd at completions, while [`Ring::notify`] is on.
    pub fn register_eventfd(&self, eventfd: BorrowedFd<'_>) -> io::Result<()> {
        self.ring.submitter().register_eventfd(eventfd.as_raw_fd())
    }

    pub fn notify(&mut self, on: bool) {
        let completions = self.ring.completion();
        if on { completions.enable_eventfd() } else { completions.disable_eventfd() }
    }

    pub fn arm_accept(&mut self, listener: u8, socket: BorrowedFd<'_>) -> io::Result<()> {
        let entry =
            opcode::AcceptMulti::new(Fd(socket.as_raw_fd())).flags(libc::SOCK_CLOEXEC).build();
        self.push(entry.user_data(ACCEPT | u64::from(listener)))
    }

    pub fn arm_receive(&mut self, slot: Slot, socket: BorrowedFd<'_>) -> io::Result<()> {
        let entry = opcode::RecvMulti::new(Fd(socket.as_raw_fd()), GROUP).build();
        self.push(entry.user_data(RECEIVE | u64::from(slot)))
    }

    /// Ends a receive; its last completion says so.
    pub fn cancel_receive(&mut self, slot: Slot) -> io::Result<()> {
        let entry = opcode::AsyncCancel::new(RECEIVE | u64::from(slot)).build();
        self.push(entry.user_data(CANCEL))
    }

    pub fn arm_wake(&mut self, eventfd: BorrowedFd<'_>) -> io::Result<()> {
        let fd = Fd(eventfd.as_raw_fd());
        let entry = opcode::PollAdd::new(fd, libc::POLLIN as u32).multi(true).build();
        self.push(entry.user_data(WAKE))
    }

    /// Completes once after `delay`, even while the thread sleeps elsewhere.
    pub fn arm_timer(&mut self, delay: Duration) -> io::Result<()> {
        *self.timespec = Timespec::from(delay);
        let entry = opcode::Timeout::new(&raw const *self.timespec).build();
        self.push(entry.user_data(TIMER))?;
        // R5: submitted before the box is written again.
        self.submit()
    }

    /// Sends the pieces of a flight. The connection has no other in flight.
    pub fn send(
        &mut self,
        slot: Slot,
        socket: BorrowedFd<'_>,
        mut flight: Box<Flight>,
        bytes: usize,
    ) -> io::Result<()> {
        (flight.sent, flight.bytes) = (0, bytes);
        let at = slot as usize;
        if self.flights.len() <= at {
            self.flights.resize_with(at + 1, || None);
        }
        assert!(self.flights[at].is_none(), "one send in flight per connection");
        let entry = flight.entry(socket.as_raw_fd());
        self.flights[at] = Some(flight);
        self.push(entry.user_data(SEND | u64::from(slot)))
    }

    /// The bytes received.
    #[inline]
    pub fn bytes(&self, buffer: &Buffer) -> &[u8] {
        self.pool.bytes(buffer)
    }

    /// Gives a buffer back to the kernel, at the next [`Ring::publish_buffers`].
    #[inline]
    pub fn recycle(&mut self, buffer: Buffer) {
        if cfg!(debug_assertions) {
            self.pool.poison(&buffer);
        }
        self.pool.add(buffer.id);
    }

    pub fn publish_buffers(&mut self) {
        self.pool.publish();
    }

    /// Takes all completions at hand. `socket_of` finds the descriptor of a send cut short.
    pub fn reap<'a>(
        &mut self,
        socket_of: impl Fn(Slot) -> Option<BorrowedFd<'a>>,
        out: &mut Vec<Completion>,
    ) -> io::Result<()> {
        let mut reaped = std::mem::take(&mut self.reaped);
        reaped.clear();
        reaped.extend(self.ring.completion().map(|c| (c.user_data(), c.result(), c.flags())));
        self.counts.completions += reaped.len() as u64;
        for &(user_data, result, flags) in &reaped {
            let slot = user_data as u32;
            let more = cqueue::more(flags);
            match user_data & OPERATION {
                ACCEPT => accepted(slot as u8, result, more, out),
                RECEIVE => received(slot, result, flags, out),
                SEND => self.sent(slot, result, socket_of(slot), out)?,
                WAKE => out.push(Completion::Woken { more }),
                TIMER => out.push(Completion::TimerDue),
                _ => (),
            }
        }
        self.reaped = reaped;
        Ok(())
    }

    fn sent(
        &mut self,
        slot: Slot,
        result: i32,
        socket: Option<BorrowedFd<'_>>,
        out: &mut Vec<Completion>,
    ) -> io::Result<()> {
        let Some(mut flight) = self.flights.get_mut(slot as usize).and_then(Option::take) else {
            return Ok(());
        };
        if let Ok(count) = usize::try_from(result) {
            flight.sent += count;
            // The kernel may stop in the middle of a piece under back-pressure: send the rest.
            if let (true, true, Some(socket)) = (count != 0, flight.sent < flight.bytes, socket) {
                self.counts.short_sends += 1;
                let entry = flight.entry(socket.as_raw_fd());
                self.flights[slot as usize] = Some(flight);
                return self.push(entry.user_data(SEND | u64::from(slot)));
            }
        }
        let result = if result < 0 {
            Err(io::Error::from_raw_os_error(-result))
        } else if flight.sent < flight.bytes {
            Err(io::ErrorKind::WriteZero.into())
        } else {
            Ok(())
        };
        out.push(Completion::Sent { slot, flight, result });
        Ok(())
    }

    /// Whether there is something to do without entering the kernel, or a reason to enter it.
    #[inline]
    pub fn has_completions(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }

    /// Whether the kernel holds work that only an enter will run.
    #[inline]
    pub fn wants_enter(&mut self) -> bool {
        let submission = self.ring.submission();
        submission.taskrun() || !submission.is_empty()
    }

    /// Submits, and runs what the kernel deferred, without waiting.
    pub fn submit_and_run(&mut self) -> io::Result<()> {
        self.counts.enters += 1;
        let queued = self.ring.submission().len() as u32;
        const GETEVENTS: u32 = 1;
        // SAFETY: no signal mask is passed, so the kernel reads no memory of ours but the ring's own.
        let entered =
            unsafe { self.ring.submitter().enter::<libc::sigset_t>(queued, 0, GETEVENTS, None) };
        ignore_transient(entered.map(|_| ())).map(|_| ())
    }

    /// Submits and waits for a completion, at most for `longest`.
    pub fn submit_and_wait(&mut self, longest: Duration) -> io::Result<Waited> {
        self.counts.enters += 1;
        let timespec = Timespec::from(longest);
        let arguments = SubmitArgs::new().timespec(&timespec);
        ignore_transient(self.ring.submitter().submit_with_args(1, &arguments).map(|_| ()))
    }

    fn submit(&mut self) -> io::Result<()> {
        self.counts.enters += 1;
        ignore_transient(self.ring.submit().map(|_| ())).map(|_| ())
    }

    #[inline]
    fn push(&mut self, entry: squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: every entry made in this file refers to memory that R1, R2, R4 or R5 keep
            // alive and unmoved until its completion.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return Ok(());
            }
            self.submit()?;
        }
    }
}

/// Interrupted, out of time, or short of memory for a moment: the caller goes on either way.
fn ignore_transient(result: io::Result<()>) -> io::Result<Waited> {
    match result {
        Ok(()) => Ok(Waited::Ready),
        Err(error) => match error.raw_os_error() {
            Some(libc::ETIME) => Ok(Waited::TimedOut),
            Some(libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(Waited::Ready),
            _ => Err(error),
        },
    }
}

fn accepted(listener: u8, result: i32, more: bool, out: &mut Vec<Completion>) {
    if 0 <= result {
        // SAFETY: a non-negative result of an accept is a descriptor that is ours alone.
        let socket = unsafe { OwnedFd::from_raw_fd(result) };
        out.push(Completion::Accepted { listener, socket });
    }
    if !more {
        let error = io::Error::from_raw_os_error(if result < 0 { -result } else { 0 });
        out.push(Completion::AcceptEnded { listener, error });
    }
}

fn received(slot: Slot, result: i32, flags: u32, out: &mut Vec<Completion>) {
    let more = cqueue::more(flags);
    match (u32::try_from(result), cqueue::buffer_select(flags)) {
        (Ok(length), Some(id)) if length != 0 => {
            out.push(Completion::Received { slot, buffer: Buffer { id, length }, more });
        }
        (Ok(_), _) => out.push(Completion::ReceiveEnded { slot, error: None }),
        (Err(_), _) => {
            let error = Some(io::Error::from_raw_os_error(-result));
            out.push(Completion::ReceiveEnded { slot, error });
        }
    }
}

impl Flight {
    /// Bytes of the whole flight.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The submission for what is not sent yet.
    fn entry(&mut self, socket: i32) -> squeue::Entry {
        let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        let mut skip = self.sent;
        self.iovecs.clear();
        for piece in &self.pieces {
            let bytes = piece.bytes();
            if bytes.len() <= skip {
                skip -= bytes.len();
                continue;
            }
            let rest = &bytes[skip..];
            skip = 0;
            let base = rest.as_ptr().cast_mut().cast();
            self.iovecs.push(libc::iovec { iov_base: base, iov_len: rest.len() });
        }
        if let [only] = self.iovecs[..] {
            let (base, length) = (only.iov_base.cast_const().cast(), only.iov_len as u32);
            return opcode::Send::new(Fd(socket), base, length).flags(flags).build();
        }
        self.header.msg_iov = self.iovecs.as_mut_ptr();
        self.header.msg_iovlen = self.iovecs.len() as _;
        opcode::SendMsg::new(Fd(socket), &raw const self.header).flags(flags as u32).build()
    }
}

/// Receive buffers, and the ring through which the kernel takes them.
struct Pool {
    entries: *mut BufRingEntry,
    memory: *mut u8,
    tail: u16,
}

impl Pool {
    fn new(ring: &IoUring) -> io::Result<Self> {
        let page = 4096;
        let entries_bytes = usize::from(RECEIVE_BUFFERS) * size_of::<BufRingEntry>();
        let entries = map(entries_bytes.next_multiple_of(page))?.cast::<BufRingEntry>();
        let memory = map(usize::from(RECEIVE_BUFFERS) * RECEIVE_BUFFER_BYTES)?;
        // SAFETY: `entries` is a page-aligned mapping of as many entries as named, never unmapped (R3).
        unsafe {
            ring.submitter().register_buf_ring_with_flags(
                entries as u64,
                RECEIVE_BUFFERS,
                GROUP,
                0,
            )?;
        }
        let mut pool = Self { entries, memory, tail: 0 };
        (0..RECEIVE_BUFFERS).for_each(|id| pool.add(id));
        pool.publish();
        Ok(pool)
    }

    fn bytes(&self, buffer: &Buffer) -> &[u8] {
        let at = usize::from(buffer.id) * RECEIVE_BUFFER_BYTES;
        assert!(at + buffer.length as usize <= usize::from(RECEIVE_BUFFERS) * RECEIVE_BUFFER_BYTES);
        // SAFETY: within the mapping, as asserted.
        let start = unsafe { self.memory.add(at) };
        // SAFETY: `length` bytes from there were written by the kernel, and by R1 nobody writes them
        // while `buffer` is borrowed.
        unsafe { std::slice::from_raw_parts(start, buffer.length as usize) }
    }

    /// Whoever still reads these bytes shall see that they are not theirs any more.
    fn poison(&mut self, buffer: &Buffer) {
        let at = usize::from(buffer.id) * RECEIVE_BUFFER_BYTES;
        // SAFETY: an id from a completion is under RECEIVE_BUFFERS, so this is within the mapping.
        let start = unsafe { self.memory.add(at) };
        // SAFETY: the kernel wrote `length` bytes there and by R1 does not touch them before `add`.
        unsafe { start.write_bytes(POISON, buffer.length as usize) }
    }

    #[inline]
    fn add(&mut self, id: u16) {
        let at = usize::from(self.tail & (RECEIVE_BUFFERS - 1));
        // SAFETY: `at` is under RECEIVE_BUFFERS, the number of entries mapped.
        let entry = unsafe { self.entries.add(at) };
        // SAFETY: the entry lies past the published tail, so the kernel does not read it, and there
        // is one thread.
        let entry = unsafe { &mut *entry };
        // SAFETY: `id` came from the kernel or from start, so it is under RECEIVE_BUFFERS and the
        // address is within the mapping.
        let memory = unsafe { self.memory.add(usize::from(id) * RECEIVE_BUFFER_BYTES) };
        entry.set_addr(memory as u64);
        entry.set_len(RECEIVE_BUFFER_BYTES as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Lets the kernel see the buffers added since.
    #[inline]
    fn publish(&mut self) {
        // SAFETY: `entries` points to the mapped ring, whose first entry holds the tail.
        let tail = unsafe { BufRingEntry::tail(self.entries) };
        // SAFETY: the tail is two aligned bytes shared with the kernel, which reads them atomically.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

/// Zeroed memory for the life of the process (R3).
fn map(bytes: usize) -> io::Result<*mut u8> {
    // SAFETY: an anonymous private mapping at an address of the kernel's choice overlaps nothing.
    let mapped = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if mapped == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(mapped.cast()) }
}
