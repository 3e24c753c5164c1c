//! Transfers to several destinations, drawn from seeds: whatever comes in between, each destination gets the source's stream, and the
//! accounts say how much of it.

use crate::backend::{Sim, SimHandle};
use crate::chance::{Chance, pattern};
use crate::faults::{Faults, Storm};
use crate::kernel::{Kernel, Way};
use crate::manner::Manner;
use crate::pipe::{Got, Pipe, Shape};
use std::cell::Cell;
use std::future::Future;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use watertight::{
    DeadDestination, Driver, ErrorKind, PipeReader, PipeWriter, ReaderOptions, Tee, TeeDestination,
    TeeError, TeeOutcome, TeeTransfer, Wait, WriterOptions,
};
use watertight_core::OpKind;

/// How many are played.
const SEEDS: u64 = 400;

/// How many by operations, in each of the two ways.
const OPERATION_SEEDS: u64 = 100;

/// Both halves of the buffer where operations read: so much is read at most that not even the fastest destination has written.
const UNWRITTEN_BYTES_MAX: u64 = 2 * 64 * 1024;

/// How often something happens before everybody means well.
const DEEDS: u32 = 600;

/// So much larger is everything where operations read, so that one half of the buffer is little of it.
const OPERATION_SCALE: usize = 100;

/// How often everything moves on before a waiting value that nobody calls is a hang.
const IDLE_MAX: u32 = 100;

type Transferring<'t, 'a> = Wait<TeeTransfer<'t, 'a, Sim>>;
type TeeAnswer = Result<TeeOutcome, TeeError>;

/// It was called.
#[derive(Default)]
struct Called(AtomicBool);

impl Wake for Called {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

/// The peers: who feeds the source, which is pipe 0, and who reads the destinations behind it.
struct Peers {
    driver: Arc<Driver<Sim>>,
    data: Vec<u8>,
    fed: usize,
    got: Vec<Vec<u8>>,
    /// Which destinations were aborted.
    stopped: Vec<bool>,
    called: Arc<Called>,
    /// So many times as much is fed and read at once.
    scale: usize,
    /// How often a read and a write were in flight at once.
    at_once: Cell<u64>,
}

/// What was seen in a play.
struct Played {
    /// So many bytes never left the kernel.
    in_kernel: u64,
    at_once: u64,
}

impl Peers {
    /// Writes some of the rest; after the last byte the end.
    fn feed(&mut self, most: usize) {
        let mut kernel = self.driver.backend().lock();
        let len = most.min(self.data.len() - self.fed);
        let len = kernel.pipes[0].room(len);
        if len > 0 {
            kernel.pipes[0].push(&self.data[self.fed..self.fed + len]);
            kernel.settle(0);
            self.fed += len;
        }
        if self.fed == self.data.len() && kernel.pipes[0].writing {
            kernel.shut(0, false);
        }
    }

    /// Reads some of what came.
    fn drain(&mut self, destination: usize, most: usize) {
        let mut kernel = self.driver.backend().lock();
        let pipe = destination + 1;
        if let Got::Bytes(data, _) = kernel.pipes[pipe].pull(most) {
            self.got[destination].extend(data);
            kernel.settle(pipe);
        }
    }

    fn turn(&self) {
        // Helper threads do all they can.
        while self.driver.backend().lock().thread_step() {}
        self.driver.turn(&mut Vec::new());
    }

    /// Everybody does all there is to do, and a millisecond passes.
    fn go_on(&mut self) {
        self.feed(usize::MAX);
        for destination in 0..self.got.len() {
            self.drain(destination, usize::MAX);
        }
        self.driver.backend().lock().now.0 += 1_000_000;
        self.turn();
    }

    fn poll<F: Future + Unpin>(&self, waiting: &mut F) -> Poll<F::Output> {
        let waker = Waker::from(self.called.clone());
        let polled = Pin::new(waiting).poll(&mut Context::from_waker(&waker));
        self.look();
        polled
    }

