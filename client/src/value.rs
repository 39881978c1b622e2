//! What a function takes and what it gives: bytes, and what they say.

use bytes::Bytes;
use mpreg_proto::envelope::Encoding;

/// A value. No router looks into it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    pub encoding: Encoding,
    /// At most [`PAYLOAD_BYTES_MAX`](mpreg_proto::limits::PAYLOAD_BYTES_MAX) bytes.
    pub payload: Bytes,
}

impl Value {
    pub fn json(payload: impl Into<Bytes>) -> Self {
        Self { encoding: Encoding::Json, payload: payload.into() }
    }

    pub fn message_pack(payload: impl Into<Bytes>) -> Self {
        Self { encoding: Encoding::MessagePack, payload: payload.into() }
    }
}

impl From<Bytes> for Value {
    fn from(payload: Bytes) -> Self {
        Self { encoding: Encoding::Bytes, payload }
    }
}

impl From<Vec<u8>> for Value {
    fn from(payload: Vec<u8>) -> Self {
        Bytes::from(payload).into()
    }
}

impl From<&[u8]> for Value {
    fn from(payload: &[u8]) -> Self {
        Bytes::copy_from_slice(payload).into()
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(payload: &[u8; N]) -> Self {
        payload[..].into()
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self { encoding: Encoding::Text, payload: text.into() }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}
