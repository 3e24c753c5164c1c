//! What threads share about children, apart from every system call, so that the models go through every order: a child is
//! signalled only while nobody of us has reaped it, and whoever waits for a child's end hears of it, also of one that comes at once.

use super::usage::ReapedWith;
use crate::process::{ExitCallback, Reaped, Usage};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError};

#[cfg(loom)]
use loom::sync as primitives;
#[cfg(not(loom))]
use std::sync as primitives;

use primitives::{Mutex, MutexGuard};

/// How a child ended, what it has used, and what else is known of it, under one lock, which is held over each signal and each
/// reaping.
pub struct Reaping<T>(Mutex<Known<T>>);

struct Known<T> {
    /// How it ended, once that is known: from then on its number is not its own.
    end: Option<Reaped>,
    /// What it has used, told when it was reaped.
    usage: Option<Usage>,
    rest: T,
}

impl<T> Reaping<T> {
    /// Nothing else has happened yet.
    pub fn new(end: Option<Reaped>, rest: T) -> Self {
        Self(Mutex::new(Known {
            end,
            usage: None,
            rest,
        }))
    }

    /// How the child ended. `reap` asks the system, and is called no more once it has told an end. What the child has used is kept.
    ///
    /// # Errors
    /// What `reap` says. Then nothing is known, and the next one asks again.
    pub fn reap(&self, reap: impl FnOnce() -> io::Result<ReapedWith>) -> io::Result<Reaped> {
        let mut known = lock(&self.0);
        if let Some(end) = known.end {
            return Ok(end);
        }
        let (reaped, usage) = reap()?;
        if reaped != Reaped::Running {
            known.end = Some(reaped);
            known.usage = usage;
        }
        Ok(reaped)
    }

    /// How the child ended, if that is known, and otherwise what `look` says, which asks the system and reaps nothing.
    ///
    /// # Errors
    /// What `look` says.
    pub fn peek(&self, look: impl FnOnce() -> io::Result<Reaped>) -> io::Result<Reaped> {
        let known = lock(&self.0);
        known.end.map_or_else(look, Ok)
    }

    /// What the child has used, if it was reaped and the system has told it.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        lock(&self.0).usage
    }

    /// Does something that must not meet a reaping. It is told whether the child is reaped already.
    pub fn with<R>(&self, act: impl FnOnce(bool, &mut T) -> R) -> R {
        let mut known = lock(&self.0);
        let is_reaped = known.end.is_some();
        act(is_reaped, &mut known.rest)
    }
}

/// Who waits for which child, by the key under which the system tells its end.
pub struct Waiting<D>(Mutex<HashMap<usize, Watched<D>>>);

/// A child that is waited for. While this exists its descriptor stays open, so that its key cannot become another's.
struct Watched<D> {
    descriptor: Arc<D>,
    callbacks: Vec<ExitCallback>,
}

impl<D> Default for Waiting<D> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<D> Waiting<D> {
    /// Waits for a child. `register` has the system tell its end, and is called for the first one that waits.
    ///
    /// # Errors
    /// What `register` says. Then nobody waits, and `callback` is dropped.
    pub fn add<E>(
        &self,
        key: usize,
        descriptor: &Arc<D>,
        callback: ExitCallback,
        register: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut watched = lock(&self.0);
        if let Some(known) = watched.get_mut(&key) {
            known.callbacks.push(callback);
            return Ok(());
        }
        register()?;
        // The thread may have been told already; it finds the entry, for it needs the lock to look.
        let descriptor = descriptor.clone();
        let callbacks = vec![callback];
        let entry = Watched {
            descriptor,
            callbacks,
        };
        watched.insert(key, entry);
        Ok(())
    }

    /// Takes out a child that is over: those who wait for it, to be called without the lock. `remove` takes it out of what tells.
    #[must_use = "whoever waits is to be called"]
    pub fn take(&self, key: usize, remove: impl FnOnce(&D)) -> Vec<ExitCallback> {
        let over = {
            let mut watched = lock(&self.0);
            let over = watched.remove(&key);
            if let Some(over) = &over {
                remove(&over.descriptor);
            }
            over
        };
        let Some(Watched {
            descriptor,
            callbacks,
        }) = over
        else {
            return Vec::new();
        };
        // Closed, if it was the last, before anybody hears of it.
        drop(descriptor);
        callbacks
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_question_that_fails_is_asked_again_and_an_answer_is_kept() {
        let reaping = Reaping::new(None, ());
        let refused = || Err(io::ErrorKind::PermissionDenied.into());
        assert!(reaping.reap(refused).is_err());
        let running = reaping.reap(|| Ok((Reaped::Running, None)));
        assert_eq!(running.unwrap(), Reaped::Running);
        assert!(!reaping.with(|is_reaped, ()| is_reaped));
        assert_eq!(reaping.usage(), None);
        let used = Some(Usage::default());
        let over = reaping.reap(|| Ok((Reaped::Unknown, used)));
        assert_eq!(over.unwrap(), Reaped::Unknown);
        assert_eq!(reaping.reap(refused).unwrap(), Reaped::Unknown);
        assert!(reaping.with(|is_reaped, ()| is_reaped));
        assert_eq!(reaping.usage(), used);
    }

    #[test]
    fn a_look_keeps_nothing_and_is_not_needed_once_the_child_is_reaped() {
        let reaping = Reaping::new(None, ());
        let refused = || Err(io::ErrorKind::PermissionDenied.into());
        assert!(reaping.peek(refused).is_err());
        let seen = reaping.peek(|| Ok(Reaped::Unknown));
        assert_eq!(seen.unwrap(), Reaped::Unknown);
        assert!(!reaping.with(|is_reaped, ()| is_reaped));
        let over = reaping.reap(|| Ok((Reaped::Unknown, None)));
        assert_eq!(over.unwrap(), Reaped::Unknown);
        assert_eq!(reaping.peek(refused).unwrap(), Reaped::Unknown);
    }

    #[test]
    fn nobody_waits_for_a_child_that_cannot_be_registered() {
        let (waiting, descriptor) = (Waiting::default(), Arc::new(()));
        let never = || -> ExitCallback { Box::new(|| panic!("nobody waits")) };
        let failed = waiting.add(1, &descriptor, never(), || Err("no room"));
        assert_eq!(failed, Err("no room"));
        assert_eq!(Arc::strong_count(&descriptor), 1);
        assert!(waiting.take(1, |()| panic!("it was never in")).is_empty());
    }
}
