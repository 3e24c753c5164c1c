//! Runs the commands of a stage or a part one after the other: output to a log, nothing on standard input, and a time limit.

use crate::machine::answer;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How much of a failed stage's log is shown, up to where the first failure ends.
const TAIL_LINES: usize = 60;
/// What `timeout` answers when it ended a command: by request, and by force.
const TIME_IS_OVER: [i32; 2] = [124, 137];

/// One command of a stage.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Step {
    words: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Step {
    /// `cargo` and these words. None of them holds a blank.
    pub(crate) fn cargo(words: &str) -> Step {
        Step::new(&format!("cargo {words}"))
    }

    /// A program and these words. None of them holds a blank.
    pub(crate) fn new(words: &str) -> Step {
        Step {
            words: words.split_whitespace().map(str::to_owned).collect(),
            environment: Vec::new(),
        }
    }

    pub(crate) fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Step {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// One more argument, blanks and all.
    pub(crate) fn arg(mut self, word: impl Into<String>) -> Step {
        self.words.push(word.into());
        self
    }

    /// Where there is the program `timeout`, it ends the command with all its children; elsewhere nothing does.
    fn command(&self, root: &Path, log: &File, limit: Duration) -> io::Result<Command> {
        let mut command = match cfg!(unix) && answer("timeout", &["--version"]).is_some() {
            true => {
                let mut timeout = Command::new("timeout");
                // At a terminal the command stays in our group, for Ctrl-C.
                timeout.args(io::stdin().is_terminal().then_some("--foreground"));
                timeout.args(["--kill-after=5", &format!("{}", limit.as_secs_f32())]);
                timeout.arg(&self.words[0]);
                timeout
            }
            false => Command::new(&self.words[0]),
        };
        command
            .args(&self.words[1..])
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("CARGO_TERM_COLOR", "never")
            .current_dir(root)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?);
        Ok(command)
    }

    /// As one would type it.
    fn line(&self) -> String {
        let mut words: Vec<String> = Vec::new();
        for (name, value) in &self.environment {
            words.push(format!("{name}='{value}'"));
        }
        words.extend(self.words.iter().cloned());
        words.join(" ")
    }
}

/// What a stage does on this machine.
pub(crate) enum Plan {
    Run(Vec<Step>),
    /// The reason why it cannot run here.
    Skip(String),
}

impl Plan {
    pub(crate) fn skip(reason: impl Into<String>) -> Plan {
        Plan::Skip(reason.into())
    }
}

/// How a stage ended.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    Failed(String),
    Passed,
    Skipped(String),
    /// It was stopped at its time limit, and nothing had failed until then.
    Unfinished(String),
}

/// A stage's end, and what its log says.
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    /// Tests passed and failed, if there were any.
    pub(crate) tests: Option<(u64, u64)>,
    /// What a failed stage's log says of its first failure.
    pub(crate) tail: Vec<String>,
}

impl Outcome {
    pub(crate) fn of(verdict: Verdict) -> Outcome {
        Outcome {
            verdict,
            tests: None,
            tail: Vec::new(),
        }
    }
}

/// The first failure of a stage: why, and how long the log was then.
struct Failure {
    reason: String,
    log_bytes: u64,
    is_time_over: bool,
}

/// Runs all steps, also those after a failed one, unless the time is over.
pub(crate) fn steps(root: &Path, log: &Path, steps: &[Step], limit: Duration) -> Outcome {
    let log = root.join(log);
    let failure = run_logged(root, &log, steps, limit).unwrap_or_else(|error| {
        Some(Failure {
            reason: error.to_string(),
            log_bytes: u64::MAX,
            is_time_over: false,
        })
    });
    let bytes = fs::read(&log).unwrap_or_default();
    let tests = count_tests(&String::from_utf8_lossy(&bytes));
    let Some(Failure {
        reason,
        log_bytes,
        is_time_over,
    }) = failure
    else {
        return Outcome {
            verdict: Verdict::Passed,
            tests,
            tail: Vec::new(),
        };
    };
    let shown = usize::try_from(log_bytes)
        .unwrap_or(usize::MAX)
        .min(bytes.len());
    let text = String::from_utf8_lossy(&bytes[..shown]);
    let lines: Vec<&str> = text.lines().collect();
    let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    Outcome {
        verdict: if is_time_over {
            Verdict::Unfinished(reason)
        } else {
            Verdict::Failed(reason)
        },
        tests,
        tail: tail.iter().map(|line| (*line).to_owned()).collect(),
    }
}

