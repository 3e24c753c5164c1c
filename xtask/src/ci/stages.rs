//! What the gate consists of. A stage is a name, and commands or a reason why they cannot run on this machine.

use super::run::Step;
use crate::machine::{Machine, answer, has_cargo_tool};
use crate::manifest::Manifest;
use crate::{bare_metal, coverage, fuzz};
use std::time::Duration;

/// A stage that takes longer is killed.
pub(super) const TIME_MAX: Duration = Duration::from_secs(15 * 60);

/// The packages that have features of their own.
const FEATURED: [&str; 3] = ["watertight-core", "watertight-os", "watertight"];
/// Twice as many commands for each: above this, only alone, none and all.
const FEATURES_COMBINED_MAX: usize = 4;

/// Systems that no machine of ours runs, but whose code must compile.
const FOREIGN: [&str; 3] = [
    "x86_64-pc-windows-msvc",
    "aarch64-apple-darwin",
    "x86_64-unknown-freebsd",
];

const WINDOWS: &str = "x86_64-pc-windows-gnu";
const WINDOWS_RUNNER: &str = "CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER";

/// What users get, and what must work on every system.
const PRODUCT: &str = "-p watertight-core -p watertight-os -p watertight -p watertight-cli";
/// What shares memory with the kernel or between threads.
const HAZARDS: &str = "-p watertight-os -p watertight";

/// What a stage does on this machine.
pub(super) enum Plan {
    Run(Vec<Step>),
    Skip(String),
}

/// One part of the gate.
pub(super) struct Stage {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// Left out of a quick run.
    pub(super) is_slow: bool,
    /// Takes longer than a gate may: only when it is named.
    pub(super) is_on_request: bool,
    pub(super) plan: fn(&Machine) -> Plan,
}

const fn stage(name: &'static str, about: &'static str, plan: fn(&Machine) -> Plan) -> Stage {
    Stage {
        name,
        about,
        is_slow: false,
        is_on_request: false,
        plan,
    }
}

const fn slow(name: &'static str, about: &'static str, plan: fn(&Machine) -> Plan) -> Stage {
    let stage = stage(name, about, plan);
    Stage {
        is_slow: true,
        ..stage
    }
}

const fn on_request(name: &'static str, about: &'static str, plan: fn(&Machine) -> Plan) -> Stage {
    let stage = stage(name, about, plan);
    Stage {
        is_on_request: true,
        ..stage
    }
}

/// The gate, in order.
pub(super) const ALL: [Stage; 27] = [
    stage("fmt", "the one way to lay out code", |_| {
        run("fmt --all --check -- --color never")
    }),
    stage("clippy", "lints, warnings denied", |_| {
        run("clippy --workspace --all-targets --all-features -- -D warnings")
    }),
    stage("tidy", "the rules no compiler knows", |_| run("xtask tidy")),
    stage("xtask", "the automation's own tests", |_| {
        run("test --no-fail-fast -p xtask")
    }),
    stage("test", "all tests, with all features and with none", |_| {
        Plan::Run(vec![
            Step::cargo("test --no-fail-fast --all-features"),
            Step::cargo("test --no-fail-fast -p watertight"),
        ])
    }),
    stage(
        "features",
        "every combination of features compiles",
        features,
    ),
    stage("bare-metal", "the core without an operating system", bare),
    stage(
        "docs",
        "documentation, public and private, warnings denied",
        docs,
    ),
    stage("loom", "every interleaving of the driver's threads", loom),
    stage("sim", "the driver against a hostile kernel", simulation),
    stage("canary", "the simulator finds a planted bug, twice", canary),
    slow(
        "faults",
        "every call of the real kernel fails, with every code",
        faults,
    ),
    slow("twins", "each model has a bug that it catches", |_| {
        run("xtask twins")
    }),
    slow("coverage", "what the tests run, branch by branch", measured),
    slow("fuzz", "a few seconds of each fuzz target", fuzzed),
    slow("asan", "address and leak sanitizer", asan),
    slow("tsan", "thread sanitizer", tsan),
    slow(
        "valgrind",
        "the unsafe crate, and endings in flight, under memcheck",
        valgrind,
    ),
    stage("deny", "licences, bans and sources of dependencies", deny),
    stage(
        "advisories",
        "known vulnerabilities of dependencies",
        advisories,
    ),
    slow(
        "windows-lab",
        "Windows code, linted and run under Wine",
        windows_lab,
    ),
    slow("foreign", "systems that cannot run here compile", foreign),
    on_request("mutants", "what no test notices", |_| run("xtask mutants")),
    on_request("planted", "ten bugs against every layer", |_| {
        run("xtask planted")
    }),
    stage("msrv", "the oldest compiler promised", msrv),
    stage("macos", "the tests on macOS itself", |_| {
        skip("not this machine")
    }),
    stage("windows", "the tests on Windows itself", |_| {
        skip("not this machine")
    }),
];

fn run(words: &str) -> Plan {
    Plan::Run(vec![Step::cargo(words)])
}

