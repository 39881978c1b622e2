//! The kernel's side of the floor: accept, receive and send through one io_uring.
//!
//! Accepting and receiving are multishot, into buffers the kernel picks; a send is one operation
//! that owns what it sends. Short sends are continued and starved receives armed again in here.
//!
//! # Safety argument
//!
//! - R1: receive buffers and their entry ring are leaked at creation: nothing the kernel may write
//!   to is ever given back to the allocator.
//! - R2: a buffer is the kernel's from `offer` until a completion names it, and ours from then, as
//!   one [`Chunk`], until `give_back` consumes that chunk. A `Chunk` cannot be copied or made
//!   outside this file.
//! - R3: what a send points at (payload, iovecs, message header) is in its [`Socket`], untouched
//!   and on the heap, until the send's completion; a socket leaves its slot only when no operation
//!   of it is in flight.
//! - R4: dropping the ring leaks its sockets, so R3 holds to the end of the process.
//! - R5: this is one thread; the kernel runs task work only inside our own `io_uring_enter`
//!   (`DEFER_TASKRUN`).

use std::io;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};
use socket2::SockRef;

use super::arena::Segment;

const SUBMISSIONS: u32 = 1024;
const COMPLETIONS: u32 = 8192;
const BUFFERS: u16 = 64;
const BUFFER_BYTES: usize = 32 * 1024;
const BUFFER_GROUP: u16 = 0;
/// Segments of one send; the kernel takes 1,024.
const SEGMENTS_MAX: usize = 1000;

const ACCEPT: u64 = 1 << 32;
const RECEIVE: u64 = 2 << 32;
const SEND: u64 = 3 << 32;

const _: () = assert!(BUFFERS.is_power_of_two(), "entries are found by masking");

/// A connection's slot, used again once the connection and all its operations have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionIx(u32);

/// Received bytes, to be given back.
pub(super) struct Chunk {
    buffer: u16,
    bytes: usize,
}

/// What one send sends.
pub(super) enum Payload {
    Bytes(Vec<u8>),
    Segments(Vec<Segment>),
}

pub(super) enum Completion {
    Accepted(ConnectionIx),
    AcceptFailed(io::Error),
    Received {
        from: ConnectionIx,
        chunk: Chunk,
    },
    /// The send is over, all of it out or the connection broken.
    Sent {
        to: ConnectionIx,
        payload: Payload,
    },
    /// Nothing more will be received. A send in flight still completes.
    Ended(ConnectionIx),
}

pub(super) struct Ring {
    uring: IoUring,
    listener: OwnedFd,
    buffers: ReceiveBuffers,
    /// Leaked when the ring is dropped: R4.
    sockets: ManuallyDrop<Vec<Option<Socket>>>,
    free: Vec<ConnectionIx>,
    /// Connections whose receive ended for want of buffers.
    starved: Vec<ConnectionIx>,
    /// Reused by `reap`.
    entries: Vec<cqueue::Entry>,
}

struct Socket {
    fd: OwnedFd,
    is_receiving: bool,
    sending: Option<Payload>,
    /// Bytes of `sending` that are out, if it is [`Payload::Bytes`].
    sent_bytes: usize,
    iovecs: Vec<libc::iovec>,
    header: Box<libc::msghdr>,
}

/// The memory receives go to and the ring of entries that offers it to the kernel.
struct ReceiveBuffers {
    entries: *mut BufRingEntry,
    memory: *mut u8,
    /// Entries ever offered, modulo 2^16.
    tail: u16,
}

#[repr(C, align(4096))]
#[derive(Clone)]
struct HostPage([u8; 4096]);

impl ConnectionIx {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self::Bytes(Vec::new())
    }
}

impl Payload {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Segments(segments) => segments.is_empty(),
        }
    }

    pub(super) fn clear(&mut self) {
        match self {
            Self::Bytes(bytes) => bytes.clear(),
            Self::Segments(segments) => segments.clear(),
        }
    }
}

