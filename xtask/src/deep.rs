//! The deep parts: what takes longer than a landing may, cut into parts of at most five minutes from nothing, one of which
//! every landing runs, in turn.
//!
//! Never here: the bugs that the models must find (`twins.rs`), and what a tool of its own knows.

use crate::machine::{self, Machine, NIGHTLY, answer, has_cargo_tool};
use crate::quick::{PRODUCT, models};
use crate::run::{Plan, Step};
use crate::twins::SHARDS;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// A part that takes longer is stopped and reported; twice running it has failed.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(5 * 60);
/// How many of the last commits say which parts come first.
const COMMITS_LOOKED_AT: &str = "10";
/// How many mutants one part tries: the build takes a minute, and each of them half a minute.
const MUTANTS_MAX: usize = 7;

/// What shares memory with the kernel or between threads.
const HAZARDS: &str = "-p watertight-os -p watertight";
/// Systems that no machine of ours runs, but whose code must compile.
const FOREIGN: [&str; 3] = [
    "x86_64-pc-windows-msvc",
    "aarch64-apple-darwin",
    "x86_64-unknown-freebsd",
];
/// The packages with features of their own.
const FEATURED: [&str; 3] = ["watertight-core", "watertight-os", "watertight"];
/// Any one of them proves that the core needs no operating system.
const BARE: [&str; 2] = ["x86_64-unknown-none", "thumbv7em-none-eabi"];

const FUZZ_FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address -Ccodegen-units=1 -Cdebug-assertions";
/// Longer inputs find nothing that shorter ones do not; a longer time on one input is a loop without an end.
const FUZZ_LIMITS: &str = "-max_total_time=10 -max_len=500 -timeout=10 -print_final_stats=1";

/// Where the product's sources are: a part names those whose changes bring it first.
const CORE: &str = "crates/watertight-core/src/";
const DRIVER: &str = "crates/watertight/src/";
const OS: &str = "crates/watertight-os/src/";
const UNIX: &str = "crates/watertight-os/src/unix/";
const SIMULATOR: &str = "crates/watertight-sim/";
const MANIFEST: &str = "Cargo.toml";

/// A part: its name, the places whose changes bring it first (a folder, or how a file's name ends), and what it does.
pub(crate) type Part = (&'static str, &'static [&'static str], fn(&Machine) -> Plan);

pub(crate) const PARTS: [Part; 20] = [
    // A quarter of the models each fail with their bugs.
    ("twins-1", &[DRIVER], |_| twins(1)),
    ("twins-2", &[DRIVER], |_| twins(2)),
    ("twins-3", &[DRIVER], |_| twins(3)),
    ("twins-4", &[DRIVER], |_| twins(4)),
    ("canary", &[SIMULATOR], |_| run("xtask twins canary")),
    ("loom", &[CORE, DRIVER], |_| {
        Plan::Run(vec![models("loom", "models")])
    }),
    ("shuttle", &[DRIVER], |_| {
        Plan::Run(vec![models("shuttle", "models")])
    }),
    // All seeds, and every fault of every simulated call.
    ("simulation", &[CORE, DRIVER], |_| run("xtask sim")),
    ("faults", &[UNIX], |machine| {
        faults(machine, "every_call_may")
    }),
    ("faults-children", &[UNIX], |machine| {
        faults(machine, "every_call_of_a_child")
    }),
    ("asan", &[OS], |machine| {
        sanitized(machine, "address", "5000")
    }),
    ("tsan", &[DRIVER, OS], tsan),
    ("valgrind", &[OS], valgrind),
    ("fuzz", &[CORE, "fuzz/"], fuzz),
    ("foreign", &[OS], foreign),
    ("plain", &[MANIFEST], plain),
    ("features", &[MANIFEST], features),
    ("dependencies", &[MANIFEST, "Cargo.lock"], dependencies),
    ("coverage", &[], coverage),
    ("mutants", &[CORE, DRIVER], mutants),
];

fn run(words: &str) -> Plan {
    Plan::Run(vec![Step::cargo(words)])
}

/// Whose turn it is: all parts, those first whose files the last commits touched, each group beginning at another place
/// for every commit. So every part comes round, and what has just changed comes sooner.
pub(crate) fn turns(root: &Path) -> Vec<&'static Part> {
    let number = commit_number(root);
    let log = ["log", "--name-only", "--format=", "-n", COMMITS_LOOKED_AT];
    let touched = machine::git(root, &log).unwrap_or_default();
    in_turn(number, &touched)
}

/// How many commits there are, which makes every landing's turn another one.
fn commit_number(root: &Path) -> usize {
    let is_shallow = machine::git(root, &["rev-parse", "--is-shallow-repository"])
        .is_none_or(|answer| answer.trim() != "false");
    let commits = machine::git(root, &["rev-list", "--count", "HEAD"]);
    let number = commits.filter(|_| !is_shallow);
    number
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or_else(|| {
            // The commits of a shallow clone cannot be counted.
            let commit = machine::commit(root);
            usize::from_str_radix(commit.get(..8).unwrap_or("0"), 16).unwrap_or(0)
        })
}

/// Every other turn is one of a part whose files were touched, so that those which never are come round too.
fn in_turn(number: usize, touched: &str) -> Vec<&'static Part> {
    let is_touched = |part: &&Part| {
        let named = |place: &&str| {
            touched
                .lines()
                .any(|path| path.starts_with(place) || path.ends_with(place))
        };
        part.1.iter().any(named)
    };
    let touched: Vec<&Part> = PARTS.iter().filter(is_touched).collect();
    let mut turns = Vec::new();
    if number % 2 == 1 && !touched.is_empty() {
        turns.push(touched[number / 2 % touched.len()]);
    }
    let start = number / 2 % PARTS.len();
    turns.extend(PARTS[start..].iter().chain(&PARTS[..start]));
    let mut seen = BTreeSet::new();
    turns.retain(|part| seen.insert(part.0));
    turns
}

