//! The end of the process: every writer, dropped or not, is settled first, within a bound.
//!
//! The system calls `handle_exit` when `main` returns, when `exit` is called and when the main thread has panicked. Then no
//! lock may be waited for (its owner may be gone, or be the thread that exits), nothing may be printed through `std` (its
//! lock may be held), and nothing may panic. Never here: what happens to bytes; the driver's thread goes on with that.

use crate::driver::{AtExit, Driver, panics};
use crate::handle::{self, Native};
use crate::loss::{self, Loss};
use crate::settle::settle;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::ThreadId;
use std::time::{Duration, Instant};
use watertight_core::{Cause, ErrorKind};

/// How long the end of the process waits for what was accepted, unless something else is set: as long as a slow child is
/// given elsewhere, and no longer than a person waits.
pub const EXIT_WITHIN: Duration = Duration::from_secs(10);
/// Sets another bound for a whole program: seconds, such as `2.5`; 0 turns the waiting off. What is no number of seconds is
/// told on standard error at the end of the process, and the default holds.
pub const EXIT_WITHIN_VARIABLE: &str = "WATERTIGHT_EXIT_WITHIN";

/// How long it looks away between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// What those that are given up have for their last news.
const LAST_NEWS: Duration = Duration::from_millis(50);
/// "Not set by a call": the variable, or the default.
const UNSET: u64 = u64::MAX;

static WITHIN_MS: AtomicU64 = AtomicU64::new(UNSET);
/// The process that registered; 0 before.
static PROCESS: AtomicU32 = AtomicU32::new(0);
static ENTERED: AtomicBool = AtomicBool::new(false);
static LEFT: AtomicBool = AtomicBool::new(false);
static ENTERED_BY: crate::sync::StaticMutex<Option<ThreadId>> = crate::sync::StaticMutex::new(None);

/// Sets how long the end of this process waits until every writer, dropped or not, has transferred what it had accepted:
/// on return from `main`, in `std::process::exit` and after a panic of the main thread. Zero turns the waiting off; bytes
/// that are lost are told all the same (see [`on_loss`](crate::on_loss)).
///
/// The default is [`EXIT_WITHIN`], and the variable [`EXIT_WITHIN_VARIABLE`] sets another; this call goes before both. An end
/// with nothing to settle takes no time.
///
/// Nothing can be done where the system asks nobody: `_exit`, `abort` (a panic with `panic = "abort"` too), signals, and on
/// Windows `std::process::exit`, where all other threads are dead by then; [`exit`](crate::exit()) is for that.
pub fn exit_within(bound: Duration) {
    let millis = u64::try_from(bound.as_millis()).unwrap_or(UNSET - 1);
    WITHIN_MS.store(millis.min(UNSET - 1), Ordering::Relaxed);
}

/// Settles every writer within the bound of [`exit_within`], and ends the process: [`std::process::exit`] with nothing lost on
/// any system, from any thread.
///
/// # Examples
///
/// ```no_run
/// let (reader, writer) = watertight::pipe()?;
/// writer.send(b"parting words").wait()?;
/// watertight::exit(0);
/// # #[allow(unreachable_code)]
/// # Ok::<(), watertight::Error>(())
/// ```
pub fn exit(code: i32) -> ! {
    settle_now();
    #[expect(clippy::exit, reason = "this is what the function is for")]
    std::process::exit(code)
}

/// Settles every writer within the bound of [`exit_within`] when it is dropped: for `main`, on return and on a panic alike.
///
/// The end of the process does the same by itself where the system lets it; this is for where it does not, and for who
/// prefers to see it.
///
/// # Examples
///
/// ```
/// fn main() -> Result<(), watertight::Error> {
///     let _settled = watertight::settle_on_drop();
///     let (reader, writer) = watertight::pipe()?;
///     writer.send(b"parting words").wait()?;
///     # drop(reader);
///     Ok(())
/// }
/// ```
pub fn settle_on_drop() -> SettleOnDrop {
    SettleOnDrop(())
}

/// See [`settle_on_drop`].
#[derive(Debug)]
#[must_use = "it settles when it is dropped: keep it to the end of `main`"]
pub struct SettleOnDrop(());

impl Drop for SettleOnDrop {
    fn drop(&mut self) {
        settle_now();
    }
}

/// What did not make it is looked at once more when the process ends, and told there.
fn settle_now() {
    let within = bound();
    if !within.is_zero() {
        let _ = settle().within(within).wait();
    }
}

fn bound() -> Duration {
    match WITHIN_MS.load(Ordering::Relaxed) {
        UNSET => from_environment().unwrap_or(EXIT_WITHIN),
        millis => Duration::from_millis(millis),
    }
}

