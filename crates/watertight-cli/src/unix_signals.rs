//! Signals on Unix: each is kept from the beginning, and the thread that hears them is started when it is needed.
//!
//! The system gives a signal to the main thread if that does not block it, and while that is inside a call which no signal ends, nobody hears
//! it. So those at which we end are left to the thread that hears them.

use crate::foreground::Keyboard;
use crate::requests::Signal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::SigId;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use signal_hook::iterator::backend::{
    OwningSignalIterator, PollResult, SignalDelivery, SignalIterator,
};
use signal_hook::iterator::exfiltrator::WithRawSiginfo;
use signal_hook::low_level::unregister;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
#[cfg(any(target_os = "android", target_os = "linux"))]
use watertight::block_signals;

/// A wait that looks once.
pub(crate) const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// The signals that are there to ask a program to end.
const ASKING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// `si_code` of a signal that a process has sent (Linux: SI_USER). It stands for that of the signals that are only noted: no key sends those.
const SENT: i32 = 0;

/// The signals that are heard. What was ignored when the program was started (by `nohup`, or for a job in the background) is not among them,
/// and stays ignored.
struct HeardSignals {
    asking: Vec<i32>,
    /// They ask for the account so far.
    account: Vec<i32>,
    /// All others that would end us. Timers, limits and strangers send them, and unheard they would end us alone.
    ending: Vec<i32>,
}

impl HeardSignals {
    fn new(account: &[i32]) -> Self {
        let is_wanted = |signal: &i32| !watertight::is_signal_ignored(*signal);
        let mut ending = watertight::ending_signals();
        ending.retain(|signal| !ASKING.contains(signal) && !account.contains(signal));
        Self {
            asking: ASKING.into_iter().filter(is_wanted).collect(),
            account: account.iter().copied().filter(is_wanted).collect(),
            ending,
        }
    }

    /// Those at which we end.
    fn requests(&self) -> Vec<i32> {
        [&self.asking[..], &self.ending[..]].concat()
    }

    /// Those with which somebody asks us for something.
    fn asked_for(&self) -> Vec<i32> {
        [&self.asking[..], &self.account[..]].concat()
    }

    /// The calling thread hears whoever asks us for something, although those signals were blocked when we were started. The others stay blocked
    /// then, and end nobody.
    fn unblock(&self) {
        watertight::unblock_signals(&self.asked_for());
    }
}

/// Where a handler leaves a signal, and where it is taken out: the stream is readable then.
type Delivery = SignalDelivery<UnixStream, WithRawSiginfo>;

/// Signals that are kept until there is a thread that hears them.
pub(crate) struct KeptSignals {
    /// None: the thread has them.
    kept: Option<Kept>,
    /// What ends the program at another signal as long as nobody hears them.
    at_another: Vec<SigId>,
    /// Whether anything may.
    may_end_at_another: bool,
}

struct Kept {
    delivery: Delivery,
    heard: HeardSignals,
    hear: Box<dyn FnMut(Signal) + Send>,
}

impl KeptSignals {
    /// From now on each signal that would end us, and those of `account`, are kept for `hear`. If `ends_at_another`, another signal that asks
    /// us to end than the first one that does ends the program at once as long as nobody hears them: for when nothing has been started or
    /// made by then that would have to be ended or removed first. The same one once more may be the same request (`requests.rs`): it waits
    /// for the thread. So may another one, but nothing else would end a program whose one thread is inside a call that hangs.
    pub(crate) fn keep(
        account: &[i32],
        ends_at_another: bool,
        hear: impl FnMut(Signal) + Send + 'static,
    ) -> io::Result<Self> {
        let heard = HeardSignals::new(account);
        // First, so that none is lost.
        let kept = Kept {
            delivery: delivery(&heard)?,
            heard,
            hear: Box::new(hear),
        };
        let mut signals = Self {
            kept: Some(kept),
            at_another: Vec::new(),
            may_end_at_another: ends_at_another,
        };
        signals.end_at_another()?;
        // Last: what was sent before our start comes now.
        if let Some(kept) = &signals.kept {
            unblock_here(&kept.heard);
        }
        Ok(signals)
    }

