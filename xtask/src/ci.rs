//! The gate: stages and parts in order, a log for each, and one honest line at the end.
//!
//! What this machine cannot run is said, with the reason, and never counted as passed. Never here: what the stages do.

use crate::deep::{self, Part};
use crate::machine::{self, Machine};
use crate::quick;
use crate::run::{self, Outcome, Plan, Verdict};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A stage of the quick gate that takes longer is stopped, and has failed.
const STAGE_TIME_MAX: Duration = Duration::from_secs(15 * 60);
/// How many of the parts whose turn comes next are named.
const NEXT_TOLD: usize = 5;

/// What the arguments ask for.
#[derive(Debug, Default, Eq, PartialEq)]
struct Options {
    deep: Option<Vec<String>>,
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
                "--deep" => options.deep = Some(Vec::new()),
                "--list" => options.is_list = true,
                "--quick" => options.is_quick = true,
                "--no-skips" => options.is_without_skips = true,
                "--only" => {
                    let names = rest.next().ok_or("--only needs the names of stages")?;
                    options.only.extend(names.split(',').map(str::to_owned));
                }
                name => match &mut options.deep {
                    Some(parts) if !name.starts_with('-') => parts.push(name.to_owned()),
                    _ => return Err(format!("ci knows no `{name}`: see `cargo xtask help`")),
                },
            }
        }
        let stages = || quick::STAGES.iter().map(|stage| stage.0);
        let parts = || deep::PARTS.iter().map(|part| part.0);
        let unknown_stage = options
            .only
            .iter()
            .find(|name| !stages().any(|known| known == **name));
        let named = options.deep.iter().flatten();
        let unknown_part = named
            .clone()
            .find(|name| !parts().any(|known| known == **name));
        match (unknown_stage, unknown_part) {
            (Some(name), _) => Err(format!(
                "there is no stage `{name}`: see `cargo xtask ci --list`"
            )),
            (_, Some(name)) => Err(format!(
                "there is no part `{name}`: see `cargo xtask ci --list`"
            )),
            (None, None) => Ok(options),
        }
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
    let turns = deep::turns(root);
    if options.is_list {
        println!("quick: {}", quick::STAGES.map(|stage| stage.0).join(", "));
        let parts: Vec<&str> = turns.iter().map(|part| part.0).collect();
        println!("deep, in the order of their turns: {}", parts.join(", "));
        return Ok(true);
    }
    let machine = Machine::new(root)?;
    let mut reports = Vec::new();
    if options.deep.is_none() {
        let wanted =
            |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
        for stage in quick::STAGES.iter().filter(|stage| wanted(stage.0)) {
            println!("== {}", stage.0);
            reports.push(one(
                &machine,
                stage.0,
                (stage.1)(&machine),
                STAGE_TIME_MAX,
                &options,
            ));
        }
    }
    let is_named = options.deep.as_ref().is_some_and(|names| !names.is_empty());
    let mut parts = wanted_parts(&options, &turns).into_iter();
    for part in parts.by_ref() {
        println!("== deep part {}", part.0);
        let plan = (part.2)(&machine);
        let is_skipped = matches!(plan, Plan::Skip(_));
        let mut report = one(&machine, part.0, plan, deep::TIME_MAX, &options);
        forgive_once(
            &mut report,
            state_folder().as_deref(),
            &machine::commit(root),
        );
        reports.push(report);
        // One part a landing: one that cannot run here gives its turn to the next.
        if !is_named && !is_skipped {
            break;
        }
    }
    let next: Vec<&str> = parts.take(NEXT_TOLD).map(|part| part.0).collect();
    if !next.is_empty() {
        println!("deep parts whose turn comes next: {}, …", next.join(", "));
    }
    Ok(summarize(&reports))
}

