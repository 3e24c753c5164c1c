//! One run: a scenario on a kernel with its faults and its manner, and everything that must be true of it.

use crate::actors::{WriterActor, spawn_writer};
use crate::backend::Sim;
use crate::chance::Chance;
use crate::codes::Call;
use crate::faults::{Faults, Nth, Storm};
use crate::kernel::Kernel;
use crate::manner::Manner;
use crate::peer::Peer;
use crate::pipe::Pipe;
use crate::read_task::{ReaderActor, ReaderTask, spawn_reader};
use crate::script::{PipeSetup, Scenario};
use crate::timed::{settle, sleep};
use crate::world::{World, current};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use watertight::{Census, Driver, Ledger, ReadReceipt, Receipt};
use watertight_core::Moment;

/// What is planned for a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Faults by number.
    pub nth: Vec<Nth>,
    /// Faults by chance.
    pub storm: Storm,
    /// All other cruelty.
    pub manner: Manner,
    /// Who runs when, and everything else that is drawn.
    pub seed: u64,
    /// Decides who runs when, before the seed does.
    pub tape: Vec<u8>,
    /// Everything that happens is printed.
    pub is_told: bool,
}

/// What a run that went well leaves.
#[derive(Clone, Debug)]
pub struct Report {
    /// Calls, answers and peers' doings.
    pub events: u64,
    /// The fallible calls, in order.
    pub kinds: Vec<Call>,
    /// How many faults were told.
    pub faults: u64,
}

/// Steps of the part that the seed decides.
const STEPS_WILD: u32 = 600;
/// Steps of the part in which everybody means well; more is a livelock.
const STEPS_CALM: u32 = 20_000;
/// Steps after which a fault that is told for ever has shown what it does.
const STEPS_FOREVER: u32 = 1_500;
/// How long, in simulated time, a run may take once everybody means well.
const ENDS_WITHIN: Duration = Duration::from_secs(600);

impl Plan {
    /// No faults, and no cruelty.
    #[must_use]
    pub fn clean(seed: u64) -> Self {
        Self {
            nth: Vec::new(),
            storm: Storm::default(),
            manner: Manner::kind(),
            seed,
            tape: Vec::new(),
            is_told: false,
        }
    }

    fn lasts(&self) -> bool {
        self.nth.iter().any(|nth| nth.forever)
    }
}

/// Runs it, on a thread of its own: what the library keeps per thread (how many answers in a row were ready) begins anew, so
/// that a seed does alone what it does among others.
///
/// # Errors
/// What was wrong, one line each.
pub fn run(scenario: &Scenario, plan: &Plan) -> Result<Report, String> {
    let ran = std::thread::scope(|scope| {
        let run = scope.spawn(|| Run::new(scenario, plan).to_end());
        run.join()
    });
    ran.unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("a panic: {}", said.unwrap_or("of no words")))
    })
}

struct Run {
    world: Rc<World>,
    writers: Rc<RefCell<Vec<WriterActor>>>,
    readers: Rc<RefCell<Vec<ReaderActor>>>,
    lasts: bool,
}

/// Makes ends in the middle of a run.
struct Opener {
    writers: Rc<RefCell<Vec<WriterActor>>>,
    readers: Rc<RefCell<Vec<ReaderActor>>>,
}

impl Opener {
    fn open(&self, setup: &PipeSetup, writes: Option<usize>, reads: Option<usize>) {
        let world = current();
        if let (Some(writer), Some(end)) = (&setup.writer, writes) {
            let source = writer.source.and_then(|pipe| self.source(pipe));
            let actor = spawn_writer(&world, end, writer, source);
            self.writers.borrow_mut().push(actor);
        }
        if let (Some(reader), Some(end)) = (&setup.reader, reads) {
            let actor = spawn_reader(&world, end, reader);
            self.readers.borrow_mut().push(actor);
        }
    }

    /// The reading end of that pipe, for a task that passes on what comes out of it.
    fn source(&self, pipe: usize) -> Option<ReaderTask> {
        let world = current();
        let readers = self.readers.borrow();
        let of_it = readers.iter().find(|reader| {
            let end = reader.book.borrow().end;
            world.driver.backend().lock().ends[end].pipe == pipe
        });
        of_it?.share()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.world.end();
    }
}

