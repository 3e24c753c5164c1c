//! `watertight run --adopt-orphans`: whoever of the command's descendants has lost its parent comes to us, is waited for, and is
//! ended as the command would be.

use crate::platform;
use crate::run_ending::RunEnding;
use crate::run_flags::RunFlags;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use watertight::{Found, Outcome, TreeEnd, orphans};

/// How often those are killed that live: a kill reaches all descendants at once, and whoever slipped through comes to us with it. Whoever is
/// there after so many kills is not to be ended.
const KILLS_MAX: u32 = 16;

/// How long somebody else is killed each time: one that forks and ends at once, again and again, slips through every other time, or nearly every
/// time on a machine that is busy.
const KILL_WITHIN: Duration = Duration::from_secs(3);

/// Who is not seen when the system does not tell of processes any more.
const UNSEEN: &str = "whoever it has left behind";

/// What other threads tell the one that waits.
pub(crate) struct Asked {
    /// The command is being started, or was.
    is_command_begun: AtomicBool,
    is_command_over: Arc<AtomicBool>,
    /// How often somebody asked us to end.
    times: AtomicU32,
    /// The signal by which that was asked last; 0: none.
    signal: AtomicI32,
    /// The command's number; 0 before it is started.
    command: AtomicU32,
    wake: SyncSender<()>,
}

impl Asked {
    /// Whether the command is there to hear Ctrl-C: before that and behind it the key is for us.
    pub(crate) fn is_command_there(&self) -> bool {
        self.is_command_begun.load(Ordering::SeqCst) && !self.is_command_over.load(Ordering::SeqCst)
    }

    /// How often somebody has asked us to end.
    pub(crate) fn times(&self) -> u32 {
        self.times.load(Ordering::SeqCst)
    }

    /// The signal by which somebody has asked us to end last.
    pub(crate) fn signal(&self) -> Option<i32> {
        let signal = self.signal.load(Ordering::SeqCst);
        (signal != 0).then_some(signal)
    }

    /// Somebody asks us to end, by this signal.
    pub(crate) fn note(&self, signal: i32) {
        self.signal.store(signal, Ordering::SeqCst);
        self.times.fetch_add(1, Ordering::SeqCst);
        self.wake();
    }

    fn wake(&self) {
        // A wake that is there already is for this, too.
        let _ = self.wake.try_send(());
    }

    /// Children have ended: those that we were given are reaped while the command runs, too.
    fn note_ends(&self) {
        let command = self.command.load(Ordering::SeqCst);
        if command != 0 {
            // What fails here fails again when the command is over, and is told then.
            let _ = orphans::reap(command);
        }
        self.wake();
    }
}

/// The adoption, from before the command's start to the end of all that it left behind.
pub(crate) struct Adoption {
    asked: Arc<Asked>,
    wakes: Receiver<()>,
}

/// What became of those that the command had left behind.
#[derive(Default)]
pub(crate) struct SeenOff {
    /// What ended the run, if it was not the command's own end.
    pub(crate) ending: Option<RunEnding>,
    /// Who was asked to end.
    pub(crate) asked: Vec<Found>,
    /// Who was killed, asked before or not.
    pub(crate) killed: Vec<Found>,
    /// Who is still there.
    pub(crate) left: Vec<Found>,
    /// Who could not be looked for.
    pub(crate) unseen: Option<&'static str>,
    pub(crate) error: Option<String>,
}

impl SeenOff {
    /// Whether one was signalled and is over.
    pub(crate) fn is_over(&self, pid: u32) -> bool {
        (is_in(&self.asked, pid) || is_in(&self.killed, pid)) && !is_in(&self.left, pid)
    }

    fn note_asked(&mut self, end: TreeEnd) {
        add(&mut self.asked, end.signalled);
        self.note_error(end.error);
    }

    fn note_killed(&mut self, end: TreeEnd) {
        add(&mut self.killed, end.signalled);
        self.note_error(end.error);
    }

    fn note_error(&mut self, error: Option<io::Error>) {
        if let Some(error) = error {
            let text = format!("not everybody could be ended: {error}");
            self.error.get_or_insert(text);
        }
    }
}

/// What a wait for the orphans ended with.
enum Waited {
    Asked,
    Due,
    Gone,
}

impl Adoption {
    /// Nothing is adopted yet.
    pub(crate) fn new() -> Self {
        // One wake is enough: whoever is woken looks at everything.
        let (wake, wakes) = sync_channel(1);
        let asked = Asked {
            is_command_begun: AtomicBool::new(false),
            is_command_over: Arc::default(),
            times: AtomicU32::new(0),
            signal: AtomicI32::new(0),
            command: AtomicU32::new(0),
            wake,
        };
        Self {
            asked: Arc::new(asked),
            wakes,
        }
    }