    /// Looks at what the kernel was asked for.
    fn look(&self) {
        let kernel = self.driver.backend().lock();
        let is_in_flight = |kind| kernel.flights.keys().any(|id| id.kind == kind);
        let is_at_once = is_in_flight(OpKind::Read) && is_in_flight(OpKind::Write);
        self.at_once.set(self.at_once.get() + u64::from(is_at_once));
        let destinations = kernel.ends[1..].iter().take(self.got.len());
        let fastest = destinations.map(|end| end.transferred).max().unwrap_or(0);
        // Copies are with a destination before they have left the source.
        let unwritten = (kernel.pipes[0].read as u64).saturating_sub(fastest);
        assert!(unwritten <= UNWRITTEN_BYTES_MAX, "{unwritten} bytes");
    }

    /// Plays until the transfer is over, or given up.
    fn play(
        &mut self,
        waiting: &mut Transferring<'_, '_>,
        to: &[PipeWriter<Sim>],
        chance: &mut Chance,
        deeds: &mut u32,
    ) -> Option<TeeAnswer> {
        while *deeds > 0 {
            *deeds -= 1;
            match chance.index(8) {
                0 | 1 => self.feed(chance.length(1, 300 * self.scale)),
                2 | 3 => self.drain(chance.index(to.len()), chance.length(1, 300 * self.scale)),
                4 => self.turn(),
                5 if chance.one_in(10) => return None,
                6 if chance.one_in(60) => self.stop(to, chance.index(to.len())),
                _ => {
                    if let Poll::Ready(answer) = self.poll(waiting) {
                        return Some(answer);
                    }
                }
            }
        }
        Some(self.end(waiting))
    }

    /// Plays between files until the transfer is over: by a thread that waits and comes back at once, and now and then by a task.
    fn play_files(
        &mut self,
        tee: &mut Tee<'_, Sim>,
        (from, to): (&PipeReader<Sim>, &[PipeWriter<Sim>]),
        chance: &mut Chance,
    ) -> TeeAnswer {
        for _ in 0..DEEDS {
            match chance.index(8) {
                0 | 1 => self.turn(),
                2 if chance.one_in(8) => self.stop(to, chance.index(to.len())),
                3 => {
                    if let Poll::Ready(answer) = self.poll(&mut tee.transfer()) {
                        return answer;
                    }
                }
                _ => {
                    let answer = tee.transfer().within(Duration::ZERO).wait();
                    let is_late = |failed: &TeeError| failed.error.kind == ErrorKind::TimedOut;
                    if !answer.as_ref().is_err_and(is_late) {
                        return answer;
                    }
                }
            }
            self.look();
            // Copies leave the source's position where it is.
            let position = self.driver.backend().lock().pipes[0].read as u64;
            assert_eq!(from.ledger().accepted(), position);
        }
        self.end(&mut tee.transfer())
    }

    fn stop(&mut self, to: &[PipeWriter<Sim>], destination: usize) {
        self.stopped[destination] = true;
        let mut stopping = to[destination].abort();
        let _ = self.poll(&mut stopping);
    }

    /// Everybody means well, and it is polled only when it is called.
    fn end<F: Future + Unpin>(&mut self, waiting: &mut F) -> F::Output {
        loop {
            self.called.0.store(false, SeqCst);
            if let Poll::Ready(answer) = self.poll(waiting) {
                return answer;
            }
            let mut idle = 0;
            while !self.called.0.load(SeqCst) {
                idle += 1;
                assert!(idle < IDLE_MAX, "a hang, nobody wakes");
                self.go_on();
            }
        }
    }

