//! The observers of the program under test: what they hear, and what they must not hear.

use crate::world::{current, preempt};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use watertight::{Ending, Ledger, Observer, Receipt};

/// What an observer heard.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    told: u32,
    /// It is being told something right now.
    telling: bool,
    transferred: u64,
    pub(crate) receipts: Vec<Receipt>,
    pub(crate) panicked: bool,
    pub(crate) wrongs: Vec<String>,
}

/// An observer that takes its time, and may panic.
pub(crate) struct Listener {
    pub(crate) end: usize,
    pub(crate) linger: Duration,
    pub(crate) heard: Arc<Mutex<Heard>>,
    pub(crate) panics_at: Option<u32>,
}

impl Listener {
    fn hear(&self, ledger: Ledger, receipt: Option<&Receipt>) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.told += 1;
        if heard.telling {
            heard.wrongs.push("D6: told two things at a time".into());
        }
        heard.telling = true;
        if !heard.receipts.is_empty() {
            heard
                .wrongs
                .push("D6: told something after the ending".into());
        }
        if ledger.transferred() < heard.transferred {
            heard.wrongs.push("D6: progress goes back".into());
        }
        heard.transferred = ledger.transferred();
        heard.receipts.extend(receipt.cloned());
        let is_expired = receipt.is_some_and(|told| told.ending() == Ending::LingerExpired);
        if is_expired && !self.has_lingered() {
            heard
                .wrongs
                .push("S7: the linger bound passed early".into());
        }
        drop(heard);
        // It takes its time.
        preempt();
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.telling = false;
        if self.panics_at == Some(heard.told) {
            heard.panicked = true;
            drop(heard);
            std::panic::resume_unwind(Box::new("an observer that panics"));
        }
    }
}

impl Listener {
    fn has_lingered(&self) -> bool {
        let world = current();
        let kernel = world.driver.backend().lock();
        let dropped_at = kernel.ends[self.end].dropped_at;
        dropped_at.is_some_and(|at| at.after(self.linger) <= kernel.now)
    }
}

impl Observer for Listener {
    fn progress(&self, ledger: Ledger) {
        self.hear(ledger, None);
    }

    fn ended(&self, receipt: &Receipt) {
        self.hear(receipt.ledger(), Some(receipt));
    }
}