/// What the variable says, if it is set. A value that is no number of seconds is told, once, and counts as not set.
fn from_environment() -> Option<Duration> {
    static TOLD: AtomicBool = AtomicBool::new(false);
    let text = std::env::var_os(EXIT_WITHIN_VARIABLE)?;
    let seconds = text.to_str().and_then(|text| text.trim().parse().ok());
    let within = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    if within.is_none() && !TOLD.swap(true, Ordering::Relaxed) {
        let seconds = EXIT_WITHIN.as_secs();
        let _ = watertight_os::say(&format!(
            "watertight: {EXIT_WITHIN_VARIABLE} is {text:?}, which is no number of seconds (such as 2.5, or 0): the end of the \
             process waits {seconds} s at most\n"
        ));
    }
    within
}

/// Whether this process was forked from the one in which the library's thread was started; for whoever may have no driver to ask.
pub(crate) fn is_elsewhere() -> bool {
    let registered = PROCESS.load(Ordering::Relaxed);
    registered != 0 && registered != std::process::id()
}

/// Has the system call us at the end of this process; asked once, when the library's thread starts.
pub(crate) fn register() {
    let this = std::process::id();
    if PROCESS.swap(this, Ordering::Relaxed) != this {
        // A system that keeps no more of them leaves what there was before: the exit's own behaviour.
        let _ = watertight_os::at_exit(handle_exit, handle_death);
    }
}

/// The other threads go on: the driver's does the work, and this one waits.
extern "C" fn handle_exit() {
    let _ = panics(|| at_end(true));
}

/// The other threads are gone: nothing can be done, and what is lost is told.
extern "C" fn handle_death() {
    let _ = panics(|| at_end(false));
}

fn at_end(is_alive: bool) {
    // First of all, and without a lock: a forked child has our memory and none of our threads.
    if PROCESS.load(Ordering::Relaxed) != std::process::id() {
        return;
    }
    let end = Instant::now() + if is_alive { bound() } else { Duration::ZERO };
    let this = std::thread::current().id();
    if ENTERED.swap(true, Ordering::AcqRel) {
        // Somebody else's exit is under way: it must not be cut short. Our own, from within: it must not wait for itself.
        let is_ours = ENTERED_BY
            .try_lock()
            .is_none_or(|by| by.is_none_or(|by| by == this));
        while is_alive && !is_ours && !LEFT.load(Ordering::Acquire) && Instant::now() < end {
            look_away();
        }
        return;
    }
    if let Some(mut by) = ENTERED_BY.try_lock() {
        *by = Some(this);
    }
    if let Some(driver) = handle::running_at_exit(end) {
        settle_all(&driver, end);
    }
    LEFT.store(true, Ordering::Release);
}

/// How often a lock that somebody has is looked at before that counts.
const LOCK_LOOKS_MAX: u32 = 10_000;

/// Waits until every writer has transferred what it had accepted when this began, or the bound has passed.
fn settle_all(driver: &Arc<Driver<Native>>, end: Instant) {
    driver.send_joined_at_exit();
    let mut goals = None;
    let mut looks_at_locks = 0;
    loop {
        let left = driver.look_at_exit(&mut goals);
        match left {
            Some(AtExit { pipes: 0, .. }) => return,
            Some(left) if left.is_hopeless || Instant::now() >= end => {
                return give_up(driver, left);
            }
            // Whoever has it, such as the library's thread at a tick, has it for a moment.
            None if looks_at_locks < LOCK_LOOKS_MAX => {
                looks_at_locks += 1;
                std::thread::yield_now();
                continue;
            }
            None if Instant::now() >= end => {
                let _ = loss::tell_at_exit(
                    "at exit a lock was held, so it is not known what pipes still held",
                    None,
                );
                return;
            }
            Some(_) | None => {}
        }
        if handle::is_driver_thread() {
            // Exit was called in an observer or a waker: nobody else does the work.
            driver.turn_briefly(LOOK_AGAIN);
        } else {
            look_away();
        }
    }
}

fn give_up(driver: &Arc<Driver<Native>>, left: AtExit) {
    let bytes_in_doubt = match watertight_os::IN_FLIGHT_IS_IN_DOUBT {
        true => left.bytes_in_flight,
        false => 0,
    };
    let loss = Loss {
        cause: Cause::of(ErrorKind::TimedOut),
        pipes: left.pipes,
        bytes_discarded: left.bytes - bytes_in_doubt,
        bytes_in_doubt,
        at_exit: true,
    };
    if left.bytes > 0 && left.is_untold {
        let _ = loss::tell_at_exit(&loss.to_string(), Some(&loss));
    }
    // Those with an observer are stopped, so that it hears of the end.
    driver.give_up_at_exit();
    let end = Instant::now() + LAST_NEWS;
    let mut goals = None;
    while Instant::now() < end {
        match driver.look_at_exit(&mut goals) {
            Some(AtExit {
                is_listening: false,
                ..
            }) => return,
            Some(_) | None => look_away(),
        }
    }
}

/// No lock, no waker: both may be another thread's that is gone.
fn look_away() {
    std::thread::park_timeout(LOOK_AGAIN);
}