    /// From now on another signal than the first one ends the program at once, if it may.
    pub(crate) fn end_at_another(&mut self) -> io::Result<()> {
        let Some(kept) = self.kept.as_ref().filter(|_| self.may_end_at_another) else {
            return Ok(());
        };
        let asking = &kept.heard.asking;
        for &signal in asking {
            let has_come = Arc::new(AtomicBool::new(false));
            let code = 128 + signal;
            let end = flag::register_conditional_shutdown(signal, code, has_come.clone())?;
            self.at_another.push(end);
            for &other in asking.iter().filter(|other| **other != signal) {
                self.at_another
                    .push(flag::register(other, has_come.clone())?);
            }
        }
        Ok(())
    }

    /// From now on none ends the program by itself: for a wait that each of them ends.
    pub(crate) fn only_keep(&mut self) {
        for id in self.at_another.drain(..) {
            unregister(id);
        }
    }

    /// Starts the thread, once: `hear` is called with what was kept, and from now on with each signal. Before any other thread is started.
    pub(crate) fn begin(&mut self) -> io::Result<()> {
        let Some(kept) = self.kept.take() else {
            return Ok(());
        };
        spawn(kept.delivery, kept.heard, kept.hear)?;
        leave_signals();
        self.only_keep();
        Ok(())
    }

    /// What is readable while there are signals that nobody has heard; none once the thread hears them.
    pub(crate) fn waiting(&self) -> Option<BorrowedFd<'_>> {
        let kept = self.kept.as_ref()?;
        Some(kept.delivery.get_read().as_fd())
    }

    /// poll: whether there are any.
    pub(crate) fn is_any_waiting(&self) -> bool {
        self.waiting().is_some_and(|waiting| {
            let mut polled = [PollFd::new(&waiting, PollFlags::IN)];
            // What cannot be asked may be there.
            poll(&mut polled, Some(&AT_ONCE)) != Ok(0)
        })
    }
}

/// Who asks us to end before anybody hears that ends us, although those signals were blocked when we were started: we may be about to wait for a file
/// system that hangs. Children have the mask of the start, whatever this thread has.
#[cfg(any(target_os = "android", target_os = "linux"))]
pub(crate) fn let_requests_end_us() {
    watertight::unblock_signals(&ASKING);
}

/// Children have the mask of whoever starts them here: it stays as it is.
#[cfg(not(any(target_os = "android", target_os = "linux")))]
pub(crate) fn let_requests_end_us() {}

/// From now on `hear` is called with each signal that would end us. Before any other thread is started.
pub(crate) fn watch_signals(hear: impl FnMut(Signal) + Send + 'static) -> io::Result<()> {
    let heard = HeardSignals::new(&[]);
    spawn(delivery(&heard)?, heard, hear)
}

/// From now on `hear` is called when children of ours have ended, the adopted ones too; once for several, as signals do.
pub(crate) fn watch_children(mut hear: impl FnMut() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGCHLD])?;
    std::thread::Builder::new()
        .name("children".into())
        .spawn(move || {
            // It may have been blocked when we were started.
            watertight::unblock_signals(&[SIGCHLD]);
            signals.forever().for_each(|_| hear());
        })?;
    Ok(())
}

/// Children have the mask of whoever starts them here: nothing is blocked.
#[cfg(not(any(target_os = "android", target_os = "linux")))]
fn block_signals(_: &[i32]) {}

/// This thread hears them until there is one for that. Children have the mask of the start, whatever this thread has.
#[cfg(any(target_os = "android", target_os = "linux"))]
fn unblock_here(heard: &HeardSignals) {
    heard.unblock();
}

