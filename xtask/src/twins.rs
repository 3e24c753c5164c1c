//! Broken twins: a check that cannot fail proves nothing, so each model of the driver's races has bugs that it must find.
//!
//! A twin is a patch of the product's own source, `NAME.patch` beside the models, with a head of three lines: the model that
//! must fail, the words it then says, and what its author thought. It is applied to a copy of the tree, so that the product
//! has no switch for it. The canary is one more such patch: the simulator's seeds must find it, and the seed they name must
//! find it again. Never here: what the bugs are.

use crate::machine::{commit, git, git_files};
use crate::run::{Step, Verdict, steps};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Into how many deep parts the models' twins are cut.
pub(crate) const SHARDS: usize = 4;
const FOLDER: &str = "crates/watertight/src/models/twins";
/// Where the copy of the tree is, what is built of it, and the logs.
const WORK: &str = "target/twins";
const CANARY: &str = "canary";
/// Enough that the canary meets several of them, few enough for seconds.
const SEEDS: u64 = 4_000;
/// A build or a check that takes longer has not answered.
const TIME_MAX: Duration = Duration::from_secs(4 * 60);

/// One patch, and what it must break.
#[derive(Debug, Eq, PartialEq)]
struct Twin {
    name: String,
    file: PathBuf,
    model: String,
    says: String,
    thought: String,
}

impl Twin {
    fn new(file: &Path, text: &str) -> Result<Twin, String> {
        let head = |name: &str| {
            let line = text.lines().take_while(|line| !line.is_empty());
            line.filter_map(|line| line.split_once(": "))
                .find_map(|(known, value)| (known == name).then(|| value.to_owned()))
                .ok_or_else(|| format!("{}: no line `{name}: …` before the patch", file.display()))
        };
        Ok(Twin {
            name: file
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            file: file.to_path_buf(),
            model: head("model")?,
            says: head("says")?,
            thought: head("thought")?,
        })
    }

    /// The large models are the scheduler's, all others the exhaustive checker's.
    fn checker(&self) -> &'static str {
        if self.model.starts_with("large::") {
            "shuttle"
        } else {
            "loom"
        }
    }

    fn step(&self, words: &str) -> Step {
        let checker = self.checker();
        let models = "test -p watertight --lib --profile models --target-dir";
        Step::cargo(&format!("{models} ../build/{checker} {words}"))
            .env("RUSTFLAGS", format!("--cfg {checker}"))
            .env("RUST_BACKTRACE", "0")
            // Fewer than the gate draws find a twin, too.
            .env("WATERTIGHT_SCHEDULES", "2000")
    }
}

/// All patches, in the order of their names.
fn all(root: &Path) -> Result<Vec<Twin>, String> {
    let folder = root.join(FOLDER);
    let entries = fs::read_dir(&folder).map_err(|error| told(&folder, &error))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "patch"));
    files.sort();
    let read = |file: &PathBuf| {
        let text = fs::read_to_string(file).map_err(|error| told(file, &error))?;
        Twin::new(file, &text)
    };
    files.iter().map(read).collect()
}

/// The command `twins`: `--check`, `--shard N/M`, `canary`, or parts of names; nothing: all of them.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<bool, String> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut twins = all(root)?;
    let is_check = words == ["--check"];
    match words[..] {
        [] | ["--check"] => {}
        [CANARY] => twins.retain(|twin| twin.name == CANARY),
        ["--shard", shard] => {
            let (number, of) = numbers(shard).ok_or("--shard takes N/M, such as 1/4")?;
            twins.retain(|twin| twin.name != CANARY);
            let mut at = 0..;
            twins.retain(|_| at.next().is_some_and(|at: usize| at % of == number - 1));
        }
        _ => twins.retain(|twin| words.iter().any(|word| twin.name.contains(word))),
    }
    if twins.is_empty() {
        return Err(format!("no twin is called {}", words.join(" or ")));
    }
    let tree = Copy::new(root)?;
    let mut missed = 0;
    for twin in &twins {
        let start = Instant::now();
        let fate = tree.plant(twin, is_check);
        let word = if fate.is_ok() { "caught" } else { "MISSED" };
        missed += usize::from(fate.is_err());
        let said = fate.as_ref().err().unwrap_or(&twin.thought);
        match (is_check, &fate) {
            (true, Ok(())) => {}
            _ => println!(
                "{word} {:<62} {:>5.1} s  {said}",
                twin.name,
                start.elapsed().as_secs_f32()
            ),
        }
    }
    let word = if is_check { "apply" } else { "caught" };
    println!("{} {word}, {missed} missed", twins.len() - missed);
    Ok(missed == 0)
}

