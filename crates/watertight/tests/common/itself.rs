//! This test binary, run again: as a child of a test, or as a process of one test's own.

use super::take_turn;
use std::process::Command;
#[cfg(target_os = "linux")]
use std::process::Stdio;

/// The name by which the harness knows a test. `module` is the `module_path!()` of the place where the test stands.
pub fn test_name(module: &str, test: &str) -> String {
    // The harness leaves the crate out.
    match module.split_once("::") {
        Some((_, within)) => format!("{within}::{test}"),
        None => test.to_owned(),
    }
}

/// Runs a test in a process of its own, in which `variable` is set, and expects that it passes there.
pub fn run_again(module: &str, test: &str, variable: &str) {
    let program = Command::new(std::env::current_exe().unwrap());
    assert_passes(program, module, test, variable);
}

/// Whether this process runs nothing but that test. If not, one that does is started and has to pass, and the test is over with that.
pub fn is_alone(module: &str, test: &str) -> bool {
    const ALONE: &str = "WATERTIGHT_TEST_ALONE";
    let is_alone = std::env::var_os(ALONE).is_some();
    if !is_alone {
        run_again(module, test, ALONE);
    }
    is_alone
}

/// Runs a program without these of root's capabilities, such as `-kill`.
#[cfg(target_os = "linux")]
fn setpriv(capabilities: &str) -> Command {
    let mut setpriv = Command::new("setpriv");
    setpriv.arg(format!("--bounding-set={capabilities}"));
    setpriv
}

/// Whether there is somebody here who runs this command without those capabilities, and it succeeds.
#[cfg(target_os = "linux")]
pub fn may_run_without(capabilities: &str, command: &[&str]) -> bool {
    take_turn();
    let mut trial = setpriv(capabilities);
    let status = trial.args(command).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// As [`run_again`], without these capabilities.
#[cfg(target_os = "linux")]
pub fn run_again_without(capabilities: &str, module: &str, test: &str, variable: &str) {
    let mut program = setpriv(capabilities);
    program.arg(std::env::current_exe().unwrap());
    assert_passes(program, module, test, variable);
}

/// Runs a test by a program that ends with this binary, with `variable` set, and expects that it passes there. A name that is no test's would
/// pass without a test.
pub fn assert_passes(mut program: Command, module: &str, test: &str, variable: &str) {
    take_turn();
    let output = program
        .args(["--exact", &test_name(module, test)])
        .env(variable, "1")
        .env("RUST_TEST_THREADS", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
