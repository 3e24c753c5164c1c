//! The project's automation: what a shell script would do elsewhere, in Rust so that it runs on Windows too.
//!
//! Never here: anything a published crate needs. The commands are listed by `cargo xtask help`.
#![forbid(unsafe_code)]

mod bare_metal;
mod ci;
mod coverage;
mod figures;
mod fuzz;
mod machine;
mod manifest;
mod mutants;
mod planted;
mod sim;
mod source;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask COMMAND

  tidy                 the rules no compiler knows; prints file:line: rule: what, and the way out
  bare-metal           builds watertight-core where there is no operating system
  canary               plants one bug, expects that the simulator's seeds find it and that its seed finds it again
  coverage             runs the tests with coverage; a table per file; fails below the thresholds
  figures [--write]    the figures of docs/testing.md, from the logs of the last runs; --write puts them there
  fuzz [--seconds N]   every fuzz target for N seconds (10), from the committed corpus
  mutants [core|driver]  changes one thing at a time and looks whether a test fails; prints the score (takes long)
  planted [NAME...]    plants bugs of ten classes and asks every layer of checks; prints who caught what (takes long)
  sim [ARGUMENT...]    runs the simulator (release build), with these arguments
  twins [NAME...]      plants a bug for each model of the driver's races and expects that the model fails; NAME: these only
  ci [OPTION...]       the whole gate; logs go to target/ci/STAGE.log
      --list               name the stages and stop
      --only NAME[,NAME]   these stages only
      --quick              without sanitizers, valgrind, the Windows lab and foreign targets
      --no-skips           a stage that cannot run here counts as failed
  help                 this text
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let root = root();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("", &[][..]),
    };
    let outcome = match (command, rest) {
        ("tidy", []) => tidy::run(&root),
        ("bare-metal", []) => bare_metal::run(&root),
        ("coverage", []) => coverage::run(&root),
        ("figures", rest) => figures::run(&root, rest),
        ("fuzz", rest) => fuzz::run(&root, rest),
        ("mutants", rest) => mutants::run(&root, rest),
        ("sim", rest) => sim::run(&root, rest),
        ("planted", names) => planted::matrix::run(&root, names),
        ("canary", []) => planted::canary::run(&root),
        ("twins", names) => planted::run(&root, &planted::twins::all(), names),
        ("ci", rest) => ci::run(&root, rest),
        ("help" | "--help" | "-h", _) => {
            print!("{USAGE}");
            Ok(true)
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's folder. Cargo says where it is when it runs us; a binary started by hand falls back on where it was built.
fn root() -> PathBuf {
    let manifest = std::env::var("CARGO_MANIFEST_DIR")
        .ok()
        .filter(|folder| Path::new(folder).ends_with("xtask"))
        .unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").to_owned());
    Path::new(&manifest)
        .parent()
        .expect("xtask is a folder of the workspace")
        .to_path_buf()
}
