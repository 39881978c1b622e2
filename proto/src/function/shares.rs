//! How calls of one function are to be split between its versions: the body of an entry of the catalog.
//! The name of the entry is that of the function.
//!
//! ```text
//!   body = 1 u8, said_at u64, count u8, so many of: version (length u8, text), weight u32     little-endian
//! ```
//!
//! Several nodes may have said something: what was said last counts, by the clocks of those who said it.
//! No versions: calls are not split any more.
//!
//! Invariant: [`Shares::parse`] is total. What it accepts, [`Shares::put`] writes byte for byte; a version
//! only if it is spelled as this one spells it.

use alloc::vec::Vec;

use super::Version;
use crate::error::ErrorCode;
use crate::limits::SHARES_MAX;
use crate::number::take;
use crate::text::{put_text, take_text};

const FORMAT: u8 = 1;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Milliseconds since 1970.
    pub said_at: u64,
    /// At most `SHARES_MAX`.
    pub weights: Vec<(Version, u32)>,
}

impl Shares {
    pub fn put(&self, out: &mut Vec<u8>) {
        out.push(FORMAT);
        out.extend_from_slice(&self.said_at.to_le_bytes());
        out.push(u8::try_from(self.weights.len()).expect("at most SHARES_MAX versions"));
        for (version, weight) in &self.weights {
            put_text(&alloc::format!("{version}"), out);
            out.extend_from_slice(&weight.to_le_bytes());
        }
    }

    pub fn parse(mut rest: &[u8]) -> Result<Self, ErrorCode> {
        let [format] = take(&mut rest)?;
        if format != FORMAT {
            return Err(ErrorCode::UnknownKind);
        }
        let said_at = u64::from_le_bytes(take(&mut rest)?);
        let [count] = take(&mut rest)?;
        if SHARES_MAX < usize::from(count) {
            return Err(ErrorCode::Malformed);
        }
        let share = |_| {
            let version = take_text(&mut rest)?.parse().map_err(|_| ErrorCode::Malformed)?;
            Ok((version, u32::from_le_bytes(take(&mut rest)?)))
        };
        let weights = (0..count).map(share).collect::<Result<_, ErrorCode>>()?;
        if rest.is_empty() { Ok(Self { said_at, weights }) } else { Err(ErrorCode::Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_nothing_else_does() {
        let version = |text: &str| text.parse().unwrap();
        let weights = [(version("1.2.0"), 90), (version("1.3.0-rc.1"), 10)].to_vec();
        for shares in [
            Shares { said_at: 1_795_000_000_000, weights },
            Shares { said_at: 0, weights: Vec::new() },
        ] {
            let mut bytes = Vec::new();
            shares.put(&mut bytes);
            assert_eq!(Shares::parse(&bytes), Ok(shares));
            for cut in 0..bytes.len() {
                assert_eq!(Shares::parse(&bytes[..cut]), Err(ErrorCode::Malformed), "{cut}");
            }
            bytes.push(0);
            assert_eq!(Shares::parse(&bytes), Err(ErrorCode::Malformed));
            bytes[0] = 2;
            assert_eq!(Shares::parse(&bytes), Err(ErrorCode::UnknownKind));
        }
        let mut over = [1; 10].to_vec();
        over[9] = SHARES_MAX as u8 + 1;
        assert_eq!(Shares::parse(&over), Err(ErrorCode::Malformed));
    }
}
