//! The hello between nodes: 64 bytes each way, the first thing said on a link once TLS is up.
//!
//! Who the other is comes from its certificate alone: nothing here names a node, a cluster or a role.
//! The node that dialled speaks first; the other answers with the version and the features chosen, or
//! with why there is no link. Nothing here has a length, and the bytes are read by hand.
//!
//! ```text
//!  0       8     10    12      13     14        16         24            32       48     50     64
//!  | magic | min | max |channel| zero | refusal | features | incarnation | fabric | port | zero |
//! ```

use crate::error::ErrorCode;
use crate::id::{FabricId, Incarnation};
use crate::limits::HELLO_BYTES;

/// Differs from the magic of clients in its last byte: neither is ever taken for the other.
pub const MAGIC: [u8; 8] = *b"MPREG\r\n\x8a";

/// The only version there is.
pub const VERSION: u16 = 1;

/// The features this version knows: none yet.
pub const FEATURES: u64 = 0;

/// The hello, either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerHello {
    /// Lowest and highest version the sender speaks; both the chosen one in the answer.
    pub version_min: u16,
    pub version_max: u16,
    pub channel: Channel,
    /// `None` from the node that dialled; in an answer, why there is no link.
    pub refusal: Option<Refusal>,
    /// A bit each; in the answer, those both sides know.
    pub features: u64,
    /// Which life of the sender this is.
    pub incarnation: Incarnation,
    pub fabric: FabricId,
    /// Where the sender listens for other nodes, at the address it is reached by.
    pub port: u16,
}

/// What the connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Channel {
    /// One for each pair of nodes: everything but messages.
    Control = 1,
    /// Messages.
    Data = 2,
}

/// Why a node has no link for another. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Refusal {
    /// The hello contradicts itself.
    Malformed = 1,
    VersionUnsupported = 2,
    OtherFabric = 3,
    /// The cluster is not on the list, or one of both is no gateway.
    NotAllowed = 4,
    ChannelUnsupported = 5,
    /// There is a link between these two already.
    Duplicate = 6,
    /// A later life of this node is linked.
    StaleIncarnation = 7,
    TooManyLinks = 8,
    Stopping = 9,
    /// The node has dialled itself.
    Itself = 10,
    /// There is no link for everything but messages between these two, or of another life.
    NoControlLink = 11,
    /// A reason that this version does not know.
    Other = 0xffff,
}

impl Refusal {
    pub const ALL: [Self; 12] = [
        Self::Malformed,
        Self::VersionUnsupported,
        Self::OtherFabric,
        Self::NotAllowed,
        Self::ChannelUnsupported,
        Self::Duplicate,
        Self::StaleIncarnation,
        Self::TooManyLinks,
        Self::Stopping,
        Self::Itself,
        Self::NoControlLink,
        Self::Other,
    ];

    /// `None`: not refused.
    pub fn from_wire(code: u16) -> Option<Self> {
        if code == 0 {
            return None;
        }
        Some(Self::ALL.into_iter().find(|known| *known as u16 == code).unwrap_or(Self::Other))
    }

    /// The word logs, metrics and `--json` use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed_hello",
            Self::VersionUnsupported => "version_unsupported",
            Self::OtherFabric => "other_fabric",
            Self::NotAllowed => "not_allowed",
            Self::ChannelUnsupported => "channel_unsupported",
            Self::Duplicate => "duplicate",
            Self::StaleIncarnation => "stale_incarnation",
            Self::TooManyLinks => "too_many_links",
            Self::Stopping => "stopping",
            Self::Itself => "itself",
            Self::NoControlLink => "no_control_link",
            Self::Other => "other",
        }
    }
}

impl PeerHello {
    /// What the node that dialled says.
    pub fn new(channel: Channel, incarnation: Incarnation, fabric: FabricId, port: u16) -> Self {
        Self {
            version_min: VERSION,
            version_max: VERSION,
            channel,
            refusal: None,
            features: FEATURES,
            incarnation,
            fabric,
            port,
        }
    }

    /// The answer to `asked`: a link, or why not.
    pub fn answer(self, asked: &Self, refusal: Option<Refusal>) -> Self {
        Self { channel: asked.channel, refusal, features: asked.features & FEATURES, ..self }
    }

    /// What is wrong with `other` for a node that says `self`, apart from who it is.
    pub fn objection(&self, other: &Self) -> Option<Refusal> {
        if !(other.version_min..=other.version_max).contains(&VERSION) {
            Some(Refusal::VersionUnsupported)
        } else if other.fabric != self.fabric {
            Some(Refusal::OtherFabric)
        } else if other.channel != self.channel {
            Some(Refusal::ChannelUnsupported)
        } else {
            None
        }
    }

