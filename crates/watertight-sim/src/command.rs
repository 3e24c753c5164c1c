//! The command line of the simulator.

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use std::time::Instant;
use watertight_sim::codes::Code;
use watertight_sim::faults::Nth;
use watertight_sim::{cells, draw, fault_loop, run, seeds};

/// Runs watertight's driver on a hostile simulated kernel.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:
  cargo xtask sim                         everything the gate asks for, seeded by the commit
  cargo xtask sim --seed 4204             one seed again, everything that happens told
  cargo xtask sim seeds --count 1000000   a million seeds
  cargo xtask sim faults                  every fault at every call of every scenario
  cargo xtask sim faults --only \"pipe: write, finish\" --fault 2:once:3")]
struct Options {
    /// Runs this one seed and tells everything that happens.
    #[arg(long)]
    seed: Option<u64>,
    /// The commit whose hash is the first seed.
    #[arg(long, default_value = "0")]
    commit: String,
    /// How many threads; by default as many as there are processors.
    #[arg(long)]
    threads: Option<usize>,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Many seeds, one run each.
    Seeds {
        /// The first; by default the commit's.
        #[arg(long)]
        from: Option<u64>,
        /// How many.
        #[arg(long, default_value_t = SEEDS)]
        count: u64,
    },
    /// Every fallible call of every scenario fails in turn.
    Faults {
        /// Only this scenario, with these faults, told.
        #[arg(long, requires = "fault")]
        only: Option<String>,
        /// The n-th call fails once or for ever with the code of this place in its system's table: N:once:CODE.
        #[arg(long, value_parser = fault, requires = "only")]
        fault: Vec<Nth>,
    },
}

/// What one run of the gate does at least.
const SEEDS: u64 = 120_000;
const EVENTS_MIN: u64 = 10_000_000;
const SCENARIOS_MIN: usize = 100;
const FAULTED_MIN: u64 = 20_000;

pub(super) fn main() -> ExitCode {
    let options = Options::parse();
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = options.threads.unwrap_or(available);
    if options.seed.is_none() {
        // Panics are caught and told with their seed; the hook would tell each of them a second time.
        std::panic::set_hook(Box::new(|_| {}));
    }
    let first = first_seed(&options.commit);
    let is_well = match (options.seed, options.part) {
        (Some(seed), _) => replay(seed),
        (None, Some(Part::Seeds { from, count })) => {
            run_seeds(from.unwrap_or(first), count, threads)
        }
        (
            None,
            Some(Part::Faults {
                only: Some(name),
                fault,
            }),
        ) => replay_faults(&name, &fault),
        (None, Some(Part::Faults { only: None, .. })) => run_faults(threads),
        (None, None) => {
            let seeds = run_seeds(first, SEEDS, threads);
            let faults = run_faults(threads);
            count_cells() && seeds && faults
        }
    };
    if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The first digits of a commit's hash.
fn first_seed(commit: &str) -> u64 {
    let digits = commit.get(..12).unwrap_or(commit);
    u64::from_str_radix(digits, 16).unwrap_or(0)
}

fn fault(text: &str) -> Result<Nth, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let wrong = || format!("`{text}` is not N:once:CODE or N:for-ever:CODE");
    let [at, how @ ("once" | "for-ever"), code] = parts[..] else {
        return Err(wrong());
    };
    Ok(Nth {
        at: at.parse().map_err(|_| wrong())?,
        forever: how == "for-ever",
        code: Code(code.parse().map_err(|_| wrong())?),
    })
}

fn replay(seed: u64) -> bool {
    let (scenario, mut plan) = draw::draw(seed);
    plan.is_told = true;
    println!("{scenario:#?}\n{plan:#?}");
    say(run::run(&scenario, &plan).map(|report| report.faults))
}

fn replay_faults(name: &str, nth: &[Nth]) -> bool {
    say(fault_loop::replay(name, nth))
}

fn say(ran: Result<u64, String>) -> bool {
    match &ran {
        Ok(faults) => println!("well, with {faults} faults told"),
        Err(wrong) => println!("WRONG: {wrong}"),
    }
    ran.is_ok()
}

fn run_seeds(first: u64, count: u64, threads: usize) -> bool {
    let started = Instant::now();
    println!(
        "seeds {first} to {}",
        first.wrapping_add(count.saturating_sub(1))
    );
    let every = (count / 10).max(1);
    let tally = seeds::run_all(first, count, threads, |done| {
        if done > 0 && done % every == 0 {
            println!("  {done} of {count}");
        }
    });
    println!(
        "{} seeds, {} simulated operations, {} faults, {} failures, {:.1} s",
        tally.seeds,
        tally.events,
        tally.faults,
        tally.failures.len(),
        started.elapsed().as_secs_f64()
    );
    for (seed, wrong) in &tally.failures {
        println!("FAILED: cargo xtask sim --seed {seed}\n{wrong}");
    }
    let is_enough = count < SEEDS || tally.events >= EVENTS_MIN;
    if !is_enough {
        println!("too few operations: the seeds are to make {EVENTS_MIN}");
    }
    tally.failures.is_empty() && is_enough
}

fn run_faults(threads: usize) -> bool {
    let started = Instant::now();
    let tally = fault_loop::run_all(threads);
    println!(
        "{} scenarios, {} runs, {} of them with faults told, {} simulated operations, {} failures, {:.1} s",
        tally.scenarios,
        tally.runs,
        tally.faulted,
        tally.events,
        tally.failures.len(),
        started.elapsed().as_secs_f64()
    );
    for told in tally.failures.iter().take(TOLD_MAX) {
        println!("FAILED: {told}");
    }
    let is_enough = tally.scenarios >= SCENARIOS_MIN && tally.faulted >= FAULTED_MIN;
    if !is_enough {
        println!("too few: {SCENARIOS_MIN} scenarios and {FAULTED_MIN} faulted runs are the least");
    }
    tally.failures.is_empty() && is_enough
}

/// How many failures of the loop are told.
const TOLD_MAX: usize = 20;

fn count_cells() -> bool {
    let life = cells::of_life();
    let constructions = cells::of_constructions();
    println!(
        "cells (call x code): {} of {} told to the real driver, {} of {} of the other calls told as errors",
        life.driven, life.all, constructions.driven, constructions.all
    );
    for (call, raw) in cells::missing() {
        println!("never driven: {call:?} {raw}");
    }
    life.driven == life.all && constructions.driven == constructions.all
}