/// Children have the mask of whoever starts them here: it stays as it is.
#[cfg(not(any(target_os = "android", target_os = "linux")))]
fn unblock_here(_: &HeardSignals) {}

/// The ends of children are among them, whether they were ignored or not: where whoever starts us has them ignored, the system keeps
/// no status of a child's.
fn delivery(heard: &HeardSignals) -> io::Result<Delivery> {
    let asked_for = heard.asked_for();
    let (read, write) = UnixStream::pair()?;
    let wake = write.try_clone()?;
    // signal-hook sets its handler before the handler knows what to do, and what came in between would be lost.
    let delivery = watertight::without_signals(&asked_for, || {
        let signals = asked_for.iter().copied().chain([SIGCHLD]);
        SignalDelivery::with_pipe(read, write, WithRawSiginfo, signals)
    })?;
    // They are many, and of them nobody asks who has sent them. signal-hook would make a new list of all its handlers for each.
    watertight::note_signals(&heard.ending, wake)?;
    Ok(delivery)
}

/// Starts the thread that hears them. What has come by now is heard before that: nothing that happens from here on comes before it. The calling
/// thread can leave them to that one ([`leave_signals`]).
fn spawn(
    delivery: Delivery,
    heard: HeardSignals,
    mut hear: impl FnMut(Signal) + Send + 'static,
) -> io::Result<()> {
    // It is called once.
    let _ = REQUESTS.set(heard.requests());
    let keyboard = Keyboard::new();
    let mut tell = move |number: i32, code: i32| {
        if number != SIGCHLD {
            hear(Signal {
                number,
                is_typed: keyboard.has_sent(number, code),
                is_asking: ASKING.contains(&number),
            });
        }
    };
    let mut signals: OwningSignalIterator<UnixStream, WithRawSiginfo> =
        SignalIterator::new::<UnixStream>(delivery);
    while let PollResult::Signal(info) = signals.poll_signal(&mut look) {
        tell(info.si_signo, info.si_code);
    }
    watertight::take_noted_signals().for_each(|number| tell(number, SENT));
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            heard.unblock();
            loop {
                match signals.poll_signal(&mut wait) {
                    PollResult::Pending => {}
                    PollResult::Signal(info) => tell(info.si_signo, info.si_code),
                    // Nobody closes it, and nothing keeps a socket of our own from being read.
                    PollResult::Closed | PollResult::Err(_) => return,
                }
                watertight::take_noted_signals().for_each(|number| tell(number, SENT));
            }
        })?;
    Ok(())
}

/// The calling thread, and those that it starts from now on, leave the signals at which we end to the thread that hears them: the system would give one to a
/// thread that is inside a call which no signal ends. A run's main thread does so behind the start of its command, for std starts a child in the
/// quick way only with the mask that the calling thread has.
pub(crate) fn leave_signals() {
    if let Some(requests) = REQUESTS.get() {
        block_signals(requests);
    }
}

/// The signals at which we end, once a thread hears them.
static REQUESTS: OnceLock<Vec<i32>> = OnceLock::new();

/// poll, read: whether a signal has come by now. It may be one of the iterator's, whatever else is noted.
fn look(stream: &mut UnixStream) -> io::Result<bool> {
    let ready = poll(&mut [PollFd::new(&*stream, PollFlags::IN)], Some(&AT_ONCE));
    match ready {
        Ok(1..) => stream.read(&mut [0]).map(|bytes| bytes > 0),
        Ok(0) | Err(_) => Ok(false),
    }
}

/// read: until a signal has come. Whether it may be one of the iterator's, and none is noted that is to be taken.
fn wait(stream: &mut UnixStream) -> io::Result<bool> {
    loop {
        // The iterator may have emptied the stream just now, without one of its own.
        if watertight::is_any_signal_noted() {
            return Ok(false);
        }
        match stream.read(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            answer => return answer.map(|bytes| bytes > 0),
        }
    }
}