    pub fn to_bytes(&self) -> [u8; HELLO_BYTES] {
        let mut bytes = [0; HELLO_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&self.version_min.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.version_max.to_le_bytes());
        bytes[12] = self.channel as u8;
        let refusal = self.refusal.map_or(0, |refusal| refusal as u16);
        bytes[14..16].copy_from_slice(&refusal.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.features.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.incarnation.0.to_le_bytes());
        bytes[32..48].copy_from_slice(&self.fabric.0.to_le_bytes());
        bytes[48..50].copy_from_slice(&self.port.to_le_bytes());
        bytes
    }

    /// Reads a hello. Unknown features are kept; bytes without meaning must be zero.
    pub fn parse(bytes: &[u8; HELLO_BYTES]) -> Result<Self, ErrorCode> {
        if bytes[..8] != MAGIC {
            return Err(ErrorCode::BadMagic);
        }
        let channel = match bytes[12] {
            1 => Channel::Control,
            2 => Channel::Data,
            _ => return Err(ErrorCode::Malformed),
        };
        if bytes[13] != 0 || bytes[50..].iter().any(|&byte| byte != 0) {
            return Err(ErrorCode::ReservedBits);
        }
        let (mut features, mut incarnation, mut fabric) = ([0; 8], [0; 8], [0; 16]);
        features.copy_from_slice(&bytes[16..24]);
        incarnation.copy_from_slice(&bytes[24..32]);
        fabric.copy_from_slice(&bytes[32..48]);
        Ok(Self {
            version_min: u16::from_le_bytes([bytes[8], bytes[9]]),
            version_max: u16::from_le_bytes([bytes[10], bytes[11]]),
            channel,
            refusal: Refusal::from_wire(u16::from_le_bytes([bytes[14], bytes[15]])),
            features: u64::from_le_bytes(features),
            incarnation: Incarnation(u64::from_le_bytes(incarnation)),
            fabric: FabricId(u128::from_le_bytes(fabric)),
            port: u16::from_le_bytes([bytes[48], bytes[49]]),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello() -> PeerHello {
        PeerHello::new(Channel::Control, Incarnation(0x0102), FabricId(0x0304), 0x0506)
    }

    #[test]
    fn it_is_laid_out_as_drawn() {
        let refused = PeerHello { refusal: Some(Refusal::Duplicate), features: 5, ..hello() };
        let bytes = refused.to_bytes();
        assert_eq!(bytes[..16], *b"MPREG\r\n\x8a\x01\0\x01\0\x01\0\x06\0");
        assert_eq!(bytes[16..32], [5, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!((bytes[32..34].as_ref(), &bytes[34..48]), ([4, 3].as_ref(), &[0; 14][..]));
        assert_eq!((bytes[48..50].as_ref(), &bytes[50..]), ([6, 5].as_ref(), &[0; 14][..]));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let check = |edit: fn(&mut [u8; HELLO_BYTES])| {
            let mut bytes = hello().to_bytes();
            edit(&mut bytes);
            PeerHello::parse(&bytes).map(|_| ())
        };
        assert_eq!(check(|b| b[7] = 0x89), Err(ErrorCode::BadMagic), "a client's");
        assert_eq!(check(|b| b[12] = 3), Err(ErrorCode::Malformed));
        assert_eq!(check(|b| b[13] = 1), Err(ErrorCode::ReservedBits));
        assert_eq!(check(|b| b[63] = 1), Err(ErrorCode::ReservedBits));
        assert_eq!(check(|b| b[16] = 1), Ok(()), "features of tomorrow are not an error");
    }

    #[test]
    fn an_objection_is_the_first_thing_that_does_not_fit() {
        let objection = |other: PeerHello| hello().objection(&other);
        assert_eq!(objection(PeerHello { incarnation: Incarnation(9), ..hello() }), None);
        let newer = PeerHello { version_min: 2, version_max: 3, ..hello() };
        assert_eq!(objection(newer), Some(Refusal::VersionUnsupported));
        assert_eq!(objection(PeerHello { version_max: 3, ..hello() }), None);
        let fabric = PeerHello { fabric: FabricId(1), ..hello() };
        assert_eq!(objection(fabric), Some(Refusal::OtherFabric));
        let data = PeerHello { channel: Channel::Data, ..hello() };
        assert_eq!(objection(data), Some(Refusal::ChannelUnsupported));
    }

    #[test]
    fn a_refusal_of_tomorrow_is_a_refusal() {
        for known in Refusal::ALL {
            assert_eq!(Refusal::from_wire(known as u16), Some(known));
        }
        assert_eq!(Refusal::from_wire(77), Some(Refusal::Other));
        assert_eq!(Refusal::from_wire(0), None);
    }

    proptest! {
        #[test]
        fn round_trip(min: u16, max: u16, refusal: u16, features: u64, life: u64, fabric: u128, port: u16) {
            let hello = PeerHello {
                version_min: min,
                version_max: max,
                channel: Channel::Data,
                refusal: Refusal::from_wire(refusal),
                features,
                incarnation: Incarnation(life),
                fabric: FabricId(fabric),
                port,
            };
            prop_assert_eq!(PeerHello::parse(&hello.to_bytes()), Ok(hello));
        }
    }
}
