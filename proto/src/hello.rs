//! The hello: 64 bytes each way before anything else is parsed.
//!
//! The client speaks first and names the versions and features it knows; the router answers with
//! the version and features chosen. Nothing here has a length, so nothing is sized by an unknown
//! peer. The bytes are read by hand, not archived: this is the one thing strangers may send.

use crate::error::ErrorCode;
use crate::limits::HELLO_BYTES;

/// Not ASCII throughout, with both line endings: text-mode relays and other protocols fail at once.
pub const MAGIC: [u8; 8] = *b"MPREG\r\n\x89";

/// The only version there is.
pub const VERSION: u16 = 1;

/// The feature of functions: the frames of [`crate::frame::Rpc`] may come.
pub const FUNCTIONS: u64 = 1;

/// The hello, either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Lowest and highest version the sender speaks; both the chosen one in the router's answer.
    pub version_min: u16,
    pub version_max: u16,
    pub role: Role,
    /// Optional parts of the protocol, one bit each, such as [`FUNCTIONS`]; in the answer, those both
    /// sides know.
    pub features: u64,
    /// The router's node id; from a client, a number it drew at random for this connection.
    pub id: u128,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    Client = 1,
    Router = 2,
}

impl Hello {
    pub fn client(id: u128) -> Self {
        let (role, features) = (Role::Client, FUNCTIONS);
        Self { version_min: VERSION, version_max: VERSION, role, features, id }
    }

    /// The answer of a router with these features to a client, or why there is none.
    pub fn answer(&self, node: u128, features: u64) -> Result<Self, ErrorCode> {
        if self.role != Role::Client {
            return Err(ErrorCode::UnexpectedFrame);
        }
        if !(self.version_min..=self.version_max).contains(&VERSION) {
            return Err(ErrorCode::VersionUnsupported);
        }
        Ok(Self {
            version_min: VERSION,
            version_max: VERSION,
            role: Role::Router,
            features: self.features & features,
            id: node,
        })
    }

    pub fn to_bytes(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&self.version_min.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.version_max.to_le_bytes());
        bytes[12] = self.role as u8;
        bytes[16..24].copy_from_slice(&self.features.to_le_bytes());
        bytes[24..40].copy_from_slice(&self.id.to_le_bytes());
        bytes
    }

    /// Reads a hello. Unknown features are kept; bytes without meaning must be zero.
    pub fn parse(bytes: &[u8; HELLO_BYTES]) -> Result<Self, ErrorCode> {
        if bytes[..8] != MAGIC {
            return Err(ErrorCode::BadMagic);
        }
        let role = match bytes[12] {
            1 => Role::Client,
            2 => Role::Router,
            _ => return Err(ErrorCode::Malformed),
        };
        if bytes[13..16].iter().chain(&bytes[40..]).any(|&byte| byte != 0) {
            return Err(ErrorCode::ReservedBits);
        }
        let (mut features, mut id) = ([0; 8], [0; 16]);
        features.copy_from_slice(&bytes[16..24]);
        id.copy_from_slice(&bytes[24..40]);
        Ok(Self {
            version_min: u16::from_le_bytes([bytes[8], bytes[9]]),
            version_max: u16::from_le_bytes([bytes[10], bytes[11]]),
            role,
            features: u64::from_le_bytes(features),
            id: u128::from_le_bytes(id),
        })
    }

    /// Whether bytes that begin so can still become a hello; lets a stranger be refused early.
    pub fn may_begin_with(bytes: &[u8]) -> bool {
        let known = bytes.len().min(MAGIC.len());
        bytes[..known] == MAGIC[..known]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refusals() {
        let good = Hello::client(7);
        let check = |edit: fn(&mut [u8; HELLO_BYTES])| {
            let mut bytes = good.to_bytes();
            edit(&mut bytes);
            Hello::parse(&bytes).map(|_| ())
        };
        assert_eq!(check(|b| b[0] = b'm'), Err(ErrorCode::BadMagic));
        assert_eq!(check(|b| b[12] = 3), Err(ErrorCode::Malformed));
        assert_eq!(check(|b| b[13] = 1), Err(ErrorCode::ReservedBits));
        assert_eq!(check(|b| b[63] = 1), Err(ErrorCode::ReservedBits));
        assert_eq!(check(|b| b[16] = 1), Ok(()), "features of tomorrow are not an error");
    }

    #[test]
    fn answers_only_a_client_with_a_version_in_common() {
        let hello = Hello::client(7);
        let answer = hello.answer(9, 0).unwrap();
        assert_eq!((answer.role, answer.id, answer.version_min), (Role::Router, 9, VERSION));
        assert_eq!(answer.answer(9, 0), Err(ErrorCode::UnexpectedFrame));
        let future = Hello { version_min: VERSION + 1, version_max: VERSION + 3, ..hello };
        assert_eq!(future.answer(9, 0), Err(ErrorCode::VersionUnsupported));
    }

    #[test]
    fn features_are_those_of_both_sides() {
        let features = |client: u64, router: u64| {
            let hello = Hello { features: client, ..Hello::client(7) };
            hello.answer(9, router).unwrap().features
        };
        assert_eq!(Hello::client(7).features, FUNCTIONS);
        assert_eq!(features(0b110, 0b011), 0b010);
        assert_eq!(
            features(FUNCTIONS, 0),
            0,
            "a router without functions does not say it has them"
        );
    }

    #[test]
    fn a_stranger_shows_within_eight_bytes() {
        assert!(Hello::may_begin_with(b""));
        assert!(Hello::may_begin_with(b"MPR"));
        assert!(Hello::may_begin_with(&Hello::client(1).to_bytes()[..40]));
        assert!(!Hello::may_begin_with(b"GET / HTTP/1.1"));
        assert!(!Hello::may_begin_with(b"MPREG\n"));
    }

    proptest! {
        #[test]
        fn round_trip(min: u16, max: u16, features: u64, id: u128) {
            let hello = Hello { version_min: min, version_max: max, role: Role::Client, features, id };
            prop_assert_eq!(Hello::parse(&hello.to_bytes()), Ok(hello));
        }
    }
}
