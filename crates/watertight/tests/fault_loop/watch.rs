//! A watch over the loop: a run that hangs inside a call cannot say so itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longer than everything that a run may wait for by itself.
const HUNG: Duration = Duration::from_secs(180);

struct Watched {
    run: Mutex<(String, Instant)>,
    over: AtomicBool,
}

/// The watching thread.
pub(crate) struct Watch {
    watched: Arc<Watched>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        let watched = Arc::new(Watched {
            run: Mutex::new((String::new(), Instant::now())),
            over: AtomicBool::new(false),
        });
        let inner = watched.clone();
        let thread = std::thread::spawn(move || inner.watch());
        Self {
            watched,
            thread: Some(thread),
        }
    }

    /// The next run begins.
    pub(crate) fn begin(&self, run: &str) {
        *self.watched.run.lock().unwrap() = (run.to_owned(), Instant::now());
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watched.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            thread.join().unwrap();
        }
    }
}

impl Watched {
    fn watch(&self) {
        while !self.over.load(Ordering::SeqCst) {
            std::thread::park_timeout(Duration::from_secs(1));
            let (run, begin) = self.run.lock().unwrap().clone();
            if begin.elapsed() > HUNG {
                eprintln!("hang: WATERTIGHT_FAULT={run} is in a call that does not return");
                std::process::abort();
            }
        }
    }
}
