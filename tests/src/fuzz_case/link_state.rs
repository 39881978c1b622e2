//! Any bytes are a flood or refused, and its body an advertisement or refused.

use mpreg_proto::limits::{ADJACENCIES_MAX, ADVERTISEMENT_BYTES_MAX, SUMMARIES_MAX};
use mpreg_proto::link_state::{Advertisement, Flood};

/// Reads `bytes` as a flood, or else as the body of one.
pub fn link_state(bytes: &[u8]) {
    let body = match Flood::parse(bytes) {
        Ok(flood) => {
            assert!(flood.body.len() <= ADVERTISEMENT_BYTES_MAX);
            let mut written = Vec::new();
            flood.put(&mut written);
            assert_eq!(Flood::parse(&written).as_ref(), Ok(&flood));
            flood.body
        }
        Err(_) => bytes.to_vec(),
    };
    if let Ok(said) = Advertisement::parse(&body) {
        assert!(said.links.len() <= ADJACENCIES_MAX && said.summaries.len() <= SUMMARIES_MAX);
        assert_eq!(Advertisement::parse(&said.to_body()).as_ref(), Ok(&said));
    }
}
