//! Everything random comes from here, and all of it from one seed.

/// A seeded source of decisions.
#[derive(Clone, Debug)]
pub struct Chance(fastrand::Rng);

impl Chance {
    /// The same seed makes the same decisions.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// True in about one of `n` cases; never for 0.
    pub fn one_in(&mut self, n: u32) -> bool {
        n > 0 && self.0.u32(..n) == 0
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.u64(low..=high.max(low))
    }

    /// As [`Chance::between`], for lengths.
    pub fn length(&mut self, low: usize, high: usize) -> usize {
        self.0.usize(low..=high.max(low))
    }

    /// An index below `n`, which is not 0.
    pub fn index(&mut self, n: usize) -> usize {
        self.0.usize(..n)
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }

    /// A source of its own, that what follows here does not depend on.
    pub fn branch(&mut self) -> Self {
        Self(self.0.fork())
    }
}

/// Byte `at` of the stream `id`: whoever finds it elsewhere knows that it is lost, doubled or out of place.
#[must_use]
pub fn pattern(id: u32, at: usize) -> u8 {
    let mixed = (at as u32 ^ id.wrapping_mul(0x9E37_79B9)).wrapping_mul(0x85EB_CA6B);
    (mixed >> 24) as u8 ^ (mixed >> 13) as u8
}