    /// For the thread that hears signals.
    pub(crate) fn asked(&self) -> Arc<Asked> {
        self.asked.clone()
    }

    /// Asks the system for orphans, if that is wanted. Before the command is started.
    pub(crate) fn begin(&self, flags: &RunFlags) -> io::Result<()> {
        if !flags.adopt_orphans {
            return Ok(());
        }
        orphans::adopt().map_err(|error| cannot_adopt(&error))?;
        let asked = self.asked();
        platform::watch_children(move || asked.note_ends())
    }

    /// The command is being started: from now on it hears what is typed, if it is in our group.
    pub(crate) fn command_begins(&self) {
        self.asked.is_command_begun.store(true, Ordering::SeqCst);
    }

    /// The command's number: that child is not ours to reap.
    pub(crate) fn command_is(&self, pid: u32) {
        self.asked.command.store(pid, Ordering::SeqCst);
    }

    /// To be set as soon as the command is over, whoever holds its output then: from then on every signal is for us.
    pub(crate) fn over(&self) -> &Arc<AtomicBool> {
        &self.asked.is_command_over
    }

    /// The command is over: from now on every signal is for us.
    pub(crate) fn command_is_over(&self) {
        self.asked.is_command_over.store(true, Ordering::SeqCst);
    }

    /// Waits until all that the command has left behind are over. At the deadline, or when we are asked to end, they are asked to
    /// end, and killed after the grace; at once, if the command itself was ended.
    pub(crate) fn see_off(&self, flags: &RunFlags, begun: Instant, outcome: &Outcome) -> SeenOff {
        let mut seen_off = SeenOff::default();
        if !flags.adopt_orphans {
            return seen_off;
        }
        // Reaped, it has no number any more.
        let own = match outcome.exit {
            Some(_) => 0,
            None => self.asked.command.load(Ordering::SeqCst),
        };
        if let Err(error) = self.try_see_off(flags, begun, outcome, own, &mut seen_off) {
            let text = format!("whoever it left behind cannot be found: {error}");
            seen_off.error.get_or_insert(text);
            seen_off.unseen = Some(UNSEEN);
        }
        seen_off
    }

    fn try_see_off(
        &self,
        flags: &RunFlags,
        begun: Instant,
        outcome: &Outcome,
        own: u32,
        seen_off: &mut SeenOff,
    ) -> io::Result<()> {
        if outcome.ended.is_by_itself() {
            let due = flags.within.and_then(|within| begun.checked_add(within));
            seen_off.ending = match self.wait(own, due, 1)? {
                Waited::Asked => Some(RunEnding::Interrupted),
                Waited::Due => Some(RunEnding::Deadline),
                Waited::Gone => return Ok(()),
            };
        }
        if !flags.grace.is_zero() && !orphans::reap(own)?.is_empty() {
            seen_off.note_asked(orphans::terminate(own));
            let due = Instant::now().checked_add(flags.grace);
            // Asked a second time, we leave them no grace.
            self.wait(own, due, 2)?;
        }
        let (begun, mut kills_in_vain) = (Instant::now(), 0);
        loop {
            let left = orphans::reap(own)?;
            let is_new = left.iter().any(|one| !is_in(&seen_off.left, one.pid));
            seen_off.left = left;
            kills_in_vain = if is_new { 0 } else { kills_in_vain + 1 };
            let is_in_vain = kills_in_vain > KILLS_MAX || begun.elapsed() > KILL_WITHIN;
            if seen_off.left.is_empty() || is_in_vain {
                return Ok(());
            }
            seen_off.note_killed(orphans::kill(own));
        }
    }

    /// Waits until there is no orphan any more, somebody has asked so often, or the time is over.
    fn wait(&self, own: u32, due: Option<Instant>, times: u32) -> io::Result<Waited> {
        loop {
            if orphans::reap(own)?.is_empty() {
                return Ok(Waited::Gone);
            }
            if self.asked.times() >= times {
                return Ok(Waited::Asked);
            }
            let now = Instant::now();
            // Whether it was a wake or the time, the next look finds out. The sender is ours too and never gone.
            let _ = match due {
                Some(due) if due <= now => return Ok(Waited::Due),
                Some(due) => self.wakes.recv_timeout(due - now).is_ok(),
                None => self.wakes.recv().is_ok(),
            };
        }
    }
}

/// The error says what is missing, and this which option wants it.
fn cannot_adopt(error: &io::Error) -> io::Error {
    let text = format!("--adopt-orphans cannot be had here: {error}");
    io::Error::new(error.kind(), text)
}

fn is_in(list: &[Found], pid: u32) -> bool {
    list.iter().any(|one| one.pid == pid)
}

/// Adds everybody once.
fn add(list: &mut Vec<Found>, more: Vec<Found>) {
    for one in more {
        if !is_in(list, one.pid) {
            list.push(one);
        }
    }
}