fn run_logged(
    root: &Path,
    log: &Path,
    steps: &[Step],
    limit: Duration,
) -> io::Result<Option<Failure>> {
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut log = File::create(log)?;
    let end = Instant::now() + limit;
    let mut first = None;
    for step in steps {
        let line = step.line();
        writeln!(log, "$ {line}")?;
        let left = end.saturating_duration_since(Instant::now());
        let status = step
            .command(root, &log, left)?
            .status()
            .map_err(|error| io::Error::other(format!("`{line}` does not start: {error}")))?;
        let is_time_over = Instant::now() >= end
            && status
                .code()
                .is_none_or(|code| TIME_IS_OVER.contains(&code));
        let reason = match (status.success(), is_time_over) {
            (true, _) => continue,
            (false, false) => format!("`{line}`: {status}"),
            (false, true) => format!("`{line}` was stopped after {} s", limit.as_secs()),
        };
        writeln!(log, "{reason}")?;
        let log_bytes = log.metadata()?.len();
        first.get_or_insert(Failure {
            reason,
            log_bytes,
            is_time_over,
        });
        if is_time_over {
            break;
        }
    }
    Ok(first)
}

/// Sums up lines like `test result: ok. 3 passed; 0 failed; …`.
fn count_tests(log: &str) -> Option<(u64, u64)> {
    let mut sum = None;
    for line in log.lines() {
        let Some(rest) = line.trim().strip_prefix("test result: ") else {
            continue;
        };
        let number = |word: &str| {
            let before = rest.split(word).next().unwrap_or_default().trim_end();
            before
                .rsplit(' ')
                .next()
                .and_then(|digits| digits.parse::<u64>().ok())
        };
        if let (Some(passed), Some(failed)) = (number(" passed"), number(" failed")) {
            let (p, f) = sum.unwrap_or((0, 0));
            sum = Some((p + passed, f + failed));
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(name: &str, list: &[Step], limit: Duration) -> Outcome {
        let root = std::env::temp_dir();
        let log = format!("watertight-xtask-{}-{name}.log", std::process::id());
        let outcome = steps(&root, Path::new(&log), list, limit);
        fs::remove_file(root.join(log)).unwrap();
        outcome
    }

    #[test]
    fn tests_are_counted_over_all_binaries() {
        let log = "running 3 tests\ntest result: ok. 3 passed; 0 failed; 1 ignored; 0 measured\r\n\
                   test result: FAILED. 10 passed; 2 failed; 0 ignored\nnot a test result: ok. 9 passed; 9 failed";
        assert_eq!(count_tests(log), Some((13, 2)));
        assert_eq!(count_tests("Compiling watertight"), None);
    }

    #[test]
    fn a_step_that_succeeds_passes() {
        let step = Step::cargo("--version").env("A", "b");
        assert_eq!(step.line(), "A='b' cargo --version");
        let outcome = outcome("good", &[step], Duration::from_secs(60));
        assert_eq!(outcome.verdict, Verdict::Passed);
        assert!(outcome.tail.is_empty());
    }

    #[test]
    fn a_step_that_fails_fails_the_stage_and_the_others_still_run() {
        let list = ["--version", "--no-such-option", "--list"].map(Step::cargo);
        let root = std::env::temp_dir();
        let log = format!("watertight-xtask-{}-bad.log", std::process::id());
        let outcome = steps(&root, Path::new(&log), &list, Duration::from_secs(60));
        let text = fs::read_to_string(root.join(&log)).unwrap();
        fs::remove_file(root.join(&log)).unwrap();
        assert!(
            matches!(&outcome.verdict, Verdict::Failed(why) if why.contains("--no-such-option"))
        );
        assert!(
            text.contains("$ cargo --list"),
            "later steps still run: {text}"
        );
        let last = outcome.tail.last().map(String::as_str).unwrap_or_default();
        assert!(
            last.starts_with("`cargo --no-such-option`: "),
            "the tail ends at the failure: {last}"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_step_that_hangs_is_ended_with_its_children() {
        if io::stdin().is_terminal() {
            return; // At a terminal only the step's first process is ended.
        }
        let words = [
            "sh",
            "-c",
            "(exec cat /dev/zero >/dev/null) & echo $!; wait",
        ];
        let hung = Step {
            words: words.map(str::to_owned).to_vec(),
            environment: Vec::new(),
        };
        let outcome = outcome("hung", &[hung], Duration::from_millis(200));
        assert!(
            matches!(&outcome.verdict, Verdict::Unfinished(reason) if reason.contains("was stopped"))
        );
        // A zombie that nobody collects does not run.
        let status = Path::new("/proc").join(&outcome.tail[1]).join("status");
        let is_running =
            || fs::read_to_string(&status).is_ok_and(|text| !text.contains("State:\tZ"));
        assert!(
            (0..LOOKS_MAX).any(|_| !is_running()),
            "a grandchild outlived its stage"
        );
    }

    /// Far more looks than a killed process needs to disappear.
    #[cfg(target_os = "linux")]
    const LOOKS_MAX: usize = 10_000;
}