/// The library without features. The endless cycles run in the quick gate.
fn plain(_: &Machine) -> Plan {
    let library = Step::cargo("test --no-fail-fast -p watertight").env("WATERTIGHT_CYCLES", "2000");
    Plan::Run(vec![library])
}

fn twins(shard: usize) -> Plan {
    run(&format!("xtask twins --shard {shard}/{SHARDS}"))
}

/// A few seconds of each fuzz target, from the committed corpus and without writing into it. The flags are what cargo-fuzz
/// passes: libFuzzer counts edges and compares in line, the address sanitizer watches.
fn fuzz(machine: &Machine) -> Plan {
    if let Some(reason) = machine.lacks_sanitizers() {
        return Plan::skip(reason);
    }
    let place = format!("target/fuzz/{}/release", machine.host);
    let words = format!(
        "{NIGHTLY} build --release --bins --manifest-path fuzz/Cargo.toml --target {} --target-dir target/fuzz",
        machine.host
    );
    let mut steps = vec![Step::cargo(&words).env("RUSTFLAGS", FUZZ_FLAGS)];
    let targets = std::fs::read_dir(machine.root.join("fuzz/fuzz_targets"));
    for target in targets.into_iter().flatten().flatten() {
        let file = target.path();
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let found = format!("target/fuzz/found/{name}");
        if let Err(error) = std::fs::create_dir_all(machine.root.join(&found)) {
            return Plan::skip(format!("{found}: {error}"));
        }
        // The first folder is the one it writes into.
        let words = format!(
            "{place}/{name} {found} fuzz/corpus/{name} -artifact_prefix={found}- {FUZZ_LIMITS}"
        );
        steps.push(Step::new(&words));
    }
    Plan::Run(steps)
}

/// Every call of the real kernel fails, with every code. Its figures are in what it prints, which a passing test keeps to itself unless told.
fn faults(machine: &Machine, test: &str) -> Plan {
    if !machine.host.contains("-linux-") {
        return Plan::skip("only set up for Linux");
    }
    let words =
        format!("test -p watertight --all-features --test fault_loop -- --nocapture {test}");
    Plan::Run(vec![Step::cargo(&words).env("WATERTIGHT_FAULT_ALL", "1")])
}

fn sanitized(machine: &Machine, sanitizer: &str, cycles: &str) -> Plan {
    if let Some(reason) = machine.lacks_sanitizers() {
        return Plan::skip(reason);
    }
    // Without a library built with it, the thread sanitizer reports false races.
    let library = if sanitizer == "thread" {
        "-Zbuild-std"
    } else {
        ""
    };
    let words = format!(
        "{NIGHTLY} test --no-fail-fast {library} {HAZARDS} --tests --all-features --target {} --target-dir target/{sanitizer}",
        machine.host
    );
    Plan::Run(vec![
        Step::cargo(&words)
            .env("RUSTFLAGS", format!("-Zsanitizer={sanitizer}"))
            .env("WATERTIGHT_CYCLES", cycles)
            .env("ASAN_OPTIONS", "detect_leaks=1")
            // Tests fork, and the child may go on: that is what they are about. At its exit every process would sleep for a second,
            // in case another thread still has a race to show; some two hundred processes are started.
            .env("TSAN_OPTIONS", "die_after_fork=0 atexit_sleep_ms=0"),
    ])
}