impl Run {
    fn new(scenario: &Scenario, plan: &Plan) -> Self {
        let mut chance = Chance::new(plan.seed);
        let faults = Faults::new(plan.storm.clone(), &plan.nth, chance.branch());
        let manner = plan.manner.clone();
        let mut kernel = Kernel::new(scenario.is_windows, faults, manner, chance.branch());
        kernel.is_told = plan.is_told;
        let mut peers = Vec::new();
        let mut ends = Vec::new();
        for (at, setup) in scenario.pipes.iter().enumerate() {
            let mut pipe = Pipe::new(setup.shape);
            pipe.listening = setup.listening;
            kernel.pipes.push(pipe);
            let writes = setup
                .writer
                .as_ref()
                .map(|_| kernel.open(at, true, setup.way));
            let reads = setup
                .reader
                .as_ref()
                .map(|_| kernel.open(at, false, setup.way));
            if writes.is_none() || reads.is_none() {
                let deeds = setup.deeds.clone();
                peers.push(Peer::new(at, reads.is_none(), deeds, setup.stubborn));
            }
            ends.push((writes, reads));
        }
        let driver = Arc::new(Driver::new(Sim::new(kernel)));
        let chance = Chance::with_tape(plan.seed, plan.tape.clone());
        let world = World::new(driver, chance);
        world.peers.replace(peers);
        let run = Self {
            world: world.clone(),
            writers: Rc::default(),
            readers: Rc::default(),
            lasts: plan.lasts(),
        };
        for (setup, (writes, reads)) in scenario.pipes.iter().zip(ends) {
            if setup.opens.is_zero() {
                run.open(setup, writes, reads);
                continue;
            }
            let (setup, run) = (setup.clone(), run.share());
            world.spawn("a pipe that comes later".into(), async move {
                sleep(setup.opens).await;
                run.open(&setup, writes, reads);
            });
        }
        if let Some((after, within)) = scenario.settles {
            world.spawn("settle".into(), settle(after, within));
        }
        run
    }

    fn share(&self) -> Opener {
        Opener {
            writers: self.writers.clone(),
            readers: self.readers.clone(),
        }
    }

    fn open(&self, setup: &PipeSetup, writes: Option<usize>, reads: Option<usize>) {
        self.share().open(setup, writes, reads);
    }

    fn to_end(&self) -> Result<Report, String> {
        self.steps(STEPS_WILD)?;
        self.calm();
        let most = if self.lasts {
            STEPS_FOREVER
        } else {
            STEPS_CALM
        };
        let quiet = self.steps(most)?;
        let unfinished = self.world.unfinished();
        if !unfinished.is_empty() {
            if !self.lasts {
                let why = if quiet {
                    "nobody wakes"
                } else {
                    "nothing ends"
                };
                return Err(format!("a hang, {why}: {}", unfinished.join(", ")));
            }
            self.give_up()?;
        }
        self.repair();
        if !self.steps(STEPS_CALM)? {
            return Err("a livelock after the end".into());
        }
        self.check_end()?;
        let kernel = self.world.driver.backend().lock();
        Ok(Report {
            events: kernel.events,
            kinds: kernel.faults.kinds().to_vec(),
            faults: kernel.faults.told(),
        })
    }

    /// Goes on until nothing can happen any more (true) or for so many steps.
    fn steps(&self, most: u32) -> Result<bool, String> {
        let since = self.world.driver.backend().lock().now;
        for _ in 0..most {
            if !self.world.step() {
                self.check_quiet();
                self.check()?;
                return Ok(true);
            }
        }
        self.check()?;
        let kernel = self.world.driver.backend().lock();
        let took = since.until(kernel.now);
        if most == STEPS_CALM && took > ENDS_WITHIN {
            return Err(format!("not over after {took:?} of simulated time"));
        }
        Ok(false)
    }

