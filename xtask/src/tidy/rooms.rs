//! One hazard to a room: std stays out of the core, and unsafe code out of everything that does not touch the kernel.

use super::{Finding, Tree};
use crate::source::{Source, identifier, occurrences};

const CORE: &str = "crates/watertight-core/src/";

/// The one file that may use `std`, and the gate before it: only the crate that owns an error can turn it into an `io::Error`.
const STD_FILE: &str = "crates/watertight-core/src/std_io.rs";
const STD_MODULE: &str = "mod std_io;";
const STD_CRATE: &str = "extern crate std;";
const STD_GATE: &str = "#[cfg(feature = \"std\")]";

/// The rooms with unsafe code.
const UNSAFE: [&str; 2] = ["watertight-os", "watertight-ffi"];

const FORBID: &str = "#![forbid(unsafe_code)]";

pub(super) fn core_without_std(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        if !source.path.starts_with(CORE) || source.path == STD_FILE {
            continue;
        }
        let is_root = source.path.ends_with("/src/lib.rs");
        if is_root && !has_attribute(source, "#![no_std]") {
            let text = "the core must build without an operating system: add `#![no_std]`";
            findings.push(Finding::new(&source.path, 1, "no-std", text));
        }
        let lines: Vec<&str> = tree
            .text(&source.path)
            .unwrap_or_default()
            .lines()
            .collect();
        let is_gated = |line: usize| line > 1 && lines[line - 2].trim() == STD_GATE;
        for at in std_uses(&source.code).filter(|at| !source.is_test(*at)) {
            let line = source.line(at);
            let is_the_gate = is_root && lines[line - 1].trim() == STD_CRATE && is_gated(line);
            if !is_the_gate {
                let text = format!(
                    "`std` in the core: use core or alloc, or take what you need as an argument (`io::Error` alone is made in {STD_FILE})"
                );
                findings.push(Finding::new(&source.path, line, "no-std", text));
            }
        }
        let module = lines.iter().position(|line| line.trim() == STD_MODULE);
        if let Some(index) = module.filter(|index| !is_gated(index + 1)) {
            let text = format!("`{STD_MODULE}` uses std: put `{STD_GATE}` on the line above");
            findings.push(Finding::new(&source.path, index + 1, "no-std", text));
        }
    }
    findings
}

/// Where code names the crate `std`.
fn std_uses(code: &str) -> impl Iterator<Item = usize> {
    occurrences(code, "std").filter(|at| {
        let is_path = code[at + "std".len()..].trim_start().starts_with("::");
        let before = code[..*at].trim_end();
        is_path || before.ends_with("extern crate") || before.ends_with("use")
    })
}

pub(super) fn unsafe_code(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        if UNSAFE.contains(&source.package()) {
            continue;
        }
        if is_root(&source.path) && !has_attribute(source, FORBID) {
            let text = format!("add `{FORBID}`: unsafe code lives in watertight-os");
            findings.push(Finding::new(&source.path, 1, "forbid-unsafe", text));
        }
        for at in occurrences(&source.code, "unsafe") {
            // `unsafe(no_mangle)` and the like count too; a lint's name does not, being another word.
            let text = match identifier(&source.code, at + "unsafe".len()) {
                Some((what @ ("fn" | "impl" | "trait" | "extern"), _)) => {
                    format!("`unsafe {what}`")
                }
                _ => "unsafe code".to_owned(),
            };
            let text = format!(
                "{text} outside {}: make one safe wrapper for the one system call there",
                UNSAFE.join(" and ")
            );
            findings.push(Finding::new(&source.path, source.line(at), "unsafe", text));
        }
    }
    findings
}

/// Whether a file is where a package's library or program begins.
fn is_root(path: &str) -> bool {
    let in_room = path.starts_with("crates/") && path.matches('/').count() == 3;
    let is_ours = in_room || path.starts_with("xtask/src/");
    is_ours && (path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs"))
}

fn has_attribute(source: &Source, attribute: &str) -> bool {
    source.code.lines().any(|line| line.trim() == attribute)
}

#[cfg(test)]
mod tests {
    use super::super::probe::report;
    use super::*;

    const CORE_LIB: &str = "crates/watertight-core/src/lib.rs";

    #[test]
    fn std_in_the_core_is_found() {
        let found = |text| report(core_without_std, &[(CORE_LIB, text)]);
        assert!(found("fn a() {}").contains(":1: no-std: the core must build"));
        assert!(found("#![no_std]\nuse std::io;").contains(":2: no-std: `std` in the core"));
        assert!(found("#![no_std]\nextern crate std;").contains(":2: no-std"));
    }

    #[test]
    fn std_is_let_in_by_its_one_gate_only() {
        let io = (STD_FILE, "use std::io;");
        let found = |text| report(core_without_std, &[(CORE_LIB, text), io]);
        let gated = "#![no_std]\n#[cfg(feature = \"std\")]\nextern crate std;\n#[cfg(feature = \"std\")]\nmod std_io;";
        assert_eq!(found(gated), "");
        assert!(found("#![no_std]\n\nmod std_io;").contains(":3: no-std: `mod std_io;` uses std"));
        assert!(
            found("#![no_std]\n#[cfg(feature = \"std\")]\nuse std::io;").contains(":3: no-std")
        );
    }

    #[test]
    fn std_in_tests_comments_and_other_rooms_is_quiet() {
        let text = "#![no_std]\n//! Not std::io.\nuse core::fmt;\n#[cfg(test)]\nmod tests { extern crate std; use std::vec; }";
        assert_eq!(report(core_without_std, &[(CORE_LIB, text)]), "");
        let other = ("crates/watertight/src/lib.rs", "use std::io;");
        assert_eq!(report(core_without_std, &[other]), "");
    }

    #[test]
    fn unsafe_code_outside_its_rooms_is_found() {
        let found = |path, text| report(unsafe_code, &[(path, text)]);
        assert!(found("crates/watertight/src/lib.rs", "").contains(":1: forbid-unsafe: add `#!"));
        assert!(found("crates/watertight-cli/src/main.rs", "").contains("forbid-unsafe"));
        let text = "fn a() {\n    unsafe { b() }\n}\nunsafe impl Send for A {}";
        let found = found("crates/watertight/tests/a.rs", text);
        assert!(
            found.contains(":2: unsafe: unsafe code outside")
                && found.contains(":4: unsafe: `unsafe impl`")
        );
    }

    #[test]
    fn unsafe_code_in_its_room_and_its_lint_are_quiet() {
        let os = ("crates/watertight-os/src/lib.rs", "unsafe fn a() {}");
        let lib = (
            "crates/watertight/src/lib.rs",
            "//! No unsafe.\n#![forbid(unsafe_code)]\nfn a() {}",
        );
        assert_eq!(report(unsafe_code, &[os, lib]), "");
    }
}