/// The parts that are named, or all in the order of their turns; none in a quick run.
fn wanted_parts(options: &Options, turns: &[&'static Part]) -> Vec<&'static Part> {
    match &options.deep {
        Some(names) if !names.is_empty() => {
            let named = |name| deep::PARTS.iter().find(move |part| part.0 == name);
            names
                .iter()
                .filter_map(|name| named(name.as_str()))
                .collect()
        }
        None if options.is_quick || !options.only.is_empty() => Vec::new(),
        Some(_) | None => turns.to_vec(),
    }
}

fn one(
    machine: &Machine,
    name: &'static str,
    plan: Plan,
    limit: Duration,
    options: &Options,
) -> Report {
    let log = Path::new("target/ci").join(format!("{name}.log"));
    let started = Instant::now();
    let outcome = match plan {
        Plan::Run(steps) => run::steps(&machine.root, &log, &steps, limit),
        Plan::Skip(reason) if options.is_without_skips => Outcome::of(Verdict::Failed(format!(
            "skipped, and skips are not allowed: {reason}"
        ))),
        Plan::Skip(reason) => Outcome::of(Verdict::Skipped(reason)),
    };
    let time = started.elapsed();
    let report = Report {
        name,
        outcome,
        time,
    };
    match &report.outcome.verdict {
        Verdict::Failed(reason) | Verdict::Unfinished(reason) => {
            for line in &report.outcome.tail {
                println!("   | {line}");
            }
            println!(
                "   FAILED in {}: {reason} (log: {})",
                seconds(time),
                log.display()
            );
        }
        Verdict::Passed => println!("   passed in {}{}", seconds(time), tests(&report)),
        Verdict::Skipped(reason) => println!("skipped: {name}: {reason}"),
    }
    report
}

/// Where it is kept which parts did not finish: not in the tree, which is a fresh clone each time.
fn state_folder() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    Some(cache.join("watertight-ci"))
}

/// A part that is stopped at its limit is reported; if it was stopped the last time too, with another commit, it has failed. The
/// same commit again is the same landing, tried first by whoever made it.
fn forgive_once(report: &mut Report, folder: Option<&Path>, commit: &str) {
    let mark = folder.map(|folder| folder.join(format!("{}.unfinished", report.name)));
    let unfinished_with = mark
        .as_deref()
        .and_then(|mark| std::fs::read_to_string(mark).ok());
    let was_unfinished = unfinished_with.is_some();
    let is_forgiven = unfinished_with.is_none_or(|before| before.trim() == commit);
    match (&report.outcome.verdict, &mark) {
        (Verdict::Unfinished(reason), Some(mark)) if is_forgiven => {
            let kept = mark
                .parent()
                .is_some_and(|folder| std::fs::create_dir_all(folder).is_ok())
                && std::fs::write(mark, commit).is_ok();
            if kept {
                let reason = format!("NOT FINISHED ({reason}); twice running is a failure");
                report.outcome.verdict = Verdict::Skipped(reason);
                return;
            }
        }
        (Verdict::Passed, Some(mark)) if was_unfinished => {
            if let Err(error) = std::fs::remove_file(mark) {
                println!("   {}: {error}", mark.display());
            }
        }
        _ => {}
    }
    if let Verdict::Unfinished(reason) = &report.outcome.verdict {
        report.outcome.verdict = Verdict::Failed(format!("{reason}, twice running"));
    }
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
            Verdict::Failed(reason) | Verdict::Unfinished(reason) => {
                ("FAILED", format!(": {reason}"))
            }
            Verdict::Passed => ("passed", tests(report)),
            Verdict::Skipped(_) => continue,
        };
        println!(
            "{:<13} {word} {:>9}{reason}",
            report.name,
            seconds(report.time)
        );
    }
    let time: Duration = reports.iter().map(|report| report.time).sum();
    println!("{:<13}        {:>9}", "together", seconds(time));
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
            (Verdict::Failed(_) | Verdict::Unfinished(_), None) => (0, 1),
            (Verdict::Failed(_) | Verdict::Unfinished(_), Some((passed, failed))) => {
                (passed, failed.max(1))
            }
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
        assert!(
            options("--deep nothing")
                .unwrap_err()
                .contains("no part `nothing`")
        );
        assert!(
            options("--only").is_err() && options("--fast").is_err() && options("asan").is_err()
        );
    }

    #[test]
    fn a_quick_run_has_no_deep_part_and_names_choose_theirs() {
        let turns: Vec<&Part> = deep::PARTS.iter().collect();
        let count = |text: &str| wanted_parts(&options(text).unwrap(), &turns).len();
        assert_eq!((count("--quick"), count("--only fmt")), (0, 0));
        assert_eq!(
            (count(""), count("--deep"), count("--deep asan tsan")),
            (turns.len(), turns.len(), 2)
        );
    }

    fn report(verdict: Verdict, tests: Option<(u64, u64)>) -> Report {
        let outcome = Outcome {
            verdict,
            tests,
            tail: Vec::new(),
        };
        Report {
            name: "a",
            outcome,
            time: Duration::ZERO,
        }
    }

    #[test]
    fn a_part_that_does_not_finish_fails_the_second_time_running() {
        let folder = std::env::temp_dir().join(format!("watertight-ci-{}", std::process::id()));
        let end = |verdict, commit| {
            let mut report = report(verdict, None);
            forgive_once(&mut report, Some(&folder), commit);
            report.outcome.verdict
        };
        let unfinished = || Verdict::Unfinished("why".to_owned());
        for turn in ["first", "again"] {
            assert!(
                matches!(end(unfinished(), "a"), Verdict::Skipped(reason) if reason.contains("NOT FINISHED")),
                "{turn}: one commit is one landing"
            );
        }
        assert!(
            matches!(end(unfinished(), "b"), Verdict::Failed(reason) if reason.contains("twice"))
        );
        assert_eq!(end(Verdict::Passed, "c"), Verdict::Passed);
        assert!(
            matches!(end(unfinished(), "d"), Verdict::Skipped(_)),
            "a pass in between is forgiven"
        );
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_total_counts_tests_and_stages_and_hides_no_failure() {
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
