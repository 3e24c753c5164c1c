//! What a test's pipes leave behind on a kernel whose clock stands still.

use std::sync::Arc;
use std::time::Duration;
use watertight::Driver;
use watertight_core::Backend;

/// Longer than any bound of the tests.
const LONG: Duration = Duration::from_secs(3600);

/// Ends what lingers, when the pipes are gone: a driver that nobody turns any more keeps it, and it keeps the driver.
pub(crate) struct LeftBehind<B: Backend> {
    driver: Arc<Driver<B>>,
    /// Has that kernel take everything, and lets so much time pass.
    take_all: fn(&B, Duration),
}

impl<B: Backend> LeftBehind<B> {
    pub(crate) fn new(driver: &Arc<Driver<B>>, take_all: fn(&B, Duration)) -> Self {
        let driver = driver.clone();
        Self { driver, take_all }
    }
}

impl<B: Backend> Drop for LeftBehind<B> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // What is not taken is given up after its bound, and then stopped within another.
        for _ in 0..2 {
            (self.take_all)(self.driver.backend(), LONG);
            self.driver.turn(&mut Vec::new());
        }
        let census = self.driver.census();
        assert_eq!((census.pipes, census.quarantined), (0, 0), "left behind");
    }
}
