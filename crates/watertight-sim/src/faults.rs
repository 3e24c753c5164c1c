//! Which call fails, and how: drawn from the seed (swarm), or the n-th call by name (the fault loop).

use crate::chance::Chance;
use crate::codes::{Call, Code};
use std::sync::atomic::{AtomicBool, Ordering};

/// The n-th fallible call fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nth {
    /// Counted from 1.
    pub at: u64,
    /// Every later call of the same kind fails too.
    pub forever: bool,
    /// With this code.
    pub code: Code,
}

/// Faults drawn by chance. Each seed draws which exist at all and how likely they are (swarm testing).
#[derive(Clone, Debug, Default)]
pub struct Storm {
    /// One call in so many fails; 0: none.
    pub one_in: u32,
    /// Only calls in this part of the run fail: a window without descriptors or memory.
    pub from: u64,
    /// The end of that part.
    pub until: u64,
    /// The only codes, by call number; none: all of the table.
    pub codes: Vec<Code>,
}

/// What is planned, and what was told.
#[derive(Debug)]
pub struct Faults {
    chance: Chance,
    storm: Storm,
    nth: Vec<(Nth, Option<Call>)>,
    calls: u64,
    kinds: Vec<Call>,
    told: u64,
}

/// For each cell of the tables whether it was ever driven, over all runs of the process.
static CELLS: [[AtomicBool; CODES_MAX]; CALLS] =
    [const { [const { AtomicBool::new(false) }; CODES_MAX] }; CALLS];
const CALLS: usize = 28;
const CODES_MAX: usize = 96;

impl Faults {
    /// No faults but these.
    #[must_use]
    pub fn new(storm: Storm, nth: &[Nth], chance: Chance) -> Self {
        Self {
            chance,
            storm,
            nth: nth.iter().map(|one| (*one, None)).collect(),
            calls: 0,
            kinds: Vec::new(),
            told: 0,
        }
    }

    /// A fallible call is made: the code it fails with, if it does.
    pub fn ask(&mut self, call: Call) -> Option<Code> {
        self.calls += 1;
        self.kinds.push(call);
        let code = self.planned(call).or_else(|| self.drawn(call))?;
        self.told += 1;
        CELLS[call.number()][code.0].store(true, Ordering::Relaxed);
        Some(code)
    }

    /// The kinds of the calls that were made, in order.
    #[must_use]
    pub fn kinds(&self) -> &[Call] {
        &self.kinds
    }

    /// How many faults were told.
    #[must_use]
    pub const fn told(&self) -> u64 {
        self.told
    }

    /// No more storms: the run is to end.
    pub fn calm(&mut self) {
        self.storm.one_in = 0;
    }

    fn planned(&mut self, call: Call) -> Option<Code> {
        for (nth, kind) in &mut self.nth {
            if nth.at == self.calls && nth.code.0 < call.codes() {
                *kind = Some(call);
                return Some(nth.code);
            }
            if nth.forever && *kind == Some(call) {
                return Some(nth.code);
            }
        }
        None
    }

    fn drawn(&mut self, call: Call) -> Option<Code> {
        let is_open = (self.storm.from..self.storm.until).contains(&self.calls);
        if !is_open || !self.chance.one_in(self.storm.one_in) {
            return None;
        }
        let of_table = Code(self.chance.index(call.codes()));
        if self.storm.codes.is_empty() {
            return Some(of_table);
        }
        let code = self.chance.pick(&self.storm.codes);
        Some(if code.0 < call.codes() {
            code
        } else {
            of_table
        })
    }
}

/// A cell was driven outside a run: by itself.
pub fn mark(call: Call, code: Code) {
    CELLS[call.number()][code.0].store(true, Ordering::Relaxed);
}

/// Whether a cell was driven.
#[must_use]
pub fn is_driven(call: Call, code: Code) -> bool {
    CELLS[call.number()][code.0].load(Ordering::Relaxed)
}

impl Faults {
    /// Nothing fails any more.
    pub fn repair(&mut self) {
        self.calm();
        self.nth.clear();
    }
}
