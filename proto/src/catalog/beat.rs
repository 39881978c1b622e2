//! Signs of life of many nodes in one message, a dozen bytes each: they are most of what nodes say
//! while nobody does anything.
//!
//! ```text
//!   message = kind u8; groups to the end
//!   group   = told u8, marks u32 each (255: none, all of the sender's cluster were told), count u16,
//!             beats
//!   beat    = life u64, number, milliseconds             numbers as in LEB128, else little-endian
//! ```
//!
//! A life is named by a number made of its node and incarnation ([`life_mark`]). Who knows no such life
//! has nothing to keep alive, and finds by comparing that it lacks something.

use alloc::vec::Vec;

use super::mix;
use crate::error::ErrorCode;
use crate::id::{Incarnation, NodeId};
use crate::limits::{CATALOG_BEATS_MAX, CATALOG_TOLD_MAX};
use crate::number::{put_number, take, take_number};

/// A node lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    pub life: u64,
    /// Signs of life of this life, counted.
    pub number: u64,
    /// How long this may be believed without a further one.
    pub ttl_ms: u32,
}

/// Who else was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// All nodes of the sender's cluster.
    Cluster,
    /// Those with these marks, and perhaps others.
    Marks(Vec<u32>),
}

/// Beats told to the same nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beats {
    pub told: Told,
    pub beats: Vec<Beat>,
}

/// Names a life of a node in few bytes. Two of 10,000 lives are the same once in 10^11 fabrics.
pub const fn life_mark(node: NodeId, incarnation: Incarnation) -> u64 {
    mix(node.0 as u64 ^ mix((node.0 >> 64) as u64 ^ mix(incarnation.0)))
}

const ALL: u8 = u8::MAX;

const _: () = assert!(CATALOG_TOLD_MAX < ALL as usize && CATALOG_BEATS_MAX <= u16::MAX as usize);

pub(super) fn put(groups: &[Beats], out: &mut Vec<u8>) {
    for Beats { told, beats } in groups {
        match told {
            Told::Cluster => out.push(ALL),
            Told::Marks(marks) => {
                out.push(u8::try_from(marks.len()).expect("few are told"));
                marks.iter().for_each(|mark| out.extend_from_slice(&mark.to_le_bytes()));
            }
        }
        let count = u16::try_from(beats.len()).expect("a group is bounded");
        out.extend_from_slice(&count.to_le_bytes());
        for beat in beats {
            out.extend_from_slice(&beat.life.to_le_bytes());
            put_number(beat.number, out);
            put_number(beat.ttl_ms.into(), out);
        }
    }
}

pub(super) fn parse(mut rest: &[u8]) -> Result<Vec<Beats>, ErrorCode> {
    let mut groups = Vec::new();
    let mut room = CATALOG_BEATS_MAX;
    while !rest.is_empty() {
        let told = take_told(&mut rest)?;
        let count = usize::from(u16::from_le_bytes(take(&mut rest)?));
        room = room.checked_sub(count.max(1)).ok_or(ErrorCode::Malformed)?;
        let mut beats = Vec::with_capacity(count);
        for _ in 0..count {
            let life = u64::from_le_bytes(take(&mut rest)?);
            let number = take_number(&mut rest)?;
            let ttl_ms = take_number(&mut rest)?.try_into().map_err(|_| ErrorCode::Malformed)?;
            beats.push(Beat { life, number, ttl_ms });
        }
        groups.push(Beats { told, beats });
    }
    Ok(groups)
}

fn take_told(rest: &mut &[u8]) -> Result<Told, ErrorCode> {
    let [count] = take(rest)?;
    if count == ALL {
        return Ok(Told::Cluster);
    }
    if CATALOG_TOLD_MAX < usize::from(count) {
        return Err(ErrorCode::Malformed);
    }
    let marks = (0..count).map(|_| take(rest).map(u32::from_le_bytes));
    marks.collect::<Result<_, _>>().map(Told::Marks)
}
