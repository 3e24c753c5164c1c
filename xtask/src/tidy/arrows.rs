//! Who may depend on whom (style, "Rooms"). Tests may depend on what they like.

use super::{Finding, Tree};
use crate::manifest::{Kind, Manifest};

/// A package, those of ours it may use, and the only foreign ones it may use (nothing: any).
struct Arrow {
    package: &'static str,
    ours: &'static [&'static str],
    foreign: Option<&'static [&'static str]>,
}

const ARROWS: [Arrow; 6] = [
    Arrow {
        package: "watertight-core",
        ours: &[],
        foreign: Some(&["bytes"]),
    },
    Arrow {
        package: "watertight-os",
        ours: &["watertight-core"],
        foreign: Some(&["bytes", "libc", "polling", "rustix", "windows-sys"]),
    },
    Arrow {
        package: "watertight",
        ours: &["watertight-core", "watertight-os"],
        foreign: None,
    },
    Arrow {
        package: "watertight-cli",
        ours: &["watertight"],
        foreign: None,
    },
    Arrow {
        package: "watertight-ffi",
        ours: &["watertight"],
        foreign: None,
    },
    Arrow {
        package: "watertight-sim",
        // Of os only the tables: the simulated kernels' codes mean what the real ones' mean.
        ours: &["watertight", "watertight-core", "watertight-os"],
        foreign: None,
    },
];

/// Tools: nobody builds on them, so they may build on anything.
const FREE: [&str; 2] = ["watertight-bench", "xtask"];

pub(super) fn arrows(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        if !file.path.ends_with("/Cargo.toml") {
            continue;
        }
        let manifest = Manifest::new(file.text());
        let package = manifest.value("package", "name").unwrap_or_default();
        if FREE.contains(&package) {
            continue;
        }
        let Some(arrow) = ARROWS.iter().find(|arrow| arrow.package == package) else {
            // A fuzz crate or an example with a workspace of its own is not one of the rooms.
            if file.path.matches('/').count() == 2 {
                let text = format!(
                    "nothing says what `{package}` may depend on: add it to xtask/src/tidy/arrows.rs"
                );
                findings.push(Finding::new(&file.path, 1, "arrows", text));
            }
            continue;
        };
        for dependency in manifest.dependencies() {
            if dependency.kind == Kind::Development {
                continue;
            }
            if let Some(text) = objection(arrow, &dependency.package) {
                findings.push(Finding::new(&file.path, dependency.line, "arrows", text));
            }
        }
    }
    findings
}

fn objection(arrow: &Arrow, name: &str) -> Option<String> {
    let Arrow {
        package,
        ours,
        foreign,
    } = arrow;
    if name == "watertight-sim" {
        return Some("the simulator is only ever a dev-dependency: move it there".to_owned());
    }
    if name == "watertight" || name.starts_with("watertight-") {
        let allowed = match ours {
            [] => "none of our crates".to_owned(),
            _ => format!("only {} among ours", ours.join(" and ")),
        };
        return (!ours.contains(&name)).then(|| {
            format!("{package} uses {allowed}, not `{name}`: move the code to the room that may")
        });
    }
    let foreign = foreign.filter(|foreign| !foreign.contains(&name))?;
    Some(format!(
        "{package} uses only {}, not `{name}`: do without, or argue for it in xtask/src/tidy/arrows.rs",
        foreign.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::super::probe::report;
    use super::*;

    fn check(name: &str, tables: &str) -> String {
        let path = format!("crates/{name}/Cargo.toml");
        let text = format!("[package]\nname = \"{name}\"\n{tables}");
        report(arrows, &[(&path, &text)])
    }

    #[test]
    fn a_dependency_against_the_arrows_is_found() {
        let found = check("watertight-core", "[dependencies]\nlog = \"0.4\"");
        assert!(found.starts_with("crates/watertight-core/Cargo.toml:4: arrows: "));
        assert!(
            check("watertight-os", "[dependencies]\nwatertight = \"1\"")
                .contains("only watertight-core")
        );
        assert!(check("watertight-os", "[build-dependencies]\ncc = \"1\"").contains("not `cc`"));
        let renamed = "[dependencies]\nx = { package = \"watertight-os\" }";
        assert!(check("watertight-cli", renamed).contains("not `watertight-os`"));
        assert!(
            check("watertight", "[dependencies]\nwatertight-sim = \"1\"")
                .contains("dev-dependency")
        );
        assert!(check("watertight-new", "").contains("add it to"));
    }

    #[test]
    fn the_arrows_themselves_are_allowed() {
        assert_eq!(
            check("watertight-core", "[dependencies]\nbytes.workspace = true"),
            ""
        );
        let os = "[dependencies]\nwatertight-core = \"1\"\n[target.'cfg(unix)'.dependencies]\nlibc = \"1\"";
        assert_eq!(check("watertight-os", os), "");
        let tests = "[dependencies]\ntokio = \"1\"\n[dev-dependencies]\nwatertight-sim = \"1\"";
        assert_eq!(check("watertight", tests), "");
        assert_eq!(
            check("watertight-bench", "[dependencies]\nwatertight-os = \"1\""),
            ""
        );
    }
}
