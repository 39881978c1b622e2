//! Chance, from a seed. One stream per machine, so adding a draw in one never moves another.

/// SplitMix64 (Steele, Lea, Flood 2014): eight bytes of state, the same on every platform.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// An independent stream for the part called `label`.
    pub fn stream(&self, label: u64) -> Self {
        let mut fork = Self(self.0 ^ label.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        Self(fork.draw())
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number under `bound`, uniform to within 2^-32.
    pub fn below(&mut self, bound: u32) -> u32 {
        assert!(0 < bound);
        ((u64::from(self.draw() as u32) * u64::from(bound)) >> 32) as u32
    }
}
