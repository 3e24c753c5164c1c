//! What nobody was told of: bytes that a drop, or the end of the process, lost.
//!
//! A pipe whose caller heard of its failure, or that has an observer, is not told of here. By default the process says it
//! once for each cause, in one line on standard error; a hook takes the line's place.

use crate::sync::StaticMutex;
use std::fmt;
use std::sync::Arc;
use watertight_core::{Cause, ErrorKind, Ledger};

/// Bytes that were accepted, that were not transferred, and of which nobody was told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Loss {
    /// Why: the pipe's failure; [`TimedOut`](ErrorKind::TimedOut) for the linger bound, the process's bound on lingering
    /// pipes, and the end of the process.
    pub cause: Cause,
    /// How many pipes it befell at once: one, but at the end of the process.
    pub pipes: u64,
    /// Bytes given up, or still queued when the process ended.
    pub bytes_discarded: u64,
    /// Bytes that the kernel had been given, and of which it never said how many it took.
    pub bytes_in_doubt: u64,
    /// The process is ending.
    pub at_exit: bool,
}

impl Loss {
    pub(crate) fn of(cause: Cause, ledger: Ledger) -> Self {
        Self {
            cause,
            pipes: 1,
            bytes_discarded: ledger.discarded(),
            bytes_in_doubt: ledger.in_doubt(),
            at_exit: false,
        }
    }
}

impl fmt::Display for Loss {
    /// One line: how much, why, and the way out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes_discarded + self.bytes_in_doubt;
        if self.at_exit {
            let pipes = self.pipes;
            let s = if pipes == 1 { "" } else { "s" };
            write!(f, "at exit {pipes} pipe{s} still held {bytes} bytes")?;
        } else {
            write!(f, "a dropped pipe lost {bytes} bytes: ")?;
            if self.cause.kind == ErrorKind::TimedOut {
                f.write_str("the bound on lingering passed")?;
            } else {
                write!(f, "{}", self.cause)?;
            }
        }
        if self.bytes_in_doubt > 0 {
            write!(f, ", of which {} in doubt", self.bytes_in_doubt)?;
        }
        let way_out = if self.at_exit {
            "; settle or finish before the end, or allow more time (WATERTIGHT_EXIT_WITHIN)"
        } else {
            "; finish a writer to know, or give it an observer (more of this cause are only counted)"
        };
        f.write_str(way_out)
    }
}

/// Who is told of losses.
pub type LossHook = Arc<dyn Fn(&Loss) + Send + Sync>;

struct Reported {
    hook: Option<LossHook>,
    /// The causes that had their line.
    causes: Vec<ErrorKind>,
    /// Lines that standard error did not take at once.
    waiting: Vec<String>,
}

static REPORTED: StaticMutex<Reported> = StaticMutex::new(Reported {
    hook: None,
    causes: Vec::new(),
    waiting: Vec::new(),
});

/// Has `hook` told of every loss, in place of the line on standard error; `None` brings the line back.
///
/// It runs with no lock held, on the thread that learned of the loss: a caller's, or the library's own. It must not block; a
/// panic in it is counted in [`census`](crate::census).
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// watertight::on_loss(Some(Arc::new(|loss| eprintln!("lost: {loss}"))));
/// # watertight::on_loss(None);
/// ```
pub fn on_loss(hook: Option<LossHook>) {
    let former = std::mem::replace(&mut REPORTED.lock().hook, hook);
    drop(former);
}

/// Tells of a loss: the hook, or one line for its cause. No lock is held while either runs.
pub(crate) fn tell(loss: &Loss) {
    let mut reported = REPORTED.lock();
    if let Some(hook) = reported.hook.clone() {
        drop(reported);
        return hook(loss);
    }
    if !loss.at_exit {
        if reported.causes.contains(&loss.cause.kind) {
            return;
        }
        reported.causes.push(loss.cause.kind);
    }
    reported.waiting.push(format!("watertight: {loss}\n"));
    drop(reported);
    say_waiting();
}

/// Says what standard error did not take before. A line that does not fit now waits for the next occasion.
pub(crate) fn say_waiting() {
    let lines = std::mem::take(&mut REPORTED.lock().waiting);
    let left: Vec<String> = lines
        .into_iter()
        .filter(|line| !watertight_os::say(line))
        .collect();
    if !left.is_empty() {
        REPORTED.lock().waiting.splice(0..0, left);
    }
}

/// As [`tell`], where no lock may be waited for: the process is ending. Whether it was told.
pub(crate) fn tell_at_exit(text: &str, loss: Option<&Loss>) -> bool {
    let Some(mut reported) = REPORTED.try_lock() else {
        return watertight_os::say(&format!("watertight: {text}\n"));
    };
    let hook = reported.hook.clone();
    let lines = std::mem::take(&mut reported.waiting);
    drop(reported);
    for line in lines {
        let _ = watertight_os::say(&line);
    }
    match (hook, loss) {
        (Some(hook), Some(loss)) => {
            hook(loss);
            true
        }
        _ => watertight_os::say(&format!("watertight: {text}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use watertight_core::OsCode;

    #[test]
    fn a_loss_is_one_line_with_the_amount_the_cause_and_the_way_out() {
        let mut loss = Loss {
            cause: Cause {
                kind: ErrorKind::BrokenPipe,
                os: Some(OsCode(32)),
            },
            pipes: 1,
            bytes_discarded: 5,
            bytes_in_doubt: 0,
            at_exit: false,
        };
        let text = loss.to_string();
        assert!(text.starts_with("a dropped pipe lost 5 bytes: the peer closed its end ("));
        assert!(text.contains("os error 32") && text.contains("finish a writer"));
        assert!(!text.contains('\n'));
        loss.at_exit = true;
        loss.bytes_in_doubt = 2;
        let text = loss.to_string();
        assert!(text.starts_with("at exit 1 pipe still held 7 bytes, of which 2 in doubt; "));
    }
}
