//! Inputs of the microbenchmarks: the same for every run, sized by whoever measures.

use mpreg_fabric::subscription::Index;
use mpreg_proto::frame::Publish;
use mpreg_proto::topic::Pattern;

/// Bytes of one receive buffer, which is what a core handles at a time.
pub const CHUNK_BYTES: usize = 32 * 1024;

/// Whether `cargo bench` runs this and not `cargo test`, which only wants to see it work.
pub fn is_measuring() -> bool {
    std::env::args().any(|arg| arg == "--bench")
}

/// Whole data frames of this payload, as many as fit a receive buffer, over these topics in turn.
/// At least one frame.
pub fn chunk<T: AsRef<str>>(topics: &[T], payload_bytes: usize) -> (Vec<u8>, usize) {
    let payload = vec![0x5a; payload_bytes];
    let (mut bytes, mut frames) = (Vec::new(), 0);
    for topic in topics.iter().cycle() {
        let mut frame = Vec::new();
        let topic = topic.as_ref().as_bytes();
        let publish = Publish { topic, payload: &payload, ..Publish::default() };
        publish.put(&mut frame).expect("samples are within bounds");
        if frames != 0 && CHUNK_BYTES < bytes.len() + frame.len() {
            break;
        }
        bytes.extend(frame);
        frames += 1;
    }
    (bytes, frames)
}

/// The topic of a number, four segments of a fleet's readings.
pub fn topic(number: usize) -> String {
    format!("site{}.line{}.machine{}.speed", number % 50, number / 50 % 200, number / 10_000)
}

/// A pattern with a wildcard; different numbers give different ones. It matches the topic of its
/// number and of few others.
pub fn wildcard(number: usize) -> String {
    let (site, line, machine) = (number % 50, number / 50 % 200, number / 10_000);
    match number % 4 {
        0 => format!("site{site}.line{line}.machine{machine}.*"),
        1 => format!("site{site}.line{line}.machine{machine}.>"),
        2 => format!("*.line{line}.machine{machine}-{site}.#"),
        _ => format!("site{site}.*.machine{machine}-{line}.speed"),
    }
}

/// An index of this many patterns.
pub fn index(patterns_count: usize, pattern: fn(usize) -> String) -> Index<u32> {
    let mut index = Index::new(1);
    for number in 0..patterns_count {
        let text = pattern(number);
        let parsed = Pattern::parse(text.as_bytes()).expect("samples are patterns");
        index.insert(parsed, number as u32);
    }
    index
}
