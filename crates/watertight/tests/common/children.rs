//! Accounts of tests that start children.

use super::Accounted;
use std::time::Duration;
use watertight::{Command, EndedBy, Limits};

/// Behind a first child that a task waits for (a thread needs no other), and behind what is done `then`: the thread that hears of
/// children's ends stays. `living` goes on until it is killed.
pub fn accounted_behind(mut living: Command, then: impl FnOnce()) -> Accounted {
    Accounted::start_behind(move || {
        let first = living.output(Limits::new()).unwrap();
        let late = futures_lite::future::block_on(first.within(Duration::from_millis(1)));
        assert_eq!(late.unwrap().ended, EndedBy::Deadline);
        then();
    })
}

/// Behind a first child that a task waits for: the thread that hears of children's ends stays.
#[cfg(unix)]
pub fn accounted() -> Accounted {
    let mut sleep = Command::new("sleep");
    sleep.arg("1000");
    accounted_behind(sleep, || {})
}
