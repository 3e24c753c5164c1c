//! Planted bugs: a check that cannot fail proves nothing, so each of these bugs must make its check fail.
//!
//! A bug is one small change of the product's own source. It is made in a copy of the tree, so that the product has no
//! switch for it; the check's commands run there. Never here: what the bugs are (they are tables of their own), and which
//! of many checks notices one (`matrix.rs`).

pub(crate) mod bugs;
pub(crate) mod canary;
mod layers;
pub(crate) mod matrix;
pub(crate) mod twins;

use crate::ci::run::{Step, Verdict, steps};
use crate::tidy::git_files;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Where the copy of the tree is, and the logs.
const FOLDER: &str = "target/planted";
/// A build or a check that takes longer has not answered.
const TIME_MAX: Duration = Duration::from_secs(300);

/// One change of one file that breaks one promise.
pub(crate) struct Bug {
    pub(crate) name: String,
    /// What a tired programmer may have thought.
    pub(crate) why: &'static str,
    pub(crate) file: &'static str,
    /// Stands in the file exactly once.
    pub(crate) find: &'static str,
    pub(crate) replace: &'static str,
    pub(crate) check: Check,
}

/// What has to notice a bug. Its commands run in the copy of the tree and must not build where the tree itself is built:
/// cargo would take one for the other.
#[derive(Clone)]
pub(crate) struct Check {
    /// Must succeed with the bug as without: a bug that does not compile shows nothing.
    pub(crate) build: Step,
    /// Must succeed without the bug, and fail with it.
    pub(crate) run: Step,
    /// What its output then says, so that it fails for this bug's sake.
    pub(crate) says: &'static str,
}

/// What became of a bug.
#[derive(Debug, Eq, PartialEq)]
enum Fate {
    Caught,
    Missed(String),
}

/// Plants every bug whose name holds one of `names` (none: all), one after the other. Whether all were caught.
pub(crate) fn run(root: &Path, bugs: &[Bug], names: &[String]) -> Result<bool, String> {
    let bugs: Vec<&Bug> = bugs
        .iter()
        .filter(|bug| names.is_empty() || names.iter().any(|name| bug.name.contains(name)))
        .collect();
    if bugs.is_empty() {
        return Err(format!("no bug is called {}", names.join(" or ")));
    }
    let tree = Copy::new(root, FOLDER)?;
    tree.is_sound(&bugs)?;
    let mut missed = 0;
    for bug in &bugs {
        let start = Instant::now();
        let fate = tree.plant(bug);
        let (word, reason) = match &fate {
            Fate::Caught => ("caught", ""),
            Fate::Missed(reason) => ("MISSED", reason.as_str()),
        };
        missed += usize::from(fate != Fate::Caught);
        println!(
            "{word:<8} {:<60} {:>6.1} s  {}",
            bug.name,
            start.elapsed().as_secs_f32(),
            if reason.is_empty() { bug.why } else { reason },
        );
    }
    println!("{} caught, {missed} missed", bugs.len() - missed);
    Ok(missed == 0)
}

/// A copy of the tree, beside the products of its builds.
struct Copy {
    root: PathBuf,
}

impl Copy {
    /// What is committed or about to be. Files that have not changed keep their times, so that little is built again.
    fn new(root: &Path, folder: &str) -> Result<Copy, String> {
        let copy = Copy {
            root: root.join(folder).join("tree"),
        };
        let paths = git_files(root).ok_or("without git nobody knows what belongs to the tree")?;
        let mut kept = BTreeSet::new();
        for path in paths {
            let (from, to) = (root.join(&path), copy.root.join(&path));
            // A file deleted but not yet committed is still listed.
            if !from.is_file() {
                continue;
            }
            let bytes = fs::read(&from).map_err(|error| told(&from, &error))?;
            if fs::read(&to).ok().as_deref() != Some(&bytes[..]) {
                write(&to, &bytes)?;
            }
            kept.insert(to);
        }
        remove_others(&copy.root, &kept)?;
        Ok(copy)
    }

