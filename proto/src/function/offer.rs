//! What one node offers of one function: the body of its entry in the catalog. The name of the entry
//! is that of the function.
//!
//! ```text
//!   body  = 1 u8, id u128, life u64, count u8, offers in order
//!   offer = version, limit u32, count u8, resources in order       little-endian
//!   version, resource = length u8, text
//! ```
//!
//! The first byte says how the rest is written; numbers are never reused. A node that does not know it
//! takes the entry for [`ErrorCode::UnknownKind`]: it carries it, and calls nothing there.
//!
//! Invariants:
//! - [`Offers::parse`] is total, and what it returns is within `limits`.
//! - Offers have one form: other bytes are other offers, or none.

use alloc::vec::Vec;

use super::{FunctionId, Resources, Version};
use crate::error::ErrorCode;
use crate::id::Incarnation;
use crate::limits::OFFERS_MAX;
use crate::number::take;
use crate::text::{put_text, take_text};

const FORMAT: u8 = 1;

/// Versions that run where there are these resources.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offer {
    pub version: Version,
    pub resources: Resources,
    /// Calls at a time, by all workers that take any. Zero: they are there, and take none.
    pub limit: u32,
}

/// At least one, no version twice with the same resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offers {
    id: FunctionId,
    life: Incarnation,
    offers: Vec<Offer>,
}

impl Offers {
    /// None if there are none, too many, or two of one version with the same resources.
    pub fn new(id: FunctionId, life: Incarnation, mut offers: Vec<Offer>) -> Option<Self> {
        offers.sort_unstable();
        let is_rising = offers.is_sorted_by(|one, next| one.key() < next.key());
        let is_within = !offers.is_empty() && offers.len() <= OFFERS_MAX;
        (is_rising && is_within).then_some(Self { id, life, offers })
    }

    pub fn id(&self) -> FunctionId {
        self.id
    }

    /// Which life of the node offers it: another one does not know what this one ran.
    pub fn life(&self) -> Incarnation {
        self.life
    }

    pub fn offers(&self) -> &[Offer] {
        &self.offers
    }

    pub fn put(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        out.extend_from_slice(&self.id.0.to_le_bytes());
        out.extend_from_slice(&self.life.0.to_le_bytes());
        out.push(self.offers.len() as u8);
        for Offer { version, resources, limit } in &self.offers {
            put_text(&alloc::format!("{version}"), out);
            out.extend_from_slice(&limit.to_le_bytes());
            resources.put(out);
        }
    }

    pub fn parse(mut rest: &[u8]) -> Result<Self, ErrorCode> {
        let [format] = take(&mut rest)?;
        if format != FORMAT {
            return Err(ErrorCode::UnknownKind);
        }
        let id = FunctionId(u128::from_le_bytes(take(&mut rest)?));
        let life = Incarnation(u64::from_le_bytes(take(&mut rest)?));
        let [count] = take(&mut rest)?;
        if OFFERS_MAX < usize::from(count) {
            return Err(ErrorCode::Malformed);
        }
        let offers = (0..count).map(|_| Offer::take(&mut rest));
        let offers = offers.collect::<Result<Vec<_>, _>>()?;
        let is_in_order = offers.is_sorted_by(|one, next| one.key() < next.key());
        match Self::new(id, life, offers) {
            Some(offers) if is_in_order && rest.is_empty() => Ok(offers),
            Some(_) | None => Err(ErrorCode::Malformed),
        }
    }
}

impl Offer {
    fn key(&self) -> (&Version, &Resources) {
        (&self.version, &self.resources)
    }

    fn take(rest: &mut &[u8]) -> Result<Self, ErrorCode> {
        let version = take_text(rest)?.parse().map_err(|_| ErrorCode::Malformed)?;
        let limit = u32::from_le_bytes(take(rest)?);
        Ok(Self { version, limit, resources: Resources::take(rest)? })
    }
}
