//! Text kept inside its table entry while it is short.
//!
//! Saves an allocation per subscription, and on every lookup the cache miss of following it.

use alloc::boxed::Box;

use mpreg_proto::limits::TOPIC_BYTES_MAX;

/// Up to `N` bytes in place, longer ones boxed.
pub(super) enum Text<const N: usize> {
    Short { bytes_count: u8, bytes: [u8; N] },
    Long(Box<[u8]>),
}

const _: () = assert!(TOPIC_BYTES_MAX <= u8::MAX as usize, "the count of a short text is a byte");
const _: () = assert!(size_of::<Text<22>>() == 24);
const _: () = assert!(size_of::<Text<30>>() == 32);

impl<const N: usize> Text<N> {
    /// `text` is a topic, a pattern or a part of one.
    pub(super) fn new(text: &[u8]) -> Self {
        assert!(text.len() <= TOPIC_BYTES_MAX);
        let mut bytes = [0; N];
        match (bytes.get_mut(..text.len()), u8::try_from(text.len())) {
            (Some(room), Ok(bytes_count)) => {
                room.copy_from_slice(text);
                Self::Short { bytes_count, bytes }
            }
            _ => Self::Long(text.into()),
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { bytes_count, bytes } => &bytes[..usize::from(*bytes_count)],
            Self::Long(bytes) => bytes,
        }
    }

    /// Bytes outside the text itself.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Short { .. } => 0,
            Self::Long(bytes) => bytes.len(),
        }
    }
}
