//! Runs a stage's commands one after the other: output to a log, nothing on standard input, and a time limit.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How much of a failed stage's log is shown, up to where the first failure ends.
const TAIL_LINES: usize = 60;
/// What a process that was asked to end gets before it is ended.
const GRACE: Duration = Duration::from_secs(5);

/// One command of a stage.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Step {
    words: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Step {
    /// `cargo` and these words. None of them holds a blank.
    pub(crate) fn cargo(words: &str) -> Step {
        let words = ["cargo"].into_iter().chain(words.split_whitespace());
        Step {
            words: words.map(str::to_owned).collect(),
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

    fn command(&self, root: &Path, log: &File) -> io::Result<Command> {
        let mut command = Command::new(&self.words[0]);
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

/// How a stage ended.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    Failed(String),
    Passed,
    Skipped(String),
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
    pub(crate) fn failed(reason: String) -> Outcome {
        Outcome {
            verdict: Verdict::Failed(reason),
            tests: None,
            tail: Vec::new(),
        }
    }

    pub(crate) fn skipped(reason: String) -> Outcome {
        Outcome {
            verdict: Verdict::Skipped(reason),
            tests: None,
            tail: Vec::new(),
        }
    }
}

/// The first failure of a stage: why, and how long the log was then.
struct Failure {
    reason: String,
    log_bytes: u64,
}

/// Runs all steps, also those after a failed one, unless the time is over.
pub(crate) fn steps(root: &Path, log: &Path, steps: &[Step], limit: Duration) -> Outcome {
    let log = root.join(log);
    let failure = run_logged(root, &log, steps, limit).unwrap_or_else(|error| {
        Some(Failure {
            reason: error.to_string(),
            log_bytes: u64::MAX,
        })
    });
    let bytes = fs::read(&log).unwrap_or_default();
    let tests = count_tests(&String::from_utf8_lossy(&bytes));
    let Some(Failure { reason, log_bytes }) = failure else {
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
        verdict: Verdict::Failed(reason),
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
        let ended = match spawn(step.command(root, &log)?) {
            Ok(child) => wait(child, left)?,
            Err(error) => {
                return Err(io::Error::new(
                    error.kind(),
                    format!("`{line}` does not start: {error}"),
                ));
            }
        };
        let reason = match ended {
            Some(status) if status.success() => continue,
            Some(status) => format!("`{line}`: {status}"),
            None => format!(
                "`{line}` was killed: the stage's {} s are over",
                limit.as_secs()
            ),
        };
        writeln!(log, "{reason}")?;
        let log_bytes = log.metadata()?.len();
        first.get_or_insert(Failure { reason, log_bytes });
        if ended.is_none() {
            break;
        }
    }
    Ok(first)
}

/// A group of its own lets a stage be killed with all its children. At a terminal it stays in ours, for Ctrl-C.
#[cfg(unix)]
fn spawn(mut command: Command) -> io::Result<Child> {
    use std::io::IsTerminal;
    use std::os::unix::process::CommandExt;
    if !io::stdin().is_terminal() {
        command.process_group(0);
    }
    command.spawn()
}

#[cfg(not(unix))]
fn spawn(mut command: Command) -> io::Result<Child> {
    command.spawn()
}

/// The status, or nothing if the time was over and the process has been killed.
fn wait(mut child: Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let id = child.id();
    let (ended, ends) = mpsc::channel();
    std::thread::spawn(move || {
        // Nobody listens any more only if even killing did not help.
        let _ = ended.send(child.wait());
    });
    if let Ok(status) = ends.recv_timeout(limit) {
        return status.map(Some);
    }
    for is_last in [false, true] {
        kill(id, is_last)?;
        if ends.recv_timeout(GRACE).is_ok() {
            break;
        }
    }
    // The group's leader is gone; what ignored the first request is not.
    kill(id, true)?;
    Ok(None)
}

#[cfg(unix)]
fn kill(id: u32, is_last: bool) -> io::Result<()> {
    use std::io::IsTerminal;
    let signal = if is_last { "KILL" } else { "TERM" };
    let group = if io::stdin().is_terminal() { "" } else { "-" };
    // A shell has `kill` built in; a minimal system has no other.
    let line = format!("kill -s {signal} -- {group}{id} 2>/dev/null");
    Command::new("sh")
        .args(["-c", &line])
        .stdin(Stdio::null())
        .status()
        .map(drop)
}

#[cfg(not(unix))]
fn kill(id: u32, _is_last: bool) -> io::Result<()> {
    let id = id.to_string();
    let mut command = Command::new("taskkill");
    command.args(["/F", "/T", "/PID", &id]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().map(drop)
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

    #[cfg(unix)]
    #[test]
    fn a_step_that_hangs_is_killed_with_its_children() {
        use std::io::IsTerminal;
        let script = "(trap '' TERM; exec cat /dev/zero >/dev/null) & echo $!; wait";
        let words = ["sh", "-c", script];
        let hung = Step {
            words: words.map(str::to_owned).to_vec(),
            environment: Vec::new(),
        };
        let outcome = outcome("hung", &[hung], Duration::from_millis(200));
        assert!(
            matches!(&outcome.verdict, Verdict::Failed(reason) if reason.contains("was killed"))
        );
        if io::stdin().is_terminal() {
            return; // At a terminal only the stage's first process is killed.
        }
        let child = &outcome.tail[1];
        let is_gone = (0..LOOKS_MAX).any(|_| !is_running(child));
        assert!(is_gone, "a grandchild outlived its stage");
    }

    /// Far more looks than a killed process needs to disappear.
    #[cfg(unix)]
    const LOOKS_MAX: usize = 10_000;

    /// A zombie that nobody collects does not run.
    #[cfg(unix)]
    fn is_running(id: &str) -> bool {
        let probe = ["-c", &format!("kill -0 {id} 2>/dev/null")];
        let exists = Command::new("sh").args(probe).status().unwrap().success();
        let state = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        exists && !state.contains("State:\tZ")
    }
}
