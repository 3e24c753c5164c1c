//! The project's automation: what a shell script would do elsewhere, in Rust so that it runs on Windows too.
//!
//! Never here: anything a published crate needs, and anything a well-kept tool does (docs/testing.md names the tools).
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program prints"
)]

mod ci;
mod deep;
mod machine;
mod quick;
mod run;
mod tidy;
mod twins;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "\
cargo xtask COMMAND

  ci [OPTION...]       what a landing is judged by: the quick gate, then one deep part, in turn
      --quick          the quick gate alone (18 minutes from nothing on two cores)
      --deep [PART...] these deep parts alone; without names the one whose turn it is
      --only NAME[,NAME]  these quick stages alone
      --list           name the stages and the parts, and whose turn it is
      --no-skips       what cannot run here counts as failed
  tidy                 the rules no tool knows; prints file:line: rule: what, and the way out
  sim [ARGUMENT...]    the simulator, seeded by the commit; `cargo xtask sim --help` lists its arguments
  twins [NAME...]      makes each model's bug in a copy of the tree and expects that the model fails; NAME: these only
  twins --check        only whether every twin still applies
  help                 this text

Logs go to target/ci/NAME.log.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let root = root();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("", &[][..]),
    };
    let outcome = match (command, rest) {
        ("ci", rest) => ci::run(&root, rest),
        ("tidy", []) => tidy::run(&root),
        ("sim", rest) => simulate(&root, rest),
        ("twins", rest) => twins::run(&root, rest),
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

/// The simulator's arguments are its own business; without a seed it begins at the commit's hash.
fn simulate(root: &Path, rest: &[String]) -> Result<bool, String> {
    let status = Command::new("cargo")
        .args(["run", "--release", "-p", "watertight-sim", "--", "--commit"])
        .arg(machine::commit(root))
        .args(rest)
        .current_dir(root)
        .status();
    let status = status.map_err(|error| format!("cargo does not run: {error}"))?;
    Ok(status.success())
}

/// The workspace's folder, where this was built.
fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = xtask.parent().expect("xtask is a folder of the workspace");
    root.to_path_buf()
}