/// `N/M` with 1 <= N <= M.
fn numbers(text: &str) -> Option<(usize, usize)> {
    let (number, of) = text.split_once('/')?;
    let (number, of) = (number.parse().ok()?, of.parse().ok()?);
    (1 <= number && number <= of).then_some((number, of))
}

/// A copy of the tree, a repository of its own so that a patch can be merged into what has moved.
struct Copy {
    root: PathBuf,
    commit: String,
}

impl Copy {
    /// What is committed or about to be. Files that have not changed keep their times, so that little is built again.
    fn new(root: &Path) -> Result<Copy, String> {
        let paths = git_files(root).ok_or("without git nobody knows what belongs to the tree")?;
        let copy = Copy {
            root: root.join(WORK).join("tree"),
            commit: commit(root),
        };
        fs::create_dir_all(&copy.root).map_err(|error| told(&copy.root, &error))?;
        if !copy.root.join(".git").exists() {
            copy.git(&["init", "--quiet"])?;
            // The versions that the patches were made from are in the real repository.
            let objects = git(
                root,
                &[
                    "rev-parse",
                    "--path-format=absolute",
                    "--git-path",
                    "objects",
                ],
            );
            let place = copy.root.join(".git/objects/info/alternates");
            write(&place, objects.unwrap_or_default().as_bytes())?;
        }
        let mut kept = BTreeSet::new();
        for path in paths {
            let bytes =
                fs::read(root.join(&path)).map_err(|error| told(&root.join(&path), &error))?;
            let to = copy.root.join(&path);
            if fs::read(&to).ok().as_deref() != Some(&bytes[..]) {
                write(&to, &bytes)?;
            }
            kept.insert(path);
        }
        for path in git_files(&copy.root).unwrap_or_default() {
            if !kept.contains(&path) {
                let gone = copy.root.join(path);
                fs::remove_file(&gone).map_err(|error| told(&gone, &error))?;
            }
        }
        copy.git(&["add", "--all"])?;
        let author = [
            "-c",
            "user.name=twins",
            "-c",
            "user.email=twins@localhost",
            "-c",
            "commit.gpgsign=false",
        ];
        copy.git(
            &[
                &author[..],
                &[
                    "commit",
                    "--quiet",
                    "--allow-empty",
                    "--no-verify",
                    "-m",
                    "the tree",
                ],
            ]
            .concat(),
        )?;
        Ok(copy)
    }

    fn git(&self, words: &[&str]) -> Result<(), String> {
        git(&self.root, words)
            .map(drop)
            .ok_or_else(|| format!("`git {}` fails in {}", words.join(" "), self.root.display()))
    }

    /// Applies one patch, has it judged, and takes it back.
    fn plant(&self, twin: &Twin, is_check: bool) -> Result<(), String> {
        let patch = twin.file.display().to_string();
        let applied = self
            .git(&["apply", "-C1", &patch])
            .or_else(|_| self.git(&["apply", "--3way", &patch]));
        let judged = match applied {
            Err(_) => Err(format!("STALE: {patch} no longer applies: make it again")),
            Ok(()) if is_check => Ok(()),
            Ok(()) if twin.name == CANARY => self.judge_canary(twin),
            Ok(()) => self.judge(twin),
        };
        self.git(&["reset", "--quiet", "--hard"])?;
        judged
    }

    /// A twin that does not compile, or that fails in other words, shows nothing.
    fn judge(&self, twin: &Twin) -> Result<(), String> {
        if let (Verdict::Failed(reason), log, _) =
            self.run(&twin.step("--no-run"), &twin.name, "build")
        {
            return Err(format!(
                "it does not compile: {reason}; see {}",
                log.display()
            ));
        }
        let step = twin.step(&format!("-- --exact models::{}", twin.model));
        match self.run(&step, &twin.name, "run") {
            (Verdict::Failed(_), _, said) if said.contains(&twin.says) => Ok(()),
            (Verdict::Failed(reason) | Verdict::Unfinished(reason), log, _) => Err(format!(
                "{reason}, but not with `{}`; see {}",
                twin.says,
                log.display()
            )),
            (Verdict::Passed | Verdict::Skipped(_), log, _) => {
                Err(format!("the model passes; see {}", log.display()))
            }
        }
    }