impl Ring {
    /// A ring of the calling thread that accepts from `listener`.
    pub(super) fn new(listener: OwnedFd) -> io::Result<Self> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS)
            .build(SUBMISSIONS)?;
        uring.submitter().register_ring_fd()?;
        let buffers = ReceiveBuffers::register(&uring)?;
        let mut ring = Self {
            uring,
            listener,
            buffers,
            sockets: ManuallyDrop::new(Vec::new()),
            free: Vec::new(),
            starved: Vec::new(),
            entries: Vec::new(),
        };
        ring.arm_accept();
        Ok(ring)
    }

    /// Hands everything pushed to the kernel and sleeps until something completes.
    pub(super) fn submit_and_wait(&mut self) -> io::Result<()> {
        for ix in std::mem::take(&mut self.starved) {
            self.arm_receive(ix);
        }
        match self.uring.submit_and_wait(1) {
            Ok(_) => Ok(()),
            Err(error) if is_passing(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Appends what has completed.
    pub(super) fn reap(&mut self, out: &mut Vec<Completion>) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.extend(self.uring.completion());
        for entry in entries.drain(..) {
            let ix = ConnectionIx(entry.user_data() as u32);
            match entry.user_data() & (u64::MAX << 32) {
                ACCEPT => self.accepted(&entry, out),
                RECEIVE => self.received(ix, &entry, out),
                SEND => self.sent(ix, entry.result(), out),
                other => unreachable!("no operation is numbered {other:#x}"),
            }
        }
        self.entries = entries;
    }

    pub(super) fn bytes(&self, chunk: &Chunk) -> &[u8] {
        self.buffers.bytes(chunk)
    }

    pub(super) fn give_back(&mut self, chunk: Chunk) {
        self.buffers.offer(chunk.buffer);
        self.buffers.publish();
    }

    /// Sends all of `payload`, which must not be empty, and returns it in [`Completion::Sent`].
    pub(super) fn send(&mut self, to: ConnectionIx, payload: Payload) {
        let socket = self.socket(to);
        assert!(socket.sending.is_none(), "one send in flight per connection");
        socket.sending = Some(payload);
        socket.sent_bytes = 0;
        self.submit_send(to);
    }

    /// Ends a connection in both directions; [`Completion::Ended`] follows.
    pub(super) fn close(&mut self, ix: ConnectionIx) {
        // A peer that has gone already is as closed as can be.
        SockRef::from(&self.socket(ix).fd).shutdown(Shutdown::Both).ok();
    }

    fn socket(&mut self, ix: ConnectionIx) -> &mut Socket {
        self.sockets[ix.index()].as_mut().expect("completions come only for open sockets")
    }

    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: the entries built in this file point at receive buffers (R1) or at what a
            // socket keeps in place until the completion (R3).
            if unsafe { self.uring.submission().push(entry) }.is_ok() {
                return;
            }
            self.uring.submit().expect("a full submission queue can be submitted");
        }
    }

    fn arm_accept(&mut self) {
        let entry = opcode::AcceptMulti::new(Fd(self.listener.as_raw_fd())).build();
        self.push(&entry.user_data(ACCEPT));
    }

    fn arm_receive(&mut self, ix: ConnectionIx) {
        let socket = self.socket(ix);
        socket.is_receiving = true;
        let entry = opcode::RecvMulti::new(Fd(socket.fd.as_raw_fd()), BUFFER_GROUP).build();
        self.push(&entry.user_data(RECEIVE | u64::from(ix.0)));
    }

    fn submit_send(&mut self, ix: ConnectionIx) {
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        let socket = self.socket(ix);
        let fd = Fd(socket.fd.as_raw_fd());
        let entry = match socket.sending.as_ref().expect("set by `send`, unset by its completion") {
            Payload::Bytes(bytes) => {
                let left = &bytes[socket.sent_bytes..];
                let count = u32::try_from(left.len()).unwrap_or(u32::MAX);
                opcode::Send::new(fd, left.as_ptr(), count).flags(flags).build()
            }
            Payload::Segments(segments) => {
                socket.iovecs.clear();
                socket.iovecs.extend(segments.iter().take(SEGMENTS_MAX).map(|segment| {
                    let iov_base = segment.as_ptr().cast_mut().cast();
                    libc::iovec { iov_base, iov_len: segment.bytes() }
                }));
                socket.header.msg_iov = socket.iovecs.as_mut_ptr();
                socket.header.msg_iovlen = socket.iovecs.len();
                opcode::SendMsg::new(fd, &raw const *socket.header).flags(flags as u32).build()
            }
        };
        self.push(&entry.user_data(SEND | u64::from(ix.0)));
    }

    fn accepted(&mut self, entry: &cqueue::Entry, out: &mut Vec<Completion>) {
        if 0 <= entry.result() {
            // SAFETY: the kernel has just made this descriptor for us and named it nowhere else.
            let fd = unsafe { OwnedFd::from_raw_fd(entry.result()) };
            // A connection that is gone already fails here and again, visibly, when received from.
            set_options(&fd).ok();
            let ix = self.free.pop().unwrap_or_else(|| {
                self.sockets.push(None);
                ConnectionIx(self.sockets.len() as u32 - 1)
            });
            self.sockets[ix.index()] = Some(Socket::new(fd));
            out.push(Completion::Accepted(ix));
            self.arm_receive(ix);
        } else if entry.result() != -libc::ECONNABORTED {
            out.push(Completion::AcceptFailed(io::Error::from_raw_os_error(-entry.result())));
            return;
        }
        if !cqueue::more(entry.flags()) {
            self.arm_accept();
        }
    }

    fn received(&mut self, from: ConnectionIx, entry: &cqueue::Entry, out: &mut Vec<Completion>) {
        if let (Some(buffer), Ok(bytes)) =
            (cqueue::buffer_select(entry.flags()), usize::try_from(entry.result()))
        {
            let chunk = Chunk { buffer, bytes };
            if bytes == 0 {
                self.give_back(chunk);
            } else {
                out.push(Completion::Received { from, chunk });
            }
        }
        if cqueue::more(entry.flags()) {
            return;
        }
        if 0 < entry.result() || entry.result() == -libc::ENOBUFS {
            self.starved.push(from);
            return;
        }
        self.socket(from).is_receiving = false;
        out.push(Completion::Ended(from));
        self.close(from);
        self.release_if_idle(from);
    }

    fn sent(&mut self, to: ConnectionIx, result: i32, out: &mut Vec<Completion>) {
        let socket = self.socket(to);
        match usize::try_from(result) {
            Ok(bytes) if !socket.is_sent_after(bytes) => self.submit_send(to),
            Ok(_) => self.end_send(to, out),
            Err(_) => {
                self.close(to);
                self.end_send(to, out);
            }
        }
    }

    fn end_send(&mut self, to: ConnectionIx, out: &mut Vec<Completion>) {
        let payload = self.socket(to).sending.take().expect("a send was in flight");
        out.push(Completion::Sent { to, payload });
        self.release_if_idle(to);
    }

    /// Frees the slot once no operation refers to it: R3.
    fn release_if_idle(&mut self, ix: ConnectionIx) {
        let socket = self.socket(ix);
        if !socket.is_receiving && socket.sending.is_none() {
            self.sockets[ix.index()] = None;
            self.free.push(ix);
        }
    }
}

