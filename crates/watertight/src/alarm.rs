//! The time at which the clock calls whoever waits, whatever else is waited for.

use crate::driver::Driver;
use crate::timers::TimerId;
use std::task::Waker;
use watertight_core::{Backend, Moment};

/// At most one timer of the driver's, and what it was set to.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<Set>);

#[derive(Debug)]
struct Set {
    id: TimerId,
    moment: Moment,
    waker: Waker,
}

impl Alarm {
    /// Has the waker called at `moment`, which is to come, and not before.
    pub(crate) fn wake_at<B: Backend>(
        &mut self,
        driver: &Driver<B>,
        moment: Moment,
        waker: &Waker,
    ) {
        let is_that = |set: &Set| set.moment == moment && set.waker.will_wake(waker);
        if !self.0.as_ref().is_some_and(is_that) {
            self.set(driver, moment, waker);
        }
    }

    /// Has the waker called at `moment` or before. A call that is to come before stays as it is: what is put off with every byte
    /// sets no timer with every byte.
    pub(crate) fn wake_by<B: Backend>(
        &mut self,
        driver: &Driver<B>,
        (now, moment): (Moment, Moment),
        waker: &Waker,
    ) {
        let is_to_come = |set: &Set| set.moment > now && set.moment <= moment;
        let is_good = |set: &Set| is_to_come(set) && set.waker.will_wake(waker);
        if !self.0.as_ref().is_some_and(is_good) {
            self.set(driver, moment, waker);
        }
    }

    /// Has nobody called.
    pub(crate) fn clear<B: Backend>(&mut self, driver: &Driver<B>) {
        if let Some(set) = self.0.take() {
            driver.forget_timer(set.id);
        }
    }

    fn set<B: Backend>(&mut self, driver: &Driver<B>, moment: Moment, waker: &Waker) {
        self.clear(driver);
        if moment != Moment::NEVER {
            self.0 = Some(Set {
                id: driver.wake_at(moment, waker.clone()),
                moment,
                waker: waker.clone(),
            });
        }
    }
}
