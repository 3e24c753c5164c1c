//! Runs every fuzz target for a while, from the committed corpus and without writing into it.
//!
//! What the targets check also runs in plain tests, over the corpus only; this looks for what is not in there yet.

use crate::machine::{self, Machine, NIGHTLY};
use crate::manifest::Manifest;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FOLDER: &str = "fuzz";
/// Under `target`: what the fuzzer finds interesting, and what it finds broken.
const FOUND: &str = "target/fuzz-found";
const SECONDS: u32 = 10;
/// Longer inputs find nothing that shorter ones do not, and take their time.
const INPUT_BYTES_MAX: u32 = 500;
/// Longer than this on one input is a loop without an end.
const INPUT_SECONDS_MAX: u32 = 10;

/// The targets, or why they cannot run here.
pub(crate) fn plan(machine: &Machine) -> Result<Vec<String>, String> {
    if !machine.has_nightly {
        return Err("no nightly toolchain, and only nightly has the fuzzer's sanitizer".to_owned());
    }
    if !machine::has_cargo_tool("fuzz") {
        return Err("no cargo-fuzz: `cargo install cargo-fuzz`".to_owned());
    }
    let file = machine.root.join(FOLDER).join("Cargo.toml");
    let text =
        std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(Manifest::new(&text)
        .values("bin", "name")
        .map(str::to_owned)
        .collect())
}

/// The command `fuzz`.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<bool, String> {
    let seconds = seconds(arguments)?;
    let machine = Machine::new(root)?;
    let targets = match plan(&machine) {
        Ok(targets) => targets,
        Err(reason) => {
            println!("skipped: fuzz: {reason}");
            return Ok(true);
        }
    };
    let fuzz = |rest: &[&str]| {
        let mut command = Command::new("cargo");
        command
            .args([NIGHTLY, "fuzz"])
            .args(rest)
            .current_dir(root.join(FOLDER))
            .stdin(Stdio::null());
        command
    };
    let built = fuzz(&["build"]).status();
    if !built.is_ok_and(|status| status.success()) {
        return Err("the fuzz targets do not build".to_owned());
    }
    let mut failed = 0;
    for target in &targets {
        let found = root.join(FOUND).join(target);
        std::fs::create_dir_all(&found).map_err(|error| format!("{}: {error}", found.display()))?;
        let corpus = format!("corpus/{target}");
        let output = fuzz(&["run", target])
            // The first folder is the one it writes into.
            .arg(&found)
            .arg(&corpus)
            .arg("--")
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-max_len={INPUT_BYTES_MAX}"))
            .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
            .arg(format!("-artifact_prefix={}", prefix(&found)))
            .arg("-print_final_stats=1")
            .output()
            .map_err(|error| format!("cargo fuzz does not run: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            let runs = statistic(&said, "stat::number_of_executed_units:");
            println!("{target:<12} {:>12} runs, no failure", runs.unwrap_or("no"));
            if runs.is_some() {
                continue;
            }
        }
        failed += 1;
        println!("{said}\nFAILED: {target}: {}", output.status);
        if let Some(input) = crash(&said) {
            println!("replay: (cd {FOLDER} && cargo +nightly fuzz run {target} {input})");
        }
    }
    println!("{} targets, {failed} failed", targets.len());
    Ok(failed == 0 && !targets.is_empty())
}

fn seconds(arguments: &[String]) -> Result<u32, String> {
    match arguments {
        [] => Ok(SECONDS),
        [name, number] if name == "--seconds" => number
            .parse()
            .ok()
            .filter(|seconds| *seconds > 0)
            .ok_or_else(|| format!("`{number}` is no number of seconds")),
        _ => Err("fuzz takes `--seconds N` and nothing else".to_owned()),
    }
}

/// Where broken inputs go: into the folder's parent, so that they are no corpus.
fn prefix(found: &Path) -> String {
    let name = found.file_name().unwrap_or_default().to_string_lossy();
    let parent: PathBuf = found.parent().unwrap_or(found).to_path_buf();
    parent.join(format!("{name}-")).display().to_string()
}

/// The value of a line `NAME: value` of the final statistics.
fn statistic<'a>(said: &'a str, name: &str) -> Option<&'a str> {
    let line = said.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim())
}

/// The input that broke it, from `Test unit written to PATH`.
fn crash(said: &str) -> Option<&str> {
    let (_, rest) = said.split_once("Test unit written to ")?;
    rest.lines().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_and_wrong_ones_refused() {
        let ask = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            seconds(&words)
        };
        assert_eq!(ask(""), Ok(SECONDS));
        assert_eq!(ask("--seconds 3"), Ok(3));
        for wrong in ["--seconds", "--seconds 0", "--seconds x", "3"] {
            assert!(ask(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_the_fuzzer_says_is_understood() {
        let said = "#1 DONE\nstat::number_of_executed_units: 1234\nstat::other: 5\n";
        assert_eq!(
            statistic(said, "stat::number_of_executed_units:"),
            Some("1234")
        );
        let said = "==1== ERROR\nartifact_prefix='/x/a-'; Test unit written to /x/a-crash-1\nBase64: AA==\n";
        assert_eq!(crash(said), Some("/x/a-crash-1"));
        assert_eq!(crash("fine"), None);
    }

    #[test]
    fn every_target_has_a_corpus_and_a_file() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let text = std::fs::read_to_string(root.join(FOLDER).join("Cargo.toml")).unwrap();
        let manifest = Manifest::new(&text);
        let targets: Vec<&str> = manifest.values("bin", "name").collect();
        assert!(targets.len() >= 5, "{targets:?}");
        for target in targets {
            let file = root.join(FOLDER).join(format!("fuzz_targets/{target}.rs"));
            assert!(file.is_file(), "{}", file.display());
            let corpus = root.join(FOLDER).join("corpus").join(target);
            assert!(corpus.read_dir().unwrap().next().is_some(), "{target}");
        }
    }
}