    /// Whether every check passes without a bug. They do not touch the tree, so that several run at once.
    fn is_sound(&self, bugs: &[&Bug]) -> Result<(), String> {
        let mut steps: Vec<(&Step, PathBuf)> = Vec::new();
        for bug in bugs {
            if !steps.iter().any(|(known, _)| **known == bug.check.build) {
                let log = log(&bug.name, "sound-build");
                self.passes(&bug.check.build, &log)?;
                steps.push((&bug.check.build, log));
            }
        }
        steps.clear();
        for bug in bugs {
            if !steps.iter().any(|(known, _)| **known == bug.check.run) {
                steps.push((&bug.check.run, log(&bug.name, "sound")));
            }
        }
        let start = Instant::now();
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some((step, log)) = steps.get(next.fetch_add(1, Relaxed)) {
                self.passes(step, log)?;
            }
            Ok::<(), String>(())
        };
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            let mut ended = threads.into_iter().map(|thread| thread.join());
            ended.try_for_each(|ended| ended.expect("a worker does not panic"))
        })?;
        let took = start.elapsed().as_secs_f32();
        println!("without a bug {} checks pass, in {took:.1} s", steps.len());
        Ok(())
    }

    fn passes(&self, step: &Step, log: &Path) -> Result<(), String> {
        match self.run(step, log) {
            Verdict::Failed(reason) => {
                Err(format!("without a bug: {reason}; see {}", log.display()))
            }
            Verdict::Passed | Verdict::Skipped(_) => Ok(()),
        }
    }

    fn plant(&self, bug: &Bug) -> Fate {
        self.with(bug.file, bug.find, bug.replace, || self.judge(bug))
            .unwrap_or_else(Fate::Missed)
    }

    /// Makes one change, has it judged, and takes it back.
    fn with<T>(
        &self,
        file: &str,
        find: &str,
        replace: &str,
        judge: impl FnOnce() -> T,
    ) -> Result<T, String> {
        let path = self.root.join(file);
        let sound = fs::read_to_string(&path).map_err(|error| told(&path, &error))?;
        let broken = patch(&sound, find, replace).map_err(|reason| format!("{file}: {reason}"))?;
        write(&path, broken.as_bytes())?;
        let judged = judge();
        write(&path, sound.as_bytes())?;
        Ok(judged)
    }

    fn judge(&self, bug: &Bug) -> Fate {
        let built = log(&bug.name, "build");
        if let Verdict::Failed(reason) = self.run(&bug.check.build, &built) {
            return Fate::Missed(format!(
                "it does not compile: {reason}; see {}",
                built.display()
            ));
        }
        let ran = log(&bug.name, "run");
        match self.run(&bug.check.run, &ran) {
            Verdict::Failed(reason) => {
                let said = fs::read(self.root.join(&ran)).unwrap_or_default();
                if String::from_utf8_lossy(&said).contains(bug.check.says) {
                    return Fate::Caught;
                }
                let says = bug.check.says;
                Fate::Missed(format!(
                    "{reason}, but not with `{says}`; see {}",
                    ran.display()
                ))
            }
            Verdict::Passed | Verdict::Skipped(_) => {
                Fate::Missed(format!("the check passes; see {}", ran.display()))
            }
        }
    }

    fn run(&self, step: &Step, log: &Path) -> Verdict {
        self.run_within(step, log, TIME_MAX)
    }

    fn run_within(&self, step: &Step, log: &Path, limit: Duration) -> Verdict {
        steps(&self.root, log, std::slice::from_ref(step), limit).verdict
    }
}

/// Beside the tree, not in it: it is as good as new after every run.
fn log(name: &str, what: &str) -> PathBuf {
    let name = name.replace("::", ".").replace([' ', '/'], "-");
    Path::new("../logs").join(format!("{name}.{what}.log"))
}

/// `find` must stand there once: a change of the source must not turn a bug into nothing, or into another.
fn patch(text: &str, find: &str, replace: &str) -> Result<String, String> {
    match text.matches(find).count() {
        1 => Ok(text.replacen(find, replace, 1)),
        count => Err(format!("the text to replace stands there {count} times")),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| told(folder, &error))?;
    }
    fs::write(path, bytes).map_err(|error| told(path, &error))
}

/// What is no longer in the tree must not be in the copy.
fn remove_others(folder: &Path, kept: &BTreeSet<PathBuf>) -> Result<(), String> {
    let entries = fs::read_dir(folder).map_err(|error| told(folder, &error))?;
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            remove_others(&path, kept)?;
        } else if !kept.contains(&path) && !path.ends_with("Cargo.lock") {
            fs::remove_file(&path).map_err(|error| told(&path, &error))?;
        }
    }
    Ok(())
}

fn told(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bug(run: &str, says: &'static str) -> Bug {
        Bug {
            name: "a::bug".to_owned(),
            why: "for this test",
            file: "a.txt",
            find: "b",
            replace: "c",
            check: Check {
                build: Step::cargo("--version"),
                run: Step::cargo(run),
                says,
            },
        }
    }

    #[test]
    fn a_check_that_fails_without_a_bug_shows_nothing() {
        let name = format!("watertight-unsound-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let tree = Copy {
            root: folder.join("tree"),
        };
        fs::create_dir_all(&tree.root).unwrap();
        let (sound, unsound) = (bug("--version", ""), bug("--no-such-option", ""));
        assert_eq!(tree.is_sound(&[&sound, &sound]), Ok(()));
        let failed = tree.is_sound(&[&sound, &unsound]).unwrap_err();
        fs::remove_dir_all(folder).unwrap();
        assert!(failed.contains("without a bug: `cargo --no-such-option`"));
    }

    fn judged(bug: &Bug) -> (Fate, String) {
        let name = format!("watertight-planted-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let root = folder.join("tree");
        write(&root.join("a.txt"), b"abc").unwrap();
        let fate = Copy { root: root.clone() }.plant(bug);
        let text = fs::read_to_string(root.join("a.txt")).unwrap();
        fs::remove_dir_all(folder).unwrap();
        (fate, text)
    }

    #[test]
    fn a_bug_is_caught_when_its_check_fails_as_foretold() {
        let (fate, text) = judged(&bug("--no-such-option", "--no-such-option"));
        assert_eq!(fate, Fate::Caught);
        assert_eq!(text, "abc", "the file is as it was");
    }

    #[test]
    fn a_bug_is_missed_when_its_check_passes_or_fails_otherwise() {
        let missed = |bug: &Bug| match judged(bug).0 {
            Fate::Missed(reason) => reason,
            Fate::Caught => "caught".to_owned(),
        };
        assert!(missed(&bug("--version", "")).contains("the check passes"));
        assert!(missed(&bug("--no-such-option", "deadlock")).contains("not with `deadlock`"));
        let mut uncompiled = bug("--no-such-option", "");
        uncompiled.check.build = Step::cargo("--no-such-option");
        assert!(missed(&uncompiled).contains("does not compile"));
        let mut gone = bug("--no-such-option", "");
        gone.find = "d";
        assert!(missed(&gone).contains("stands there 0 times"));
    }

    #[test]
    fn a_text_to_replace_stands_there_once() {
        assert_eq!(patch("abc", "b", "d"), Ok("adc".to_owned()));
        assert!(patch("abcb", "b", "d").is_err());
    }
}
