//! Mutation: one thing is changed at a time, and a test has to fail. What survives is either killed by a new test or explained
//! in docs/testing.md.
//!
//! A mutant that hangs is caught: no test of ours waits for ever, and the gate has a limit.

use crate::machine;
use std::path::Path;
use std::process::{Command, Stdio};

/// What is mutated, with which tests, and the score below which it fails.
struct Scope {
    name: &'static str,
    files: &'static [&'static str],
    /// Of what is in there, the mutants whose names hold one of these.
    only: &'static str,
    /// Arguments to `cargo test`.
    tests: &'static [&'static str],
    seconds_max: u32,
    percent_min: usize,
}

const SCOPES: [Scope; 2] = [
    Scope {
        name: "core",
        files: &["crates/watertight-core/src/*.rs"],
        only: ".",
        tests: &["--tests"],
        seconds_max: 25,
        percent_min: 97,
    },
    Scope {
        // What is decided under the lock. What is then carried out (calls, wakes, locks) is for the models and their twins.
        name: "driver",
        files: &[
            "crates/watertight/src/line.rs",
            "crates/watertight/src/pump_read.rs",
            "crates/watertight/src/pump_write.rs",
            "crates/watertight/src/seat.rs",
            "crates/watertight/src/timers.rs",
        ],
        only: "line.rs|seat.rs|timers.rs|State<B>::",
        // Each of these is over within seconds; the long runs would make it days.
        tests: &[
            "--lib",
            "--test=bounds",
            "--test=conformance",
            "--test=observer",
            "--test=seam",
            "--test=told",
            "--test=turns",
            "--test=waiting",
        ],
        seconds_max: 20,
        percent_min: 70,
    },
];

/// The command `mutants`.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<bool, String> {
    let wanted: Vec<&Scope> = match arguments {
        [] => SCOPES.iter().collect(),
        [name] => SCOPES.iter().filter(|scope| scope.name == name).collect(),
        _ => Vec::new(),
    };
    if wanted.is_empty() {
        return Err("mutants takes `core`, `driver` or nothing".to_owned());
    }
    if !machine::has_cargo_tool("mutants") {
        println!("skipped: mutants: no cargo-mutants: `cargo install cargo-mutants`");
        return Ok(true);
    }
    let mut is_enough = true;
    for scope in wanted {
        is_enough &= mutate(root, scope)?;
    }
    Ok(is_enough)
}

fn mutate(root: &Path, scope: &Scope) -> Result<bool, String> {
    let folder = root.join("target/mutants").join(scope.name);
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut command = Command::new("cargo");
    command
        .args(["mutants", "--jobs", "1", "--no-shuffle", "--output"])
        .arg(&folder)
        .args(scope.files.iter().flat_map(|file| ["--file", file]))
        .args(["--re", scope.only])
        .args(["--timeout", &scope.seconds_max.to_string()])
        .args(
            scope
                .tests
                .iter()
                // To the build too, which otherwise makes every test there is for every mutant.
                .map(|test| format!("--cargo-arg={test}")),
        )
        // It works in a copy of the tree, and builds there; the less it builds, the more it tries.
        .env_remove("CARGO_TARGET_DIR")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_PROFILE_TEST_DEBUG", "0")
        .env("CARGO_PROFILE_TEST_OPT_LEVEL", "0")
        .env("CARGO_INCREMENTAL", "1")
        .current_dir(root)
        .stdin(Stdio::null());
    let status = command
        .status()
        .map_err(|error| format!("cargo mutants does not run: {error}"))?;
    // 2: some were missed; 3: some timed out. Everything else means that the work was not done.
    if !matches!(status.code(), Some(0 | 2 | 3)) {
        return Err(format!("cargo mutants: {status}"));
    }
    let count = |list: &str| -> Result<usize, String> {
        let file = folder.join("mutants.out").join(list);
        let text = std::fs::read_to_string(&file)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(text.lines().count())
    };
    let score = Score {
        caught: count("caught.txt")?,
        hung: count("timeout.txt")?,
        missed: count("missed.txt")?,
    };
    println!("{}: {}", scope.name, score.text());
    Ok(score.tenths() >= 10 * scope.percent_min)
}

/// How many mutants met which end. Those that do not compile are nobody's.
struct Score {
    caught: usize,
    hung: usize,
    missed: usize,
}

impl Score {
    fn all(&self) -> usize {
        self.caught + self.hung + self.missed
    }

    /// Tenths of a percent, rounded down.
    fn tenths(&self) -> usize {
        1000 * (self.caught + self.hung) / self.all().max(1)
    }

    fn text(&self) -> String {
        let Score {
            caught,
            hung,
            missed,
        } = self;
        let tenths = self.tenths();
        format!(
            "of {} mutants {caught} caught by a failing test, {hung} by hanging, {missed} missed: {}.{} %",
            self.all(),
            tenths / 10,
            tenths % 10
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_counts_hanging_as_caught_and_is_rounded_down() {
        let score = Score {
            caught: 280,
            hung: 19,
            missed: 1,
        };
        assert_eq!(
            score.text(),
            "of 300 mutants 280 caught by a failing test, 19 by hanging, 1 missed: 99.6 %"
        );
    }

    #[test]
    fn nothing_tested_is_no_score() {
        let score = Score {
            caught: 0,
            hung: 0,
            missed: 0,
        };
        assert_eq!(score.tenths(), 0);
    }

    #[test]
    fn the_files_to_mutate_are_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let files = SCOPES.iter().flat_map(|scope| scope.files);
        for file in files.filter(|file| !file.contains('*')) {
            assert!(root.join(file).is_file(), "{file}");
        }
    }
}
