//! The planted bugs against the layers: every layer that is built from a bug's file is asked, and the table says who noticed.
//!
//! No layer is asked to name the bug; but each must pass without one, so that what it then says is said of the bug.

use super::bugs::{BUGS, Planted};
use super::layers::{self, Layer, Source};
use super::{Copy, log};
use crate::ci::run::Verdict;
use crate::machine::Machine;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const FOLDER: &str = "target/planted";
/// The first build makes everything.
const BUILD_MAX: Duration = Duration::from_secs(20 * 60);
const SOUND_MAX: Duration = Duration::from_secs(15 * 60);
/// How much longer than without a bug a layer may take before it hangs.
const PATIENCE: u32 = 3;
const PATIENCE_LEAST: Duration = Duration::from_secs(60);

/// What a layer made of a bug.
#[derive(Debug, Eq, PartialEq)]
enum Cell {
    /// With what it said first.
    Caught(String),
    /// It took so long that it will never end; where it was.
    Hung(String),
    Missed,
    NotAsked,
    /// The change is no program.
    NotBuilt(String),
}

impl Cell {
    fn is_caught(&self) -> bool {
        matches!(self, Cell::Caught(_) | Cell::Hung(_))
    }

    fn word(&self) -> &'static str {
        match self {
            Cell::Caught(_) => "caught",
            Cell::Hung(_) => "hangs",
            Cell::Missed => "missed",
            Cell::NotAsked => "-",
            Cell::NotBuilt(_) => "not built",
        }
    }

    fn said(&self) -> &str {
        match self {
            Cell::Caught(said) | Cell::Hung(said) | Cell::NotBuilt(said) => said,
            Cell::Missed | Cell::NotAsked => "",
        }
    }
}

/// The command `planted`: every bug whose name or class holds one of `names` (none: all). Whether each was caught.
pub(crate) fn run(root: &Path, names: &[String]) -> Result<bool, String> {
    let is_wanted = |bug: &&Planted| {
        let is_named =
            |name: &String| bug.name.contains(&name[..]) || bug.class.contains(&name[..]);
        names.is_empty() || names.iter().any(is_named)
    };
    let bugs: Vec<&Planted> = BUGS.iter().filter(is_wanted).collect();
    if bugs.is_empty() {
        return Err(format!("no bug is called {}", names.join(" or ")));
    }
    let layers = layers::all(&Machine::new(root)?);
    let tree = Copy::new(root, FOLDER)?;
    let sources: Vec<Source> = bugs
        .iter()
        .map(|bug| source(bug))
        .collect::<Result<_, _>>()?;
    let mut limits = Vec::new();
    for layer in &layers {
        let is_asked = sources.iter().any(|source| layer.has(*source));
        limits.push(match &layer.lacks {
            _ if !is_asked => None,
            Some(reason) => {
                println!("not asked: {}: {reason}", layer.name);
                None
            }
            None => Some(sound(&tree, layer)?),
        });
    }
    let mut rows = Vec::new();
    for (bug, source) in bugs.iter().zip(sources) {
        let judge = || {
            let cell = |(layer, limit): (&Layer, &Option<Duration>)| match limit {
                Some(limit) if layer.has(source) => judge(&tree, bug, layer, *limit),
                Some(_) | None => Cell::NotAsked,
            };
            layers.iter().zip(&limits).map(cell).collect::<Vec<_>>()
        };
        rows.push(tree.with(bug.file, bug.find, bug.replace, judge)?);
    }
    println!("\n{}", table(&bugs, &layers, &rows));
    let caught = rows.iter().filter(|row| row.iter().any(Cell::is_caught));
    let caught = caught.count();
    println!("{caught} caught, {} missed", rows.len() - caught);
    Ok(caught == rows.len())
}

fn source(bug: &Planted) -> Result<Source, String> {
    Source::of(bug.file).ok_or_else(|| format!("{}: no layer is built from it", bug.file))
}

/// Builds and runs a layer without a bug; how long it may take with one.
fn sound(tree: &Copy, layer: &Layer) -> Result<Duration, String> {
    let log = log(layer.name, "sound");
    let failed = |reason| {
        format!(
            "{} without a bug: {reason}; see {}",
            layer.name,
            log.display()
        )
    };
    if let Verdict::Failed(reason) = tree.run_within(&layer.build, &log, BUILD_MAX) {
        return Err(failed(reason));
    }
    let start = Instant::now();
    if let Verdict::Failed(reason) = tree.run_within(&layer.run, &log, SOUND_MAX) {
        return Err(failed(reason));
    }
    let took = start.elapsed();
    println!(
        "sound    {:<32} {:<14} {:>6.1} s",
        "",
        layer.name,
        took.as_secs_f32()
    );
    Ok(took * PATIENCE + PATIENCE_LEAST)
}

