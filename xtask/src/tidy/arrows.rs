//! Who may depend on whom (ARCHITECTURE.md): packages, and the files of the program. Tests may depend on what they like.

use super::{File, Finding, Tree, finding};
use serde_json::Value;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

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

/// Where the program's files are.
const PROGRAM: &str = "crates/watertight-cli/src/";
/// What the program calls the file of the system that it is for, and which files that are.
const PLATFORM: &str = "platform";
const PLATFORMS: [&str; 2] = ["unix", "windows"];

/// What each file imports, and where: the path and the line.
type Imports<'a> = BTreeMap<&'a str, BTreeMap<&'a str, (&'a str, usize)>>;

/// The program's files import each other in no circle. A folder counts with the file that has its name.
pub(super) fn circles(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for platform in PLATFORMS {
        let imports = imports(tree, platform);
        for (start, imported) in &imports {
            let Some(circle) = circle(&imports, start) else {
                continue;
            };
            let (path, line) = imported[circle[1]];
            let text = format!(
                "{}: move what they share into a file that imports none of them",
                circle.join(" → ")
            );
            findings.push(finding(path, line, "circle", text));
        }
    }
    findings.sort();
    findings.dedup();
    findings
}

fn imports<'a>(tree: &'a Tree, platform: &'static str) -> Imports<'a> {
    let mut imports = Imports::new();
    for file in &tree.files {
        let Some(name) = name(&file.path) else {
            continue;
        };
        let known = imports.entry(name).or_default();
        for (at, line) in without_tests(file) {
            for imported in named(line) {
                let imported = if imported == PLATFORM {
                    platform
                } else {
                    imported
                };
                if imported != name {
                    known.entry(imported).or_insert((file.path.as_str(), at));
                }
            }
        }
    }
    imports
}

/// What other files of the program call a file. None: nobody imports it, or it is there for tests.
fn name(path: &str) -> Option<&str> {
    let inside = path.strip_prefix(PROGRAM)?.strip_suffix(".rs")?;
    let is_test = inside.ends_with("_checks") || inside.ends_with("_tests");
    let name = inside.split('/').next()?;
    (!is_test && name != "main").then_some(name)
}

/// The lines of a file without what is compiled for tests only. rustfmt has laid them out.
fn without_tests(file: &File) -> Vec<(usize, &str)> {
    let mut lines = Vec::new();
    let mut is_announced = false;
    let mut is_inside = false;
    for (at, line) in file.lines() {
        if is_inside {
            is_inside = !["}", "};"].contains(&line);
        } else if line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test") {
            is_announced = true;
        } else if !is_announced {
            lines.push((at, line));
        } else if !line.starts_with("#[") {
            is_announced = false;
            is_inside = line.ends_with('{');
        }
    }
    lines
}

/// The files that a line names.
fn named(line: &str) -> Vec<&str> {
    let code = line.split("//").next().unwrap_or_default();
    let mut named = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let words = rest.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
        // Of a list all words: those that are no file's name do no harm.
        let count = if rest.starts_with('{') { usize::MAX } else { 1 };
        named.extend(words.filter(|word| !word.is_empty()).take(count));
    }
    named
}

/// The shortest way from a file back to itself, over such as come behind it in the alphabet: so a circle is found once.
fn circle<'a>(imports: &Imports<'a>, start: &'a str) -> Option<Vec<&'a str>> {
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut waiting = VecDeque::from([start]);
    while let Some(name) = waiting.pop_front() {
        for &next in imports.get(name).into_iter().flat_map(BTreeMap::keys) {
            if next == start {
                let mut way = vec![start, name];
                while let Some(&before) = came_from.get(way[way.len() - 1]) {
                    way.push(before);
                }
                way.reverse();
                return Some(way);
            }
            if next > start
                && let Entry::Vacant(free) = came_from.entry(next)
            {
                free.insert(name);
                waiting.push_back(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::probe::report;
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

    const A: &str = "crates/watertight-cli/src/a.rs";
    const UNIX: &str = "crates/watertight-cli/src/unix.rs";

    #[test]
    fn a_circle_of_files_is_found_once_also_over_the_platform() {
        let found = |files: &[(&str, &str)]| report(circles, files);
        let pair = [
            (A, "//! A.\nuse crate::b::{c, d};\n"),
            (
                "crates/watertight-cli/src/b/part.rs",
                "fn f() {\n    crate::a::g();\n}\n",
            ),
        ];
        assert_eq!(
            found(&pair),
            "crates/watertight-cli/src/a.rs:2: circle: a → b → a: move what they share into a file that imports none of them"
        );
        let three = [
            (A, "use crate::platform::{self, B};\n"),
            (UNIX, "pub(crate) use crate::unix_files::B;\n"),
            (
                "crates/watertight-cli/src/unix_files.rs",
                "use crate::{a, how};\n",
            ),
        ];
        assert!(found(&three).contains(":1: circle: a → unix → unix_files → a: "));
        // Here it is another file's.
        let windows = three.map(|(path, text)| (path, text.replace("platform", "windows")));
        let windows = windows
            .each_ref()
            .map(|(path, text)| (*path, text.as_str()));
        assert_eq!(found(&windows), "");
    }

    #[test]
    fn tests_comments_and_folders_make_no_circle() {
        let b = "crates/watertight-cli/src/b.rs";
        let back = (b, "use crate::a::A;\n");
        for text in [
            "//! As `crate::b` has it.\nfn f() {} // crate::b\n",
            "#[cfg(test)]\nmod tests {\n    use crate::b::B;\n}\n",
            "#[cfg(all(test, unix))]\n#[path = \"x.rs\"]\nmod tests {\n    use crate::b::B;\n}\n",
            "use crate::a::part;\n",
        ] {
            assert_eq!(report(circles, &[(A, text), back]), "", "{text}");
        }
        // What stands behind the tests counts again.
        let behind =
            "#[cfg(test)]\nuse crate::c;\n#[cfg(test)]\nmod tests {\n}\nuse crate::b::B;\n";
        assert!(report(circles, &[(A, behind), back]).contains(":6: circle: "));
        let checks = [
            (
                "crates/watertight-cli/src/a/b_checks.rs",
                "use crate::b::B;",
            ),
            back,
        ];
        assert_eq!(report(circles, &checks), "");
    }
}
