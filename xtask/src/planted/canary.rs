//! The canary: one bug in the driver (a lost byte in doubt), which the simulator's seeds must find, and which a seed that found it must find again.
//!
//! Part of every run of the gate: a simulator that has gone blind would be as quiet as one with nothing to tell.

use super::{Copy, log};
use crate::ci::run::{Step, Verdict};
use crate::machine;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const FOLDER: &str = "target/canary";
const LIMIT: Duration = Duration::from_secs(10 * 60);
/// Enough that the bug meets several of them, few enough for seconds.
const SEEDS: u64 = 4_000;

const FILE: &str = "crates/watertight/src/pump_write.rs";
/// A receipt that hands back less than the account says: the first chunk in doubt was under way longest, so it has arrived.
const FIND: &str = "Receipt::new(ending, self.half.ledger(), in_doubt, unsent)";
const REPLACE: &str = "let in_doubt = in_doubt.into_iter().skip(1).collect();
        Receipt::new(ending, self.half.ledger(), in_doubt, unsent)";

/// A seed that failed, and what was wrong.
#[derive(Debug, Eq, PartialEq)]
struct Failure {
    seed: u64,
    wrong: String,
}

/// The command `canary`. Whether the bug was found, found again, and is the only thing that was.
pub(crate) fn run(root: &Path) -> Result<bool, String> {
    let start = Instant::now();
    let commit = machine::answer("git", &["rev-parse", "HEAD"]).unwrap_or_default();
    let commit = match commit.trim() {
        "" => "0",
        commit => commit,
    };
    let seeds = format!("--commit {commit} seeds --count {SEEDS}");
    let sound = Copy {
        root: root.to_path_buf(),
    };
    let tree = Copy::new(root, FOLDER)?;
    let fate = tree.with(FILE, FIND, REPLACE, || found(&tree, &seeds))?;
    let failure = match fate {
        Ok(failure) => failure,
        Err(reason) => {
            println!("canary: NOT FOUND: {reason}");
            return Ok(false);
        }
    };
    let file = Path::new("target/canary/logs/sound.log");
    if let Verdict::Failed(reason) = sound.run_within(&simulate("", &seeds), file, LIMIT) {
        println!(
            "canary: without the bug the same seeds fail too: {reason}; see {}",
            file.display()
        );
        return Ok(false);
    }
    println!(
        "canary: found by seed {} and again by that seed alone ({}); {SEEDS} seeds pass without it; {:.0} s",
        failure.seed,
        failure.wrong.lines().next().unwrap_or_default(),
        start.elapsed().as_secs_f32()
    );
    Ok(true)
}

/// The first failing seed of many, which has failed once more by itself, in the same words.
fn found(tree: &Copy, seeds: &str) -> Result<Failure, String> {
    // What the simulator itself is built from, but for our own code, is built already.
    let place = "--target-dir ../../canary/build";
    let said = said(tree, &simulate(place, seeds), "seeds")?;
    let failure = first_failure(&said).ok_or("the seeds fail without naming one")?;
    let alone = format!("--seed {}", failure.seed);
    let again = self::said(tree, &simulate(place, &alone), "again")?;
    match wrong_again(&again) {
        Some(wrong) if wrong == failure.wrong => Ok(failure),
        wrong => Err(format!("at first: {failure:?}; its seed alone: {wrong:?}")),
    }
}

fn simulate(place: &str, words: &str) -> Step {
    Step::cargo(&format!(
        "run --release -p watertight-sim {place} -- {words}"
    ))
}

/// What a run says that has to fail.
fn said(tree: &Copy, step: &Step, what: &str) -> Result<String, String> {
    let log = log("canary", what);
    match tree.run_within(step, &log, LIMIT) {
        Verdict::Failed(_) => {
            let bytes = fs::read(tree.root.join(&log)).unwrap_or_default();
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        Verdict::Passed | Verdict::Skipped(_) => Err(format!("it passes; see {}", log.display())),
    }
}

/// `FAILED: cargo xtask sim --seed N`, and the lines up to the next of that kind.
fn first_failure(log: &str) -> Option<Failure> {
    let mut lines = log.lines();
    let seed = lines.find_map(|line| line.strip_prefix("FAILED: cargo xtask sim --seed "))?;
    Some(Failure {
        seed: seed.parse().ok()?,
        wrong: told(lines),
    })
}

/// What follows `WRONG: `.
fn wrong_again(log: &str) -> Option<String> {
    let (_, wrong) = log.split_once("\nWRONG: ")?;
    Some(told(wrong.lines()))
}

/// The lines that say what was wrong: up to the next failure, or to what the gate says of the command.
fn told<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let wrong = lines.take_while(|line| !line.starts_with("FAILED: ") && !line.starts_with('`'));
    wrong.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planted::patch;

    #[test]
    fn the_bug_still_finds_its_place() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let text = fs::read_to_string(root.join(FILE)).unwrap();
        assert!(patch(&text, FIND, REPLACE).is_ok());
    }

    #[test]
    fn a_seed_and_its_replay_say_the_same() {
        let seeds = "seeds 5 to 8\n4 seeds, 2 failures\nFAILED: cargo xtask sim --seed 7\nG1: a\nG5: b\n\
                     FAILED: cargo xtask sim --seed 8\nG1: c\n`cargo run`: exit status: 1\n";
        let failure = first_failure(seeds).unwrap();
        assert_eq!((failure.seed, &failure.wrong[..]), (7, "G1: a\nG5: b"));
        let again = "Scenario {\n}\nWRONG: G1: a\nG5: b\n`cargo run`: exit status: 1\n";
        assert_eq!(wrong_again(again), Some(failure.wrong));
        assert_eq!(first_failure("error: nothing was built"), None);
        assert_eq!(wrong_again("well, with 3 faults told\n"), None);
    }
}