fn judge(tree: &Copy, bug: &Planted, layer: &Layer, limit: Duration) -> Cell {
    let start = Instant::now();
    let name = format!("{}.{}", bug.name, layer.name);
    let built = log(&name, "build");
    let ran = log(&name, "run");
    let cell = match tree.run_within(&layer.build, &built, BUILD_MAX) {
        Verdict::Failed(reason) => Cell::NotBuilt(format!("{reason}; see {}", built.display())),
        Verdict::Passed | Verdict::Skipped(_) => match tree.run_within(&layer.run, &ran, limit) {
            Verdict::Failed(reason) => {
                let said = fs::read(tree.root.join(&ran)).unwrap_or_default();
                let said = first_sign(&String::from_utf8_lossy(&said));
                if reason.contains(" was killed: ") {
                    Cell::Hung(said)
                } else {
                    Cell::Caught(said)
                }
            }
            Verdict::Passed | Verdict::Skipped(_) => Cell::Missed,
        },
    };
    println!(
        "{:<8} {:<32} {:<14} {:>6.1} s  {}",
        cell.word(),
        bug.name,
        layer.name,
        start.elapsed().as_secs_f32(),
        cell.said()
    );
    cell
}

/// The first thing a log says that is wrong: a failed test, a failed seed; where it stopped, if it never said so.
fn first_sign(log: &str) -> String {
    let mut lines = log.lines().map(str::trim);
    if let Some(at) = log.rfind("\nfailures:\n") {
        let names = log[at..].lines().skip(2).map(str::trim);
        let names: Vec<&str> = names.take_while(|name| !name.is_empty()).collect();
        if let Some(first) = names.first() {
            return match names.len() {
                1 => format!("`{first}`"),
                more => format!("`{first}` and {} more", more - 1),
            };
        }
    }
    if let Some(told) = lines.find_map(|line| line.strip_prefix("FAILED: ")) {
        let why = lines.next().unwrap_or_default();
        return format!("{told}: {why}");
    }
    let mut tests = log.lines().filter_map(|line| line.strip_prefix("test "));
    match tests
        .next_back()
        .and_then(|rest| rest.split(" ... ").next())
    {
        Some(name) if !name.starts_with("result:") => format!("during `{name}`"),
        Some(_) | None => "before any test".to_owned(),
    }
}

/// As Markdown: who noticed which bug, and what was said of it first.
fn table(bugs: &[&Planted], layers: &[Layer], rows: &[Vec<Cell>]) -> String {
    let mut text = "| planted |".to_owned();
    for layer in layers {
        text += &format!(" {} |", layer.name);
    }
    text += &format!(" first said by |\n|{}\n", " --- |".repeat(layers.len() + 2));
    for (bug, row) in bugs.iter().zip(rows) {
        text += &format!("| {}: `{}`, \"{}\" |", bug.class, bug.name, bug.why);
        for cell in row {
            text += &format!(" {} |", cell.word());
        }
        let said = row.iter().find(|cell| cell.is_caught()).map(Cell::said);
        text += &format!(" {} |\n", said.unwrap_or("nobody"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sign_is_a_failed_test_a_seed_or_where_it_stopped() {
        let failed = "test a ... ok\ntest b ... FAILED\n\nfailures:\n\n---- b stdout ----\nfailures:\n\n\
                      failures:\n    b\n    c\n\ntest result: FAILED. 1 passed";
        assert_eq!(first_sign(failed), "`b` and 1 more");
        let seed = "seeds 1 to 9\nFAILED: cargo xtask sim --seed 4\na hang, nobody wakes\nG1\n";
        assert_eq!(
            first_sign(seed),
            "cargo xtask sim --seed 4: a hang, nobody wakes"
        );
        assert_eq!(first_sign("test a ... ok\ntest b ... "), "during `b`");
        assert_eq!(first_sign("error"), "before any test");
    }

    #[test]
    fn a_bug_that_nobody_noticed_shows_in_the_table() {
        let machine = Machine {
            root: Path::new("nowhere").to_path_buf(),
            host: String::new(),
            has_nightly: false,
            has_library_source: false,
        };
        let layers = layers::all(&machine);
        let row: Vec<Cell> = layers.iter().map(|_| Cell::Missed).collect();
        let text = table(&[&BUGS[0]], &layers, &[row]);
        assert!(text.ends_with("| missed | nobody |\n"), "{text}");
        assert!(!Cell::NotBuilt(String::new()).is_caught());
    }
}
