//! Places in this shard's tables: small, dense, reused when free, meaningless to anyone else.

/// A client connection's slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionIx(pub u32);

/// A subscription's slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubIx(pub u32);