impl Socket {
    fn new(fd: OwnedFd) -> Self {
        let header = MaybeUninit::<libc::msghdr>::zeroed();
        // SAFETY: a message header is integers and raw pointers, all valid as zero.
        let header = Box::new(unsafe { header.assume_init() });
        let iovecs = Vec::new();
        Self { fd, is_receiving: false, sending: None, sent_bytes: 0, iovecs, header }
    }

    /// Takes note that `bytes` more are out; whether that was the last of them.
    fn is_sent_after(&mut self, bytes: usize) -> bool {
        match self.sending.as_mut().expect("a send was in flight") {
            Payload::Bytes(all) => {
                self.sent_bytes += bytes;
                self.sent_bytes == all.len()
            }
            Payload::Segments(segments) => {
                let mut left = bytes;
                let whole = segments.iter().take_while(|segment| {
                    let fits = segment.bytes() <= left;
                    left -= if fits { segment.bytes() } else { 0 };
                    fits
                });
                let whole = whole.count();
                segments.drain(..whole);
                if let Some(cut) = segments.first_mut() {
                    cut.advance(left);
                }
                segments.is_empty()
            }
        }
    }
}

impl ReceiveBuffers {
    fn register(uring: &IoUring) -> io::Result<Self> {
        let entries = leak(usize::from(BUFFERS) * size_of::<BufRingEntry>()).cast::<BufRingEntry>();
        let memory = leak(usize::from(BUFFERS) * BUFFER_BYTES);
        // SAFETY: the entry ring is page-aligned, zeroed, big enough and never freed (R1).
        unsafe {
            uring.submitter().register_buf_ring_with_flags(entries as u64, BUFFERS, BUFFER_GROUP, 0)
        }?;
        let mut buffers = Self { entries, memory, tail: 0 };
        (0..BUFFERS).for_each(|buffer| buffers.offer(buffer));
        buffers.publish();
        Ok(buffers)
    }

    /// Writes the entry that lets the kernel fill `buffer`; seen once published.
    fn offer(&mut self, buffer: u16) {
        let memory = self.memory.wrapping_add(usize::from(buffer) * BUFFER_BYTES);
        let entry = self.entries.wrapping_add(usize::from(self.tail % BUFFERS));
        // SAFETY: the index is masked into the entry ring (R1), which only this thread writes; the
        // kernel reads no entry at or past the published tail.
        let entry = unsafe { &mut *entry };
        entry.set_addr(memory as u64);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        // SAFETY: `entries` is the base of the registered ring.
        let tail = unsafe { BufRingEntry::tail(self.entries) };
        // SAFETY: the tail is an aligned u16 inside the leaked ring (R1) that only this thread
        // writes and that is accessed nowhere else in this process.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }

    fn bytes(&self, chunk: &Chunk) -> &[u8] {
        assert!(chunk.buffer < BUFFERS && chunk.bytes <= BUFFER_BYTES, "the kernel's bounds");
        let start = self.memory.wrapping_add(usize::from(chunk.buffer) * BUFFER_BYTES);
        // SAFETY: inside the leaked, zeroed memory by the line above; while the chunk lives the
        // kernel writes nothing there (R2).
        unsafe { std::slice::from_raw_parts(start, chunk.bytes) }
    }
}

/// Zeroed, page-aligned memory that lives as long as the process.
fn leak(bytes: usize) -> *mut u8 {
    let pages = vec![HostPage([0; 4096]); bytes.div_ceil(4096)];
    pages.leak().as_mut_ptr().cast()
}

fn set_options(fd: &OwnedFd) -> io::Result<()> {
    let socket = SockRef::from(fd);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_quickack(false)?;
    socket.set_tcp_congestion(b"cubic")
}

/// Interrupted, or completions are waiting to be reaped first.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY))
}
