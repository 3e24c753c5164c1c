//! The whole gate: every stage in order, a log for each, and one honest line at the end.
//!
//! What this machine cannot run is said, with the reason, and never counted as passed.

pub(crate) mod run;
mod stages;

use crate::machine::Machine;
use run::{Outcome, Verdict};
use stages::{Plan, Stage};
use std::path::Path;
use std::time::Duration;

/// What the arguments ask for.
#[derive(Debug, Default, Eq, PartialEq)]
struct Options {
    is_list: bool,
    is_quick: bool,
    is_without_skips: bool,
    only: Vec<String>,
}

impl Options {
    fn new(arguments: &[String]) -> Result<Options, String> {
        let mut options = Options::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--list" => options.is_list = true,
                "--quick" => options.is_quick = true,
                "--no-skips" => options.is_without_skips = true,
                "--only" => {
                    let names = rest.next().ok_or("--only needs the names of stages")?;
                    options.only.extend(names.split(',').map(str::to_owned));
                }
                _ => return Err(format!("ci knows no `{argument}`: see `cargo xtask help`")),
            }
        }
        let unknown = |name: &&String| !stages::ALL.iter().any(|stage| stage.name == **name);
        match options.only.iter().find(unknown) {
            Some(name) => Err(format!(
                "there is no stage `{name}`: see `cargo xtask ci --list`"
            )),
            None => Ok(options),
        }
    }

    fn wants(&self, stage: &Stage) -> bool {
        // On this system the stage `test` is that stage.
        if stage.name == std::env::consts::OS {
            return false;
        }
        let is_named = self.only.iter().any(|name| name == stage.name);
        let is_left_out = stage.is_on_request || (self.is_quick && stage.is_slow);
        is_named || (self.only.is_empty() && !is_left_out)
    }
}

/// A stage that is over.
struct Report {
    name: &'static str,
    outcome: Outcome,
    time: Duration,
}

/// The command `ci`. Its last line is always `N passed, N failed`.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<bool, String> {
    let options = Options::new(arguments)?;
    if options.is_list {
        for Stage { name, about, .. } in &stages::ALL {
            println!("{name:<16} {about}");
        }
        return Ok(true);
    }
    let reports = match Machine::new(root) {
        Ok(machine) => stages::ALL
            .iter()
            .filter(|stage| options.wants(stage))
            .map(|stage| one(&machine, stage, &options))
            .collect(),
        Err(message) => vec![Report {
            name: "machine",
            outcome: Outcome::failed(message),
            time: Duration::ZERO,
        }],
    };
    Ok(summarize(&reports))
}

fn one(machine: &Machine, stage: &Stage, options: &Options) -> Report {
    println!("== {}: {}", stage.name, stage.about);
    let log = Path::new("target/ci").join(format!("{}.log", stage.name));
    let started = std::time::Instant::now();
    let outcome = match (stage.plan)(machine) {
        Plan::Run(steps) => run::steps(&machine.root, &log, &steps, stages::TIME_MAX),
        Plan::Skip(reason) if options.is_without_skips => {
            Outcome::failed(format!("skipped, and skips are not allowed: {reason}"))
        }
        Plan::Skip(reason) => Outcome::skipped(reason),
    };
    let report = Report {
        name: stage.name,
        outcome,
        time: started.elapsed(),
    };
    match &report.outcome.verdict {
        Verdict::Failed(reason) => {
            for line in &report.outcome.tail {
                println!("   | {line}");
            }
            println!(
                "   FAILED in {}: {reason} (log: {})",
                seconds(report.time),
                log.display()
            );
        }
        Verdict::Passed => println!("   passed in {}{}", seconds(report.time), tests(&report)),
        Verdict::Skipped(reason) => println!("skipped: {}: {reason}", report.name),
    }
    report
}

fn tests(report: &Report) -> String {
    match report.outcome.tests {
        Some((passed, 0)) => format!(", {passed} tests"),
        Some((passed, failed)) => format!(", {passed} tests, {failed} failed"),
        None => String::new(),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Prints the table and the last line; whether nothing failed.
fn summarize(reports: &[Report]) -> bool {
    println!("\n== summary");
    for report in reports {
        let (word, reason) = match &report.outcome.verdict {
            Verdict::Failed(reason) => ("FAILED", format!(": {reason}")),
            Verdict::Passed => ("passed", tests(report)),
            Verdict::Skipped(_) => continue,
        };
        println!(
            "{:<16} {word} {:>9}{reason}",
            report.name,
            seconds(report.time)
        );
    }
    for report in reports {
        if let Verdict::Skipped(reason) = &report.outcome.verdict {
            println!("skipped: {}: {reason}", report.name);
        }
    }
    let (passed, failed) = total(reports);
    println!("{passed} passed, {failed} failed");
    failed == 0
}

/// Tests count one each; a stage without tests counts as one, and so does a failure that no test explains.
fn total(reports: &[Report]) -> (u64, u64) {
    let mut sum = (0, 0);
    for Report { outcome, .. } in reports {
        let (passed, failed) = match (&outcome.verdict, outcome.tests) {
            (Verdict::Skipped(_), _) => (0, 0),
            (Verdict::Passed, None) => (1, 0),
            (Verdict::Passed, Some(tests)) => tests,
            (Verdict::Failed(_), None) => (0, 1),
            (Verdict::Failed(_), Some((passed, failed))) => (passed, failed.max(1)),
        };
        sum = (sum.0 + passed, sum.1 + failed);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Result<Options, String> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        Options::new(&words)
    }

    #[test]
    fn options_are_read_and_wrong_ones_refused() {
        let wanted = options("--only fmt,tidy --no-skips").unwrap();
        assert_eq!(wanted.only, ["fmt", "tidy"]);
        assert!(wanted.is_without_skips && !wanted.is_quick);
        assert!(
            options("--only nothing")
                .unwrap_err()
                .contains("no stage `nothing`")
        );
        assert!(options("--only").is_err() && options("--fast").is_err());
    }

    #[test]
    fn quick_leaves_out_the_slow_stages_only() {
        let quick = options("--quick").unwrap();
        let all = Options::default();
        let names: Vec<&str> = stages::ALL
            .iter()
            .filter(|stage| all.wants(stage) && !quick.wants(stage))
            .map(|stage| stage.name)
            .collect();
        assert_eq!(
            names,
            [
                "faults",
                "twins",
                "coverage",
                "fuzz",
                "asan",
                "tsan",
                "valgrind",
                "windows-lab",
                "foreign"
            ]
        );
        let asked = options("--quick --only asan").unwrap();
        assert_eq!(
            stages::ALL
                .iter()
                .filter(|stage| asked.wants(stage))
                .count(),
            1
        );
    }

    #[test]
    fn the_total_counts_tests_and_stages_and_hides_no_failure() {
        let report = |verdict, tests| Report {
            name: "a",
            outcome: Outcome {
                verdict,
                tests,
                tail: Vec::new(),
            },
            time: Duration::ZERO,
        };
        let failed = || Verdict::Failed("why".to_owned());
        let reports = [
            report(Verdict::Passed, None),
            report(Verdict::Passed, Some((7, 0))),
            report(Verdict::Skipped("why".to_owned()), None),
            report(failed(), Some((5, 2))),
            report(failed(), Some((3, 0))),
            report(failed(), None),
        ];
        assert_eq!(total(&reports), (1 + 7 + 5 + 3, 2 + 1 + 1));
    }
}