    /// From here on peers go on to the end of their streams, and nothing new goes wrong.
    fn calm(&self) {
        let mut kernel = self.world.driver.backend().lock();
        kernel.tell(|| "== everybody means well from here on".into());
        kernel.faults.calm();
        kernel.manner.calm();
        kernel.hasten();
        drop(kernel);
        for peer in self.world.peers.borrow_mut().iter_mut() {
            peer.relent();
        }
    }

    /// With a fault that lasts, not everything can be done; but every pipe can be stopped, and everybody gets an answer.
    fn give_up(&self) -> Result<(), String> {
        let now = self.world.now();
        for writer in self.writers.borrow().iter() {
            writer.book.borrow_mut().abort_asked.get_or_insert(now);
            if let Some(handle) = writer.handle.upgrade() {
                self.world.spawn("abort of a writer".into(), async move {
                    let _receipt = handle.abort().await;
                });
            }
        }
        for reader in self.readers.borrow().iter() {
            let step = self.world.driver.backend().lock().step;
            reader.book.borrow_mut().given_up.get_or_insert(step);
            reader.book.borrow_mut().abort_asked.get_or_insert(now);
            if let Some(handle) = reader.handle.upgrade() {
                self.world.spawn("abort of a reader".into(), async move {
                    let _receipt = handle.abort().await;
                });
            }
        }
        for _ in 0..STEPS_CALM {
            if self.world.unfinished().is_empty() {
                return self.check();
            }
            if !self.world.step() {
                break;
            }
        }
        let unfinished = self.world.unfinished();
        if unfinished.is_empty() {
            return self.check();
        }
        Err(format!(
            "a hang although aborted: {}",
            unfinished.join(", ")
        ))
    }

    /// The fault that lasted is over: what it held up must be released.
    fn repair(&self) {
        let mut kernel = self.world.driver.backend().lock();
        kernel.faults.repair();
        // Whatever failed for ever to wait is tried again.
        kernel.woken = true;
        let now = kernel.now;
        kernel.now = now.max(Moment(kernel.latest.0));
    }

