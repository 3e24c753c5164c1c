//! Who may depend on whom (ARCHITECTURE.md). Tests may depend on what they like.

use super::{Finding, finding};
use serde_json::Value;

/// A package, those of ours it may use, and the only foreign ones it may use (nothing: any).
type Arrow = (
    &'static str,
    &'static [&'static str],
    Option<&'static [&'static str]>,
);

const CORE: &str = "watertight-core";
const OS: &str = "watertight-os";
const LIBRARY: &str = "watertight";

const ARROWS: [Arrow; 6] = [
    (CORE, &[], Some(&["bytes"])),
    (
        OS,
        &[CORE],
        // loom: in the models alone.
        Some(&["bytes", "libc", "loom", "polling", "rustix", "windows-sys"]),
    ),
    (LIBRARY, &[CORE, OS], None),
    ("watertight-cli", &[LIBRARY], None),
    ("watertight-ffi", &[LIBRARY], None),
    // Of os only the tables: the simulated kernels' codes mean what the real ones' mean.
    ("watertight-sim", &[LIBRARY, CORE, OS], None),
];

/// Tools: nobody builds on them, so they may build on anything.
const FREE: [&str; 2] = ["watertight-bench", "xtask"];

/// `metadata` is what `cargo metadata --no-deps` says.
pub(super) fn arrows(metadata: &Value) -> Vec<Finding> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut findings = Vec::new();
    for package in list(&metadata["packages"]) {
        let name = text(&package["name"]);
        let arrow = ARROWS.iter().find(|arrow| arrow.0 == name);
        let mut add = |found: String| {
            let path = format!("crates/{name}/Cargo.toml");
            findings.push(finding(&path, 1, "arrows", found));
        };
        let Some((_, ours, foreign)) = arrow else {
            if !FREE.contains(&name.as_str()) {
                add(format!(
                    "nothing says what `{name}` may depend on: add it to xtask/src/tidy/arrows.rs"
                ));
            }
            continue;
        };
        for dependency in list(&package["dependencies"]) {
            let used = text(&dependency["name"]);
            if dependency["kind"] == "dev" {
                continue;
            }
            let is_ours = used == LIBRARY || used.starts_with("watertight-");
            if is_ours && !ours.contains(&used.as_str()) {
                add(format!(
                    "{name} may not use `{used}`: move the code to the room that may"
                ));
            } else if !is_ours && foreign.is_some_and(|foreign| !foreign.contains(&used.as_str())) {
                add(format!(
                    "{name} may not use `{used}`: do without, or argue for it in xtask/src/tidy/arrows.rs"
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, used: &str, kind: Option<&str>) -> String {
        let dependency = serde_json::json!({ "name": used, "kind": kind });
        let package = serde_json::json!({ "name": name, "dependencies": [dependency] });
        arrows(&serde_json::json!({ "packages": [package] })).join("\n")
    }

    #[test]
    fn a_dependency_against_the_arrows_is_found() {
        assert!(
            found(CORE, "log", None).starts_with("crates/watertight-core/Cargo.toml:1: arrows: ")
        );
        assert!(found(OS, LIBRARY, None).contains("may not use `watertight`"));
        assert!(found(OS, "cc", Some("build")).contains("may not use `cc`"));
        assert!(found(LIBRARY, "watertight-sim", None).contains("move the code"));
        assert!(found("watertight-new", "log", None).contains("add it to"));
    }

    #[test]
    fn the_arrows_themselves_and_tests_are_allowed() {
        for (name, used, kind) in [
            (CORE, "bytes", None),
            (OS, CORE, None),
            (LIBRARY, "tokio", None),
            (LIBRARY, "watertight-sim", Some("dev")),
            ("watertight-bench", OS, None),
        ] {
            assert_eq!(found(name, used, kind), "");
        }
    }
}