fn tsan(machine: &Machine) -> Plan {
    if machine.has_library_source {
        sanitized(machine, "thread", "2000")
    } else {
        Plan::skip("nightly has no library sources, and without them it reports false races")
    }
}

/// As cargo's runner: it finds the test binaries itself.
fn valgrind(machine: &Machine) -> Plan {
    if answer("valgrind", &["--version"]).is_none() {
        return Plan::skip("valgrind is not installed");
    }
    let runner = format!(
        "CARGO_TARGET_{}_RUNNER",
        machine.host.to_uppercase().replace('-', "_")
    );
    let checker = "valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite \
                   --free-fill=0xDD --malloc-fill=0xAA --fair-sched=try";
    // It runs one thread at a time, so tests at the same time would only be late.
    Plan::Run(vec![
        // It knows no pidfd_send_signal and survives no exec that fails, and one that forks again and again takes minutes under it: so those of
        // other processes say nothing there.
        Step::cargo("test --no-fail-fast -p watertight-os --tests --all-features --")
            .arg("--skip=unix_process")
            .arg("--skip=unix_positions")
            .env(&runner, checker)
            .env("RUST_TEST_THREADS", "1"),
        // Memcheck is some fifty times slower: fewer cycles show the same.
        Step::cargo("test --no-fail-fast -p watertight --test endurance --all-features")
            .env(&runner, checker)
            .env("RUST_TEST_THREADS", "1")
            .env("WATERTIGHT_CYCLES", "100"),
    ])
}

/// Systems that cannot run here compile.
fn foreign(machine: &Machine) -> Plan {
    if !machine.has_library_source {
        return Plan::skip("nightly has no library sources to check against");
    }
    let check = |name| {
        let words = format!(
            "{NIGHTLY} check -Zbuild-std {PRODUCT} --all-targets --all-features --target {name} --target-dir target/foreign"
        );
        Step::cargo(&words)
    };
    Plan::Run(FOREIGN.map(check).to_vec())
}

/// Every combination of features compiles, and the core on bare metal.
fn features(machine: &Machine) -> Plan {
    let metadata = match machine::metadata(&machine.root) {
        Ok(metadata) => metadata,
        Err(reason) => return Plan::skip(reason),
    };
    let mut steps = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let features = package["features"].as_object();
        let names: Vec<&str> = features
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect();
        if FEATURED.contains(&name) {
            steps.extend(combinations(&names).iter().map(|set| {
                Step::cargo(&format!("clippy -p {name} --no-default-features"))
                    .arg(format!("--features={set}"))
                    .arg("--")
                    .arg("-Dwarnings")
            }));
        }
    }
    match BARE
        .into_iter()
        .find_map(|target| Some((machine.toolchain_for(target)?, target)))
    {
        Some((toolchain, target)) => steps.push(bare(toolchain, target, "")),
        None if machine.has_library_source => {
            steps.push(bare(NIGHTLY, BARE[0], "-Zbuild-std=core,alloc"))
        }
        None => println!(
            "   skipped: bare metal: no target of {} is installed",
            BARE.join(", ")
        ),
    }
    Plan::Run(steps)
}

fn bare(toolchain: &str, target: &str, extra: &str) -> Step {
    Step::cargo(&format!(
        "{toolchain} build -p watertight-core --no-default-features --target {target} --target-dir target/bare {extra}"
    ))
}

/// Every set of features.
fn combinations(names: &[&str]) -> Vec<String> {
    let set = |bits: usize| {
        let chosen = names
            .iter()
            .enumerate()
            .filter(|(at, _)| bits >> at & 1 == 1);
        chosen.map(|(_, name)| *name).collect::<Vec<_>>().join(",")
    };
    (0..1_usize << names.len()).map(set).collect()
}

