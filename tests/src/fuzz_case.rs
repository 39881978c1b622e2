//! What must hold for any bytes, one function per fuzz target. Each panics when it does not.
//!
//! The targets in `tests/fuzz` call these and nothing else, and so does `it/wire.rs` with the
//! committed corpora: what fuzzing finds is a file in a corpus, then an ordinary test.

mod frame;
mod hello;
mod hop;
mod link_state;
mod nats;
mod session;
mod subscription;
mod topic;
mod websocket;

pub use frame::frame;
pub use hello::hello;
pub use hop::hop;
pub use link_state::link_state;
pub use nats::nats;
pub use session::session;
pub use subscription::subscription;
pub use topic::topic;
pub(crate) use websocket::REQUEST;
pub use websocket::websocket;

/// What must hold for these bytes.
pub type Case = fn(&[u8]);

/// Every target by the name of its corpus.
pub const TARGETS: [(&str, Case); 9] = [
    ("frame", frame),
    ("hello", hello),
    ("hop", hop),
    ("link_state", link_state),
    ("nats", nats),
    ("session", session),
    ("subscription", subscription),
    ("topic", topic),
    ("websocket", websocket),
];

/// Bytes taken from the front, for as long as there are any.
struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// A run of bytes with its length in front, cut to what is there.
    fn run(&mut self) -> Option<&'a [u8]> {
        let bytes = usize::from(self.byte()?);
        let (run, rest) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = rest;
        Some(run)
    }
}
