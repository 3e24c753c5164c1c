//! The layers of checks that a planted bug is shown to: a command each, and which sources it is built from.

use crate::ci::run::Step;
use crate::machine::Machine;
use std::path::Path;

const WINDOWS: &str = "x86_64-pc-windows-gnu";
const WINDOWS_RUNNER: &str = "CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER";

/// Endings with an operation in flight, of each kind: the full number takes most of a minute.
const CYCLES: &str = "2000";
const CYCLES_WINE: &str = "200";
const SEEDS: &str = "seeds --from 1 --count 20000";

/// For each bug everything above it is built again: what a debugger wants is not, and what can stay is kept.
const QUICK: [(&str, &str); 3] = [
    ("CARGO_INCREMENTAL", "1"),
    ("CARGO_PROFILE_DEV_DEBUG", "0"),
    ("CARGO_PROFILE_TEST_DEBUG", "0"),
];

/// From the copy of the tree.
const HERE: &str = "--target-dir ../build";
const LOOM: &str = "--target-dir ../../loom";

/// One layer.
pub(super) struct Layer {
    pub(super) name: &'static str,
    pub(super) build: Step,
    pub(super) run: Step,
    /// Why this machine cannot run it, if so.
    pub(super) lacks: Option<String>,
    has: fn(Source) -> bool,
}

/// What a bug was planted in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Source {
    Core,
    Driver,
    Unix,
    UnixTable,
    Windows,
    WindowsTable,
}

impl Source {
    /// `None`: no layer is known for such a file.
    pub(super) fn of(file: &str) -> Option<Source> {
        let place = [
            ("crates/watertight-core/src/", Source::Core),
            ("crates/watertight/src/", Source::Driver),
            (
                "crates/watertight-os/src/unix/classify.rs",
                Source::UnixTable,
            ),
            ("crates/watertight-os/src/unix/", Source::Unix),
            (
                "crates/watertight-os/src/windows/classify.rs",
                Source::WindowsTable,
            ),
            ("crates/watertight-os/src/windows/", Source::Windows),
        ];
        let found = place.into_iter().find(|(start, _)| file.starts_with(start));
        found.map(|(_, source)| source)
    }

    fn is_simulated(self) -> bool {
        !matches!(self, Source::Unix | Source::Windows)
    }

    fn is_unix(self) -> bool {
        matches!(self, Source::Unix | Source::UnixTable)
    }

    fn is_windows(self) -> bool {
        matches!(self, Source::Windows | Source::WindowsTable)
    }

    fn is_decided(self) -> bool {
        matches!(self, Source::Core | Source::Driver)
    }
}

impl Layer {
    /// Whether it would notice at all: it is built from what the bug is in. Core and driver are the same on every system,
    /// so that those under Wine are not asked about them.
    pub(super) fn has(&self, source: Source) -> bool {
        (self.has)(source)
    }
}

/// The program and these words, built quickly.
fn cargo(words: &str) -> Step {
    QUICK
        .into_iter()
        .fold(Step::cargo(words), |step, (name, value)| {
            step.env(name, value)
        })
}

/// All of them, cheapest first.
pub(super) fn all(machine: &Machine) -> Vec<Layer> {
    let library = tests_of(&machine.root.join("crates/watertight/tests"));
    let test = |name, words: &str, run: &str, has| Layer {
        name,
        build: cargo(&format!("test {HERE} {words} --no-run")),
        run: cargo(&format!("test {HERE} {words} {run}")).env("WATERTIGHT_CYCLES", CYCLES),
        lacks: None,
        has,
    };
    let simulate = |name, words| {
        let sim = format!("--release -p watertight-sim {HERE}");
        Layer {
            name,
            build: cargo(&format!("build {sim}")),
            run: cargo(&format!("run {sim} -- {words}")),
            lacks: None,
            has: Source::is_simulated,
        }
    };
    vec![
        test("core", "-p watertight-core --lib --tests", "", |source| {
            source == Source::Core
        }),
        test(
            "os",
            "-p watertight-os --lib --tests --all-features",
            "",
            |source| source.is_unix() || source == Source::WindowsTable,
        ),
        test(
            "library",
            &format!("-p watertight --lib {library} --all-features"),
            "",
            |source| !source.is_windows(),
        ),
        test(
            "fault loop",
            "-p watertight --test fault_loop --all-features",
            "",
            |source| !source.is_windows(),
        ),
        simulate("sim seeds", SEEDS),
        simulate("sim faults", "faults"),
        models(),
        under_wine(machine, "os, Wine", "-p watertight-os --lib --tests"),
        under_wine(
            machine,
            "library, Wine",
            &format!("-p watertight --lib {library}"),
        ),
    ]
}

fn models() -> Layer {
    let models = format!("test -p watertight --lib --profile models {LOOM}");
    let step = |words: &str| {
        let step = cargo(&format!("{models} {words}"));
        step.env("RUSTFLAGS", "--cfg loom")
            .env("RUST_BACKTRACE", "0")
    };
    Layer {
        name: "loom",
        build: step("--no-run"),
        run: step("-- models"),
        lacks: None,
        has: Source::is_decided,
    }
}

fn under_wine(machine: &Machine, name: &'static str, words: &str) -> Layer {
    let toolchain = machine.toolchain_for(WINDOWS);
    let lacks = if toolchain.is_none() {
        Some(format!("no toolchain has the target {WINDOWS}"))
    } else if std::env::var_os(WINDOWS_RUNNER).is_none() {
        Some(format!("{WINDOWS_RUNNER} names no runner"))
    } else {
        None
    };
    let test = format!(
        "{} test {HERE} --target {WINDOWS} {words} --all-features",
        toolchain.unwrap_or_default()
    );
    Layer {
        name,
        build: cargo(&format!("{test} --no-run")),
        run: cargo(&test).env("WATERTIGHT_CYCLES", CYCLES_WINE),
        lacks,
        has: Source::is_windows,
    }
}

/// The library's tests but the fault loop, which is a layer of its own.
fn tests_of(folder: &Path) -> String {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .filter(|name| name != "fault_loop")
        .collect();
    names.sort();
    names
        .iter()
        .map(|name| format!("--test {name}"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planted::bugs::BUGS;

    #[test]
    fn every_bug_has_layers_that_are_built_from_it() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let machine = Machine {
            root: root.to_path_buf(),
            host: String::new(),
            has_nightly: false,
            has_library_source: false,
        };
        let layers = all(&machine);
        for bug in &BUGS {
            let source = Source::of(bug.file).unwrap();
            let asked = layers.iter().filter(|layer| layer.has(source)).count();
            assert!(asked >= 2, "{}: {asked} layers", bug.name);
        }
    }

    #[test]
    fn the_fault_loop_is_a_layer_of_its_own() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let names = tests_of(&root.join("crates/watertight/tests"));
        assert!(names.contains("--test conformance"), "{names}");
        assert!(!names.contains("fault_loop"), "{names}");
    }
}
