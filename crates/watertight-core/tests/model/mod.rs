//! Reference models of both halves: what they must do, told by what the caller asked and the kernel answered, and nothing
//! taken over from their code.
//!
//! A run is a list of bytes, each of which picks what happens next. So a seed, a file of the corpus in `fuzz/corpus` and
//! what a fuzzer makes up are the same thing, and the fuzz targets include this very file.
#![allow(
    dead_code,
    reason = "each program that includes this uses a part of it"
)]

pub(crate) mod read;
pub(crate) mod write;

/// What happens, byte by byte.
pub(crate) struct Script<'a> {
    bytes: &'a [u8],
}

impl<'a> Script<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next byte; 0 for ever after the end.
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else {
            return 0;
        };
        self.bytes = rest;
        *first
    }

    /// From 0 to `sides - 1`.
    pub(crate) fn pick(&mut self, sides: u8) -> u8 {
        self.byte() % sides
    }

    /// From 0 to `most`.
    pub(crate) fn up_to(&mut self, most: u64) -> u64 {
        let number = u64::from(self.byte()) << 8 | u64::from(self.byte());
        number % (most + 1)
    }
}

/// Bytes for a script, from a seed.
pub(crate) fn seeded(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let mut byte = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..len).map(|_| byte()).collect()
}