    /// Nothing can happen any more: nobody waits for what is there, and nothing runs that nobody waits for.
    fn check_quiet(&self) {
        let mut kernel = self.world.driver.backend().lock();
        for writer in self.writers.borrow().iter() {
            let book = writer.book.borrow();
            let there = kernel.ends[book.end].transferred;
            if let Some(target) = book.flushing.iter().find(|target| **target <= there) {
                let told = format!("a flush of {target} bytes waits, {there} are transferred");
                kernel.wrong(told);
            }
            let runs = book.asking == 0 && kernel.asks_unheard(book.end);
            if runs {
                kernel.wrong("a question runs on that nobody waits for");
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        let mut wrongs = std::mem::take(&mut self.world.driver.backend().lock().wrongs);
        for writer in self.writers.borrow().iter() {
            wrongs.append(&mut writer.book.borrow_mut().wrongs);
            let mut heard = writer.heard.lock().unwrap_or_else(PoisonError::into_inner);
            wrongs.append(&mut heard.wrongs);
        }
        for reader in self.readers.borrow().iter() {
            wrongs.append(&mut reader.book.borrow_mut().wrongs);
        }
        if wrongs.is_empty() {
            Ok(())
        } else {
            Err(wrongs.join("\n"))
        }
    }

    /// Everything is over: nothing is left anywhere, and the sums are right.
    fn check_end(&self) -> Result<(), String> {
        self.check_receipts();
        self.check()?;
        let census = self.world.driver.census();
        let kernel = self.world.driver.backend().lock();
        let mut wrongs = Vec::new();
        let open: Vec<usize> = (0..kernel.ends.len())
            .filter(|end| !kernel.ends[*end].closed)
            .collect();
        if !open.is_empty() {
            wrongs.push(format!("G1: handles left open: {open:?}"));
        }
        if !kernel.flights.is_empty() {
            wrongs.push(format!(
                "G1: operations left in flight: {:?}",
                kernel.flights
            ));
        }
        let left = (census.pipes, census.operations_in_flight, census.lingering);
        if left != (0, 0, 0) || census.quarantined != 0 || census.foreign_panics != 0 {
            wrongs.push(format!("left behind: {census:?}"));
        }
        if census.pipes_ended != kernel.ends.len() as u64 {
            wrongs.push(format!("{} ends, {census:?}", kernel.ends.len()));
        }
        wrongs.extend(self.check_census(&census, &kernel));
        wrongs.extend(self.check_sums(&kernel, census.bytes_late));
        wrongs.extend(self.check_unheard(census.failures_late));
        if wrongs.is_empty() {
            Ok(())
        } else {
            Err(wrongs.join("\n"))
        }
    }

    /// What the census counts of what ended is the sum of what was told of it.
    fn check_census(&self, census: &Census, kernel: &Kernel) -> Option<String> {
        let (writers, readers) = (self.writers.borrow(), self.readers.borrow());
        let panicked = writers.iter().filter(|writer| writer.has_panicked());
        if census.observer_panics != panicked.count() as u64
            || census.wait_failures != kernel.wait_failures
        {
            return Some(format!("S7: {census:?}"));
        }
        let of_writers = writers
            .iter()
            .map(|one| one.book.borrow().receipt.as_ref().map(Receipt::ledger));
        let of_readers = readers
            .iter()
            .map(|one| one.book.borrow().receipt.as_ref().map(ReadReceipt::ledger));
        // A dropped end without an observer tells nobody.
        let all: Option<Vec<Ledger>> = of_writers.chain(of_readers).collect();
        let all = all?;
        let sum = |column: fn(&Ledger) -> u64| all.iter().map(column).sum::<u64>();
        let told = (
            sum(Ledger::transferred),
            sum(Ledger::discarded),
            sum(Ledger::in_doubt),
            sum(|one| u64::from(one.transferred() < one.accepted())),
        );
        let counted = (
            census.bytes_transferred,
            census.bytes_discarded,
            census.bytes_in_doubt,
            census.pipes_incomplete,
        );
        (told != counted).then(|| format!("S7: told {told:?}, {census:?}"))
    }

    fn check_receipts(&self) {
        let kernel = self.world.driver.backend().lock();
        for writer in self.writers.borrow().iter() {
            let mut book = writer.book.borrow_mut();
            let heard = writer.receipts_heard();
            if heard.len() > 1 {
                book.wrong("D6: told the ending twice");
            }
            if heard.is_empty() && book.is_watched && !writer.has_panicked() {
                book.wrong("D6: never told the ending");
            }
            let told = book.receipt.take().into_iter().chain(heard);
            for receipt in told.collect::<Vec<_>>() {
                book.check_receipt(&receipt, &kernel);
            }
        }
        for reader in self.readers.borrow().iter() {
            let mut book = reader.book.borrow_mut();
            if book.is_shared
                && let Some(receipt) = book.receipt.take()
            {
                book.check_receipt(&receipt, &kernel);
            }
        }
    }

    /// A failure that no receipt names was counted as late.
    fn check_unheard(&self, late: u64) -> Option<String> {
        let (writers, readers) = (self.writers.borrow(), self.readers.borrow());
        let writers = writers
            .iter()
            .map(|writer| writer.book.borrow().unheard.clone());
        let readers = readers
            .iter()
            .map(|reader| reader.book.borrow().unheard.clone());
        let unheard: Vec<String> = writers.chain(readers).flatten().collect();
        (unheard.len() as u64 > late).then(|| unheard.join("\n"))
    }

    /// What left the pipes is what the readers accepted, and what came too late for them.
    fn check_sums(&self, kernel: &Kernel, late: u64) -> Option<String> {
        let mut read = 0;
        let mut accepted = 0;
        for reader in self.readers.borrow().iter() {
            let book = reader.book.borrow();
            read += kernel.pipes[kernel.ends[book.end].pipe].read as u64;
            accepted += match &book.receipt {
                Some(receipt) => receipt.ledger().accepted(),
                // A dropped reader tells nobody what it had not handed over.
                None => return None,
            };
        }
        (read != accepted + late)
            .then(|| format!("G5: {read} bytes read from pipes, {accepted} accepted, {late} late"))
    }
}