    /// Each destination that counts got all that its account says, and nobody got anything but the source's stream.
    fn check(&mut self, to: &[PipeWriter<Sim>], accounts: &[TeeDestination], answer: TeeAnswer) {
        for (at, account) in accounts.iter().enumerate() {
            assert!(account.in_kernel <= account.bytes);
            if account.error.is_none() && !self.stopped[at] {
                let receipt = self.end(&mut to[at].finish()).expect("no deadline");
                assert!(receipt.is_complete(), "{receipt:?}");
                assert_eq!(receipt.ledger().accepted(), account.bytes);
            }
            self.drain(at, usize::MAX);
            let got = &self.got[at];
            assert!(self.data.starts_with(got), "destination {at}");
            let is_whole = got.len() as u64 == account.bytes;
            assert!(is_whole || account.error.is_some(), "destination {at}");
        }
        match answer {
            Ok(done) => {
                let counting = accounts.iter().filter(|account| account.error.is_none());
                let mut bytes = counting.map(|account| account.bytes);
                assert!(bytes.all(|bytes| bytes == done.bytes), "{accounts:?}");
                assert!(!done.has_ended || done.bytes == self.data.len() as u64);
            }
            Err(failed) => {
                let mut accounts = failed.destinations.iter();
                assert!(accounts.all(|account| account.error.is_some()), "{failed}");
            }
        }
    }
}

/// A source, and so many destinations, all of which are served in that way.
fn set(chance: &mut Chance, destinations: usize, way: Way) -> Peers {
    let scale = match way {
        Way::Overlapped | Way::Thread => OPERATION_SCALE,
        Way::Readiness => 1,
    };
    let manner = Manner {
        short_one_in: chance.pick(&[0, 2, 5]),
        spurious_one_in: chance.pick(&[0, 0, 0, 100]),
        ..Manner::kind()
    };
    let faults = Faults::new(Storm::default(), &[], chance.branch());
    let is_windows = way == Way::Overlapped;
    let mut kernel = Kernel::new(is_windows, faults, manner, chance.branch());
    for pipe in 0..=destinations {
        let (slots, page) = (chance.length(1, 6), scale * chance.length(20, 100));
        let shape = if is_windows {
            Shape::Quota {
                bytes: slots * page,
                messages: false,
            }
        } else {
            Shape::Pages { slots, page }
        };
        kernel.pipes.push(Pipe::new(shape));
        kernel.open(pipe, pipe > 0, way);
    }
    let bytes = chance.length(0, 4_000 * scale);
    Peers {
        driver: Arc::new(Driver::new(Sim::new(kernel))),
        data: (0..bytes).map(|at| pattern(7, at)).collect(),
        fed: 0,
        got: vec![Vec::new(); destinations],
        stopped: vec![false; destinations],
        called: Arc::default(),
        scale,
        at_once: Cell::new(0),
    }
}

/// A source and so many destinations that pass for files: everything is there from the beginning, and there is room for everything.
fn files(chance: &mut Chance, destinations: usize) -> Peers {
    let mut peers = set(chance, destinations, Way::Thread);
    {
        let mut kernel = peers.driver.backend().lock();
        for pipe in &mut kernel.pipes {
            *pipe = Pipe::new(Shape::Pages {
                slots: 100_000,
                page: 4_096,
            });
        }
    }
    peers.feed(usize::MAX);
    peers
}

/// The rate of some, in bytes a second: a portion is an eighth of the longest stream.
fn rate(scale: usize) -> NonZeroU64 {
    NonZeroU64::new(10_000 * scale as u64).expect("it is not zero")
}

/// Plays one seed.
fn play(seed: u64, way: Way) -> Played {
    let mut chance = Chance::new(seed);
    let destinations = chance.length(1, 4);
    let mut peers = set(&mut chance, destinations, way);
    let (driver, scale) = (peers.driver.clone(), peers.scale);
    let from = PipeReader::on(&driver, SimHandle(0), ReaderOptions::new());
    let writer = |end| {
        let queue_bytes_max = chance.pick(&[100_u64, 1_000]) * scale as u64;
        let options = WriterOptions::new().queue_bytes_max(queue_bytes_max);
        PipeWriter::on(&driver, SimHandle(end), options.op_bytes_max(400 * scale))
    };
    let to: Vec<_> = (1..=destinations).map(writer).collect();
    let seen = Mutex::new(Vec::new());
    let mut tee = Tee::new(&from, &to).expect("each is given once");
    tee.dead_destination(DeadDestination::Drop);
    let is_inspected = seed % 4 == 1;
    if is_inspected {
        tee.inspect(|bytes| seen.lock().expect("no panic").extend_from_slice(bytes));
    }
    if seed % 4 == 2 {
        tee.rate(rate(scale));
    }
    // Where operations read, more than both halves would be read ahead.
    if seed % 3 == 1 && way == Way::Readiness {
        tee.fill_queues();
    }
    if chance.one_in(3) {
        tee.bytes_max(chance.between(0, 4_000 * scale as u64));
    }
    let mut deeds = DEEDS;
    let answer = loop {
        let answer = peers.play(&mut tee.transfer(), &to, &mut chance, &mut deeds);
        assert_eq!(from.ledger().transferred(), tee.bytes());
        if let Some(answer) = answer {
            break answer;
        }
        if seed % 5 == 4 {
            // The others go on.
            tee.leave_out(0);
            peers.stop(&to, 0);
        }
    };
    if is_inspected {
        let seen = seen.lock().expect("no panic");
        assert_eq!(seen.len() as u64, tee.bytes());
        assert!(peers.data.starts_with(&seen), "what was shown");
    }
    let accounts = tee.destinations();
    peers.check(&to, &accounts, answer);
    let kernel = driver.backend().lock();
    assert!(kernel.wrongs.is_empty(), "{:?}", kernel.wrongs);
    let mut private = kernel.ends[destinations + 1..].iter();
    assert!(private.all(|end| end.closed), "a private pipe is left open");
    Played {
        in_kernel: accounts.iter().map(|account| account.in_kernel).sum(),
        at_once: peers.at_once.get(),
    }
}

/// Plays one seed between files. So many bytes never left the kernel.
fn play_files(seed: u64) -> u64 {
    let mut chance = Chance::new(seed);
    let destinations = chance.length(2, 4);
    let mut peers = files(&mut chance, destinations);
    let driver = peers.driver.clone();
    let from = PipeReader::on(&driver, SimHandle(0), ReaderOptions::new());
    let writer = |end| PipeWriter::on(&driver, SimHandle(end), WriterOptions::new());
    let to: Vec<_> = (1..=destinations).map(writer).collect();
    let mut tee = Tee::new(&from, &to).expect("each is given once");
    tee.dead_destination(DeadDestination::Drop);
    tee.in_kernel_everywhere();
    if chance.one_in(3) {
        tee.bytes_max(chance.between(0, 400_000));
    }
    let answer = peers.play_files(&mut tee, (&from, &to[..]), &mut chance);
    assert_eq!(from.ledger().transferred(), tee.bytes());
    let accounts = tee.destinations();
    peers.check(&to, &accounts, answer);
    let kernel = driver.backend().lock();
    assert!(kernel.wrongs.is_empty(), "{:?}", kernel.wrongs);
    accounts.iter().map(|account| account.in_kernel).sum()
}

/// Plays so many seeds in one way.
fn play_all(seeds: u64, way: Way) -> Played {
    let mut all = Played {
        in_kernel: 0,
        at_once: 0,
    };
    for seed in 0..seeds {
        let played = std::panic::catch_unwind(|| play(seed, way));
        let played = played.unwrap_or_else(|_| panic!("{way:?}, seed {seed}"));
        all.in_kernel += played.in_kernel;
        all.at_once += played.at_once;
    }
    all
}

#[test]
fn whatever_comes_in_between_each_destination_gets_the_stream() {
    let Played { in_kernel, .. } = play_all(SEEDS, Way::Readiness);
    assert!(in_kernel > 20_000, "{in_kernel} bytes inside the kernel");
}

/// Where operations read, too; and they do so while others write.
#[test]
fn whatever_comes_in_between_each_destination_gets_the_stream_by_operations() {
    for way in [Way::Overlapped, Way::Thread] {
        let played = play_all(OPERATION_SEEDS, way);
        assert_eq!(played.in_kernel, 0);
        let at_once = played.at_once;
        assert!(at_once > OPERATION_SEEDS, "{way:?}: {at_once} times");
    }
}

/// Between files, which get copies of the source's first bytes inside the kernel, by a thread that waits.
#[test]
fn whatever_comes_in_between_each_file_gets_the_stream() {
    let mut in_kernel = 0;
    for seed in 0..OPERATION_SEEDS {
        let played = std::panic::catch_unwind(|| play_files(seed));
        in_kernel += played.unwrap_or_else(|_| panic!("seed {seed}"));
    }
    assert!(in_kernel > 1_000_000, "{in_kernel} bytes inside the kernel");
}