fn skip(reason: impl Into<String>) -> Plan {
    Plan::Skip(reason.into())
}

fn features(machine: &Machine) -> Plan {
    if has_cargo_tool("hack") {
        let packages = FEATURED.map(|name| format!("-p {name}")).join(" ");
        return run(&format!(
            "hack clippy --keep-going --feature-powerset {packages} -- -D warnings"
        ));
    }
    let mut steps = Vec::new();
    for package in FEATURED {
        let file = machine.root.join("crates").join(package).join("Cargo.toml");
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) => return skip(format!("{}: {error}", file.display())),
        };
        let manifest = Manifest::new(&text);
        let names: Vec<&str> = manifest.keys("features").collect();
        steps.extend(combinations(&names).into_iter().map(|set| {
            Step::cargo(&format!("clippy -p {package} --no-default-features"))
                .arg(format!("--features={set}"))
                .arg("--")
                .arg("-Dwarnings")
        }));
    }
    Plan::Run(steps)
}

/// Every set of features; of too many, each alone, none and all.
fn combinations(names: &[&str]) -> Vec<String> {
    if names.len() > FEATURES_COMBINED_MAX {
        let alone = names.iter().map(|name| (*name).to_owned());
        return alone.chain([String::new(), names.join(",")]).collect();
    }
    (0..1_usize << names.len())
        .map(|set| {
            let chosen = names
                .iter()
                .enumerate()
                .filter(|(bit, _)| set >> bit & 1 == 1);
            chosen.map(|(_, name)| *name).collect::<Vec<_>>().join(",")
        })
        .collect()
}

fn bare(machine: &Machine) -> Plan {
    match bare_metal::plan(machine) {
        Ok(words) => run(&words.join(" ")),
        Err(reason) => skip(reason),
    }
}

/// The program's pages come first: it has the library's name, and the library's are to stay.
fn docs(_: &Machine) -> Plan {
    let mut steps = Vec::new();
    for extra in ["--document-private-items", ""] {
        for packages in ["-p watertight-cli", "--workspace --exclude watertight-cli"] {
            let words = format!("doc {packages} --no-deps --all-features {extra}");
            steps.push(Step::cargo(&words).env("RUSTDOCFLAGS", "-D warnings"));
        }
    }
    Plan::Run(steps)
}

/// Each checker has a folder of its own: its flag is every crate's, so nothing can be shared.
fn loom(machine: &Machine) -> Plan {
    if !machine.has_file("crates/watertight/src/models.rs") {
        return skip("no models in the tree yet");
    }
    let mut steps = Vec::new();
    for checker in ["loom", "shuttle"] {
        let models = format!("-p watertight --lib --profile models --target-dir target/{checker}");
        let lints = format!("clippy --tests {models} -- -D warnings");
        for words in [lints, format!("test {models} -- models")] {
            steps.push(Step::cargo(&words).env("RUSTFLAGS", format!("--cfg {checker}")));
        }
    }
    Plan::Run(steps)
}

fn simulation(_: &Machine) -> Plan {
    Plan::Run(vec![
        Step::cargo("test --no-fail-fast -p watertight-sim"),
        Step::cargo("xtask sim"),
    ])
}

fn measured(machine: &Machine) -> Plan {
    match coverage::plan(machine) {
        Ok(_) => run("xtask coverage"),
        Err(reason) => skip(reason),
    }
}

fn fuzzed(machine: &Machine) -> Plan {
    match fuzz::plan(machine) {
        Ok(_) => run("xtask fuzz"),
        Err(reason) => skip(reason),
    }
}

/// After `sim`, whose program it runs again without the bug.
fn canary(_: &Machine) -> Plan {
    run("xtask canary")
}

/// Its figures are in what it prints, which a passing test keeps to itself unless told.
fn faults(machine: &Machine) -> Plan {
    if !machine.host.contains("-linux-") {
        return skip("only set up for Linux");
    }
    let step = Step::cargo(
        "test -p watertight --all-features --test fault_loop -- --nocapture every_call",
    );
    Plan::Run(vec![step.env("WATERTIGHT_FAULT_ALL", "1")])
}

/// Why nightly's sanitizers cannot run here, if so.
fn no_sanitizer(machine: &Machine) -> Option<&'static str> {
    if !machine.host.ends_with("-linux-gnu") {
        Some("only set up for Linux with glibc")
    } else if !machine.has_nightly {
        Some("no nightly toolchain")
    } else {
        None
    }
}

fn asan(machine: &Machine) -> Plan {
    if let Some(reason) = no_sanitizer(machine) {
        return skip(reason);
    }
    let words = format!(
        "+nightly test --no-fail-fast {HAZARDS} --tests --all-features --target {} --target-dir target/asan",
        machine.host
    );
    Plan::Run(vec![
        Step::cargo(&words)
            .env("RUSTFLAGS", "-Zsanitizer=address")
            .env("WATERTIGHT_CYCLES", "25000")
            .env("ASAN_OPTIONS", "detect_leaks=1"),
    ])
}

