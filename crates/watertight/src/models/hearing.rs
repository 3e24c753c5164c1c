//! The models' observer: it sees that it is told one thing at a time, in order, and the end once.

use super::harness::primitives::Mutex;
use super::harness::{EXPECTED, complain};
use crate::{Ledger, Observer, Receipt};
use std::sync::Arc;

/// Hears everything, slowly: others may run while it is told.
pub(super) struct Hearing {
    heard: Mutex<Heard>,
    panics: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    pub(super) told: u32,
    begun: u32,
    pub(super) ended: Option<Ledger>,
    transferred: u64,
    panicked: bool,
}

impl Hearing {
    pub(super) fn new(panics: bool) -> Arc<Self> {
        Arc::new(Self {
            heard: Mutex::new(Heard::default()),
            panics,
        })
    }

    pub(super) fn heard(&self) -> Heard {
        *self.heard.lock().unwrap()
    }

    fn is_told(&self, ledger: Ledger, is_end: bool) {
        let mut heard = self.heard.lock().unwrap();
        heard.begun += 1;
        // D6: one thing at a time, in order, the end last and once, and nothing after a panic.
        let is_alone = heard.begun == heard.told + 1;
        let is_in_order = heard.ended.is_none() && ledger.transferred() >= heard.transferred;
        let is_wrong = !is_alone || !is_in_order || heard.panicked;
        drop(heard);
        if is_wrong {
            complain(format!("the observer heard {ledger:?} out of turn"));
        }
        let mut heard = self.heard.lock().unwrap();
        heard.told += 1;
        heard.transferred = ledger.transferred();
        heard.ended = is_end.then_some(ledger);
        heard.panicked = self.panics;
        drop(heard);
        if self.panics {
            std::panic::resume_unwind(Box::new(EXPECTED));
        }
    }
}

impl Observer for Hearing {
    fn progress(&self, ledger: Ledger) {
        self.is_told(ledger, false);
    }

    fn ended(&self, receipt: &Receipt) {
        self.is_told(receipt.ledger(), true);
    }
}