/// The oldest compiler promised; licences, bans and advisories of what we depend on.
fn dependencies(machine: &Machine) -> Plan {
    let (mut steps, mut lacks) = (Vec::new(), Vec::new());
    let metadata = machine::metadata(&machine.root).unwrap_or_default();
    let oldest = metadata["packages"][0]["rust_version"]
        .as_str()
        .unwrap_or_default();
    match machine.toolchain_of_version(oldest) {
        Some(toolchain) => steps.push(Step::cargo(&format!(
            "{toolchain} check {PRODUCT} --all-targets --all-features --target-dir target/msrv"
        ))),
        None => lacks.push(format!("no toolchain {oldest} is installed")),
    }
    if has_cargo_tool("deny") {
        let mut words = "deny --all-features check".to_owned();
        if answer("cargo", &["deny", "fetch", "db"]).is_none() {
            lacks.push("the database of advisories cannot be fetched".to_owned());
            words += " bans licenses sources";
        }
        steps.push(Step::cargo(&words));
    } else {
        lacks.push("cargo-deny is not installed".to_owned());
    }
    if steps.is_empty() {
        return Plan::skip(lacks.join("; "));
    }
    for reason in &lacks {
        println!("   skipped: {reason}");
    }
    Plan::Run(steps)
}

/// Of the product's lines: the simulator is run whole by a stage of its own. The threshold is what was reached on Linux when it
/// was set (95 of 100), less a little.
fn coverage(_: &Machine) -> Plan {
    if !has_cargo_tool("llvm-cov") {
        return Plan::skip("cargo-llvm-cov is not installed");
    }
    let words = "llvm-cov test --all-features -p watertight-core -p watertight-os -p watertight -p watertight-sim \
        --ignore-filename-regex watertight-sim/ --fail-under-lines 93";
    Plan::Run(vec![Step::cargo(words).env("WATERTIGHT_CYCLES", "500")])
}

/// What is mutated, and with which tests, stands in `.cargo/mutants.toml`. Of the mutants of the last commits one shard, that
/// the time is enough for, another for every commit.
fn mutants(machine: &Machine) -> Plan {
    if !has_cargo_tool("mutants") {
        return Plan::skip("cargo-mutants is not installed");
    }
    let newest = format!("HEAD~{COMMITS_LOOKED_AT}");
    let Some(diff) = machine::git(&machine.root, &["diff", &newest, "HEAD", "--", "crates"]) else {
        return Plan::skip("a shallow clone does not know what the last commits changed");
    };
    let file = machine.root.join("target/mutants.diff");
    if let Err(error) = std::fs::write(&file, diff) {
        return Plan::skip(format!("{}: {error}", file.display()));
    }
    let (root, path) = (machine.root.to_string_lossy(), file.to_string_lossy());
    let list = ["mutants", "--dir", &root, "--in-diff", &path, "--list"];
    let Some(list) = answer("cargo", &list) else {
        return Plan::skip("cargo-mutants does not say what it would change");
    };
    let shards = list.lines().count().div_ceil(MUTANTS_MAX).max(1);
    let shard = commit_number(&machine.root) % shards;
    // 3: some mutants hung, and a hang is noticed.
    Plan::Run(vec![Step::new("sh -c").arg(format!(
        "cargo mutants --in-diff target/mutants.diff --output target/mutants --shard {shard}/{shards} || [ $? = 3 ]"
    ))])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(number: usize, touched: &str) -> &'static str {
        in_turn(number, touched)[0].0
    }

    #[test]
    fn every_part_comes_round_whatever_was_touched() {
        for touched in ["", "crates/watertight/src/driver.rs"] {
            let first: BTreeSet<&str> = (0..2 * PARTS.len())
                .map(|number| first(number, touched))
                .collect();
            assert_eq!(first.len(), PARTS.len(), "{touched}");
        }
    }

    #[test]
    fn what_was_touched_comes_every_other_time() {
        let of_driver = |name: &str| {
            PARTS
                .iter()
                .any(|part| part.0 == name && part.1.contains(&DRIVER))
        };
        assert!(
            (0..20).all(|turn| of_driver(first(2 * turn + 1, "crates/watertight/src/driver.rs")))
        );
        let of_manifests: BTreeSet<&str> = (0..20)
            .map(|turn| first(2 * turn + 1, "crates/a/Cargo.toml"))
            .collect();
        assert_eq!(
            of_manifests,
            BTreeSet::from(["dependencies", "features", "plain"])
        );
    }

    #[test]
    fn a_turn_names_each_part_once() {
        let turns = in_turn(1, "crates/watertight/src/driver.rs");
        let names: BTreeSet<&str> = turns.iter().map(|part| part.0).collect();
        assert_eq!((turns.len(), names.len()), (PARTS.len(), PARTS.len()));
    }

    #[test]
    fn every_set_of_features_is_there_once() {
        assert_eq!(combinations(&[]), [""]);
        assert_eq!(combinations(&["a", "b"]), ["", "a", "b", "a,b"]);
    }
}