    /// The seeds fail, and the first one that did fails again by itself, in the same words.
    fn judge_canary(&self, twin: &Twin) -> Result<(), String> {
        let simulate = |words: &str| {
            let place = "run -p watertight-sim --target-dir ../build/sim -- --commit";
            Step::cargo(&format!("{place} {} {words}", self.commit))
        };
        let (_, log, said) = self.run(
            &simulate(&format!("seeds --count {SEEDS}")),
            &twin.name,
            "seeds",
        );
        let (seed, wrong) = first_failure(&said)
            .ok_or_else(|| format!("{SEEDS} seeds do not find it; see {}", log.display()))?;
        let (_, log, said) = self.run(&simulate(&format!("--seed {seed}")), &twin.name, "again");
        if said.contains(&twin.says) && said.contains(&format!("WRONG: {wrong}")) {
            println!("found by seed {seed} and again by that seed alone: {wrong}");
            Ok(())
        } else {
            Err(format!(
                "seed {seed} says `{wrong}`, and alone something else; see {}",
                log.display()
            ))
        }
    }

    /// The verdict, the log and what it says.
    fn run(&self, step: &Step, name: &str, what: &str) -> (Verdict, PathBuf, String) {
        let log = Path::new("../logs").join(format!("{name}.{what}.log"));
        let verdict = steps(&self.root, &log, std::slice::from_ref(step), TIME_MAX).verdict;
        let file = self.root.join(log);
        let said = fs::read(&file).unwrap_or_default();
        (verdict, file, String::from_utf8_lossy(&said).into_owned())
    }
}

/// The seed of `FAILED: cargo xtask sim --seed N`, and the line after it.
fn first_failure(said: &str) -> Option<(u64, &str)> {
    let mut lines = said.lines();
    let seed = lines.find_map(|line| line.strip_prefix("FAILED: cargo xtask sim --seed "))?;
    Some((seed.parse().ok()?, lines.next()?))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| told(folder, &error))?;
    }
    fs::write(path, bytes).map_err(|error| told(path, &error))
}

fn told(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
    }

    #[test]
    fn a_head_has_three_lines() {
        let file = Path::new("a/queue.patch");
        let twin = Twin::new(
            file,
            "model: a::b\nsays: deadlock\nthought: well: yes\n\ndiff --git a/c b/c\n",
        )
        .unwrap();
        assert_eq!(
            (&twin.name[..], &twin.model[..], &twin.says[..]),
            ("queue", "a::b", "deadlock")
        );
        assert_eq!(twin.thought, "well: yes");
        let late = Twin::new(file, "model: a::b\nthought: c\n\nsays: deadlock\n");
        assert!(late.unwrap_err().contains("no line `says: …`"));
    }

    #[test]
    fn shards_are_numbered_from_one() {
        assert_eq!(numbers("1/4"), Some((1, 4)));
        assert_eq!(
            (numbers("0/4"), numbers("5/4"), numbers("a/4"), numbers("4")),
            (None, None, None, None)
        );
    }

    #[test]
    fn a_failing_seed_is_found_in_what_is_said() {
        let said = "seeds 5 to 8\nFAILED: cargo xtask sim --seed 7\nG1: a\nFAILED: cargo xtask sim --seed 8\nG2: b\n";
        assert_eq!(first_failure(said), Some((7, "G1: a")));
        assert_eq!(first_failure("error: nothing was built"), None);
    }

    /// Every test of the models' files is a model.
    #[test]
    fn every_model_has_a_twin() {
        let twins = all(root()).unwrap();
        let twins: BTreeSet<String> = twins
            .into_iter()
            .map(|twin| twin.model)
            .filter(|model| model != CANARY)
            .collect();
        let mut models = BTreeSet::new();
        for entry in fs::read_dir(root().join("crates/watertight/src/models"))
            .unwrap()
            .flatten()
        {
            let path = entry.path();
            let file = path.file_stem().unwrap().to_string_lossy().into_owned();
            for part in fs::read_to_string(&path)
                .unwrap_or_default()
                .split("#[test]\n")
                .skip(1)
            {
                let name = part.split(['(', ' ']).nth(1).unwrap();
                models.insert(format!("{file}::{name}"));
            }
        }
        assert_eq!(models, twins);
    }
}
