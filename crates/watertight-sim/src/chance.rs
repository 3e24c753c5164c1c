//! Everything random comes from here, and all of it from one seed.

/// A source of decisions: a seed, and before that a tape of bytes, if there is one (a fuzzer's, which changes single ones).
#[derive(Clone, Debug)]
pub struct Chance {
    rng: fastrand::Rng,
    tape: Vec<u8>,
    at: usize,
}

impl Chance {
    /// The same seed makes the same decisions.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with_tape(seed, Vec::new())
    }

    /// The tape decides; after its end the seed.
    #[must_use]
    pub fn with_tape(seed: u64, tape: Vec<u8>) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            tape,
            at: 0,
        }
    }

    /// True in about one of `n` cases; never for 0.
    pub fn one_in(&mut self, n: u32) -> bool {
        n > 0 && self.below(u64::from(n)) == 0
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        match high.max(low) - low {
            u64::MAX => self.rng.u64(..),
            span => low + self.below(span + 1),
        }
    }

    /// As [`Chance::between`], for lengths.
    pub fn length(&mut self, low: usize, high: usize) -> usize {
        self.between(low as u64, high as u64) as usize
    }

    /// An index below `n`, which is not 0.
    pub fn index(&mut self, n: usize) -> usize {
        self.below(n as u64) as usize
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.index(from.len())]
    }

    /// A source of its own, that what follows here does not depend on.
    pub fn branch(&mut self) -> Self {
        Self {
            rng: self.rng.fork(),
            tape: Vec::new(),
            at: 0,
        }
    }

    fn below(&mut self, n: u64) -> u64 {
        let bytes = if n <= 1 << 8 { 1 } else { 2 };
        match self.tape.get(self.at..self.at + bytes) {
            Some(word) => {
                self.at += bytes;
                let word = word.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
                word % n
            }
            None => self.rng.u64(..n),
        }
    }
}

/// Byte `at` of the stream `id`: whoever finds it elsewhere knows that it is lost, doubled or out of place.
#[must_use]
pub fn pattern(id: u32, at: usize) -> u8 {
    let mixed = (at as u32 ^ id.wrapping_mul(0x9E37_79B9)).wrapping_mul(0x85EB_CA6B);
    (mixed >> 24) as u8 ^ (mixed >> 13) as u8
}