fn tsan(machine: &Machine) -> Plan {
    if let Some(reason) = no_sanitizer(machine) {
        return skip(reason);
    }
    if !machine.has_library_source {
        return skip("nightly has no library sources, and without them it reports false races");
    }
    let words = format!(
        "+nightly test --no-fail-fast -Zbuild-std {HAZARDS} --tests --all-features --target {} --target-dir target/tsan",
        machine.host
    );
    Plan::Run(vec![
        Step::cargo(&words)
            .env("RUSTFLAGS", "-Zsanitizer=thread")
            .env("WATERTIGHT_CYCLES", "5000"),
    ])
}

/// As cargo's runner: it finds the test binaries itself.
fn valgrind(machine: &Machine) -> Plan {
    if answer("valgrind", &["--version"]).is_none() {
        return skip("valgrind is not installed");
    }
    let host = machine.host.to_uppercase().replace('-', "_");
    let runner = "valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite \
                  --free-fill=0xDD --malloc-fill=0xAA --fair-sched=try";
    Plan::Run(vec![
        Step::cargo("test --no-fail-fast -p watertight-os --tests --all-features")
            .env(format!("CARGO_TARGET_{host}_RUNNER"), runner),
        // Memcheck is some fifty times slower: fewer cycles show the same.
        Step::cargo("test --no-fail-fast -p watertight --test endurance --all-features")
            .env(format!("CARGO_TARGET_{host}_RUNNER"), runner)
            .env("WATERTIGHT_CYCLES", "100"),
    ])
}

fn deny(machine: &Machine) -> Plan {
    if !machine.has_file("deny.toml") || !has_cargo_tool("deny") {
        return skip("cargo-deny is not installed");
    }
    run("deny --all-features check licenses bans sources")
}

fn advisories(_: &Machine) -> Plan {
    if !has_cargo_tool("deny") {
        return skip("cargo-deny is not installed");
    }
    if answer("cargo", &["deny", "fetch", "db"]).is_none() {
        return skip("the advisory database cannot be reached");
    }
    run("deny --all-features check --disable-fetch advisories")
}

fn windows_lab(machine: &Machine) -> Plan {
    let Some(toolchain) = machine.toolchain_for(WINDOWS) else {
        return skip(format!("no toolchain has the target {WINDOWS}"));
    };
    if std::env::consts::OS != "linux" {
        return skip("only set up for Linux");
    }
    if std::env::var_os(WINDOWS_RUNNER).is_none() {
        return skip(format!("{WINDOWS_RUNNER} names no runner"));
    }
    let common = format!("{PRODUCT} --all-features --target {WINDOWS} --target-dir target/windows");
    Plan::Run(vec![
        Step::cargo(&format!(
            "{toolchain} clippy --all-targets {common} -- -D warnings"
        )),
        Step::cargo(&format!("{toolchain} test --no-fail-fast {common}")),
    ])
}

fn foreign(machine: &Machine) -> Plan {
    if !machine.has_library_source {
        return skip("nightly has no library sources to check against");
    }
    let target = |name| {
        let words = format!(
            "+nightly check -Zbuild-std {PRODUCT} --all-targets --all-features --target {name} --target-dir target/foreign"
        );
        Step::cargo(&words)
    };
    Plan::Run(FOREIGN.map(target).to_vec())
}

fn msrv(machine: &Machine) -> Plan {
    let text = std::fs::read_to_string(machine.root.join("Cargo.toml")).unwrap_or_default();
    let manifest = Manifest::new(&text);
    let Some(version) = manifest.value("workspace.package", "rust-version") else {
        return skip("Cargo.toml names no rust-version");
    };
    match machine.toolchain_of_version(version) {
        Some(toolchain) => run(&format!(
            "{toolchain} check {PRODUCT} --all-targets --all-features --target-dir target/msrv"
        )),
        None => skip(format!("no toolchain {version} is installed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn bare_machine() -> Machine {
        Machine {
            root: PathBuf::from("nowhere"),
            host: "x86_64-unknown-linux-gnu".to_owned(),
            has_nightly: false,
            has_library_source: false,
        }
    }

    fn reason(plan: Plan) -> String {
        match plan {
            Plan::Run(_) => String::new(),
            Plan::Skip(reason) => reason,
        }
    }

    #[test]
    fn features_are_combined_up_to_a_bound() {
        assert_eq!(combinations(&[]), [""]);
        assert_eq!(combinations(&["a", "b"]), ["", "a", "b", "a,b"]);
        let many = combinations(&["a", "b", "c", "d", "e"]);
        assert_eq!(many, ["a", "b", "c", "d", "e", "", "a,b,c,d,e"]);
    }

    #[test]
    fn what_cannot_run_is_skipped_with_a_reason() {
        let machine = bare_machine();
        assert_eq!(reason(loom(&machine)), "no models in the tree yet");
        assert_eq!(reason(asan(&machine)), "no nightly toolchain");
        assert!(reason(foreign(&machine)).contains("no library sources"));
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = ALL.iter().map(|stage| stage.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
