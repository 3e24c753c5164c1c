//! The quick gate: what every change passes before the next one begins. About 18 minutes from a fresh clone on two cores, most of
//! them compiling.
//!
//! Never here: what takes longer (`deep.rs`), and how commands are run (`run.rs`).

use crate::machine::{Machine, commit};
use crate::run::{Plan, Step};

/// What users get, and what must work on every system.
pub(crate) const PRODUCT: &str =
    "-p watertight-core -p watertight-os -p watertight -p watertight-cli";
pub(crate) const WINDOWS: &str = "x86_64-pc-windows-gnu";
const WINDOWS_RUNNER: &str = "CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER";
/// Some two million simulated operations.
const SEEDS: &str = "11000";
/// How many schedules of each large model are drawn here.
const SCHEDULES: &str = "300";

/// A stage: its name, and what it does on a machine.
pub(crate) type Stage = (&'static str, fn(&Machine) -> Plan);

/// The gate, in order: what is quick to fail comes first.
pub(crate) const STAGES: [Stage; 10] = [
    ("fmt", |_| run("fmt --all --check -- --color never")),
    ("tidy", |_| run("xtask tidy")),
    ("clippy", |_| {
        run("clippy --workspace --all-targets --all-features -- -D warnings")
    }),
    // The README's command, as it stands there; the fault loop's sample is a part of it.
    ("test", |_| run("test --no-fail-fast --all-features")),
    ("plain", plain),
    ("tools", |_| {
        run("test --no-fail-fast -p xtask -p watertight-sim")
    }),
    ("sim", simulation),
    ("models", small_models),
    ("docs", docs),
    ("windows", windows),
];

fn run(words: &str) -> Plan {
    Plan::Run(vec![Step::cargo(words)])
}

/// The tests that run without features in the quick gate: each kind of end, both ways to wait, children and transfers. Everything is
/// compiled; the rest differs by no line of the product, and runs in the deep part `plain`.
const PLAIN: [&str; 2] = [
    "--lib --test conformance --test children",
    "--test pipes --test transfers -- unix:: transfer::",
];

/// The library without features, and the core without std.
fn plain(_: &Machine) -> Plan {
    let mut steps = vec![Step::cargo("check -p watertight --all-targets")];
    steps.extend(
        PLAIN.map(|some| Step::cargo(&format!("test --no-fail-fast -p watertight {some}"))),
    );
    steps.push(Step::cargo(
        "check -p watertight-core --no-default-features",
    ));
    Plan::Run(steps)
}

/// The driver against a hostile kernel.
fn simulation(machine: &Machine) -> Plan {
    let commit = commit(&machine.root);
    run(&format!(
        "run -p watertight-sim -- --commit {commit} seeds --count {SEEDS}"
    ))
}

/// Documentation, public and private. The program has the library's name, and cargo would write both to one place.
fn docs(_: &Machine) -> Plan {
    let words = "doc --workspace --exclude watertight-cli --no-deps --all-features --document-private-items";
    Plan::Run(vec![Step::cargo(words).env("RUSTDOCFLAGS", "-D warnings")])
}

/// The models of the driver's races, at a bound that two minutes are enough for.
fn small_models(_: &Machine) -> Plan {
    let shuttle = models("shuttle", "models").env("WATERTIGHT_SCHEDULES", SCHEDULES);
    Plan::Run(vec![models("loom", "models"), shuttle])
}

/// The models of one checker. Each has a folder of its own: its flag is every crate's, so nothing can be shared.
pub(crate) fn models(checker: &str, filter: &str) -> Step {
    let words = format!(
        "test --no-fail-fast -p watertight --lib --target-dir target/{checker} --profile models -- {filter}"
    );
    Step::cargo(&words).env("RUSTFLAGS", format!("--cfg {checker}"))
}

/// Windows code, linted and run under Wine.
fn windows(machine: &Machine) -> Plan {
    if cfg!(windows) {
        return Plan::skip("the stage `test` is this here");
    }
    let Some(toolchain) = machine.toolchain_for(WINDOWS) else {
        return Plan::skip(format!("no toolchain has the target {WINDOWS}"));
    };
    if std::env::var_os(WINDOWS_RUNNER).is_none() {
        return Plan::skip(format!(
            "{WINDOWS_RUNNER} names no program that runs Windows' programs"
        ));
    }
    let common = format!("{PRODUCT} --all-features --target {WINDOWS} --target-dir target/windows");
    Plan::Run(vec![
        Step::cargo(&format!(
            "{toolchain} clippy --all-targets {common} -- -D warnings"
        )),
        // With more than one the tests do not count handles: the harness has some of its own then.
        Step::cargo(&format!("{toolchain} test --no-fail-fast {common}"))
            .env("RUST_TEST_THREADS", "1"),
    ])
}
