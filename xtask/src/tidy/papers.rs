//! The documents: every gotcha names a test that exists, and the numbers in the README are the true ones.

use super::{Finding, Tree, finding};
use crate::machine;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

const GOTCHAS: &str = "docs/gotchas.md";
const README: &str = "README.md";
/// The part of the gotchas that needs no tests.
const UNSOLVED: &str = "Unsolved";

/// A line and its number.
type Line<'a> = (usize, &'a str);

/// The sections of a document, with their lines; the one that is called `UNSOLVED` left out.
fn sections(text: &str) -> Vec<(usize, &str, Vec<Line<'_>>)> {
    let mut sections: Vec<(usize, &str, Vec<Line>)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if let Some(title) = line.strip_prefix("## ") {
            sections.push((at + 1, title.trim(), Vec::new()));
        } else if let Some((_, _, lines)) = sections.last_mut() {
            lines.push((at + 1, line));
        }
    }
    sections.retain(|(_, title, _)| *title != UNSOLVED);
    sections
}

pub(super) fn gotchas(tree: &Tree) -> Vec<Finding> {
    let sources = || {
        tree.files
            .iter()
            .filter(|file| file.is_rust() && file.path.starts_with("crates/"))
    };
    let exists = |name: &str| {
        // `module::name` is a help to readers; the function is what counts.
        let name = name.rsplit("::").next().unwrap_or(name);
        // A harness of its own has its tests' names as texts.
        let (function, trial) = (format!("fn {name}("), format!("\"{name}\""));
        sources().any(|file| file.text.contains(&function) || file.text.contains(&trial))
    };
    let mut findings = Vec::new();
    for (line, title, lines) in sections(tree.text(GOTCHAS)) {
        let tests = lines.iter().filter(|(_, line)| line.starts_with("Test: "));
        let names =
            tests.flat_map(|(at, line)| line.split('`').skip(1).step_by(2).map(|name| (*at, name)));
        let names: Vec<(usize, &str)> = names.collect();
        if names.is_empty() {
            let text = format!(
                "\"{title}\" names no test: add a line \"Test: `name`\", or move it to \"{UNSOLVED}\""
            );
            findings.push(finding(GOTCHAS, line, "gotchas", text));
        }
        for (at, name) in names.into_iter().filter(|(_, name)| !exists(name)) {
            let text =
                format!("there is no test `{name}`: write it, or name the one that replaced it");
            findings.push(finding(GOTCHAS, at, "gotchas", text));
        }
    }
    findings
}

/// The numbers that a document may state as `<!-- tidy:NAME -->value<!-- /tidy -->`.
pub(super) fn numbers(
    root: &Path,
    tree: &Tree,
    metadata: &Value,
) -> Result<Vec<(&'static str, String)>, String> {
    let version = metadata["packages"][0]["rust_version"].as_str();
    Ok(vec![
        ("deps", dependencies(root)?.to_string()),
        ("gotchas", sections(tree.text(GOTCHAS)).len().to_string()),
        (
            "msrv",
            version.ok_or("no package has a rust-version")?.to_owned(),
        ),
    ])
}

/// How many packages that are not ours a user gets with the default features, on Linux wherever this runs.
fn dependencies(root: &Path) -> Result<usize, String> {
    let manifest = root.join("Cargo.toml").display().to_string();
    let words = "tree --quiet --package watertight --edges normal --prefix none --target x86_64-unknown-linux-gnu --format {p}";
    let words: Vec<&str> = words
        .split(' ')
        .chain(["--manifest-path", &manifest])
        .collect();
    let list = machine::answer("cargo", &words).ok_or("`cargo tree` fails: run it to see why")?;
    let named = |line: &str| Some(line.split_once(' ')?.0.to_owned());
    let foreign = list
        .lines()
        .filter_map(named)
        .filter(|name| !name.starts_with("watertight"));
    Ok(foreign.collect::<BTreeSet<_>>().len())
}

pub(super) fn readme(tree: &Tree, numbers: &[(&'static str, String)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, line) in tree.text(README).lines().enumerate() {
        for marked in line.split("<!-- tidy:").skip(1) {
            let stated = marked
                .split_once("-->")
                .and_then(|(name, rest)| Some((name.trim(), rest.split_once("<!-- /tidy -->")?.0)));
            let known =
                stated.and_then(|(name, _)| numbers.iter().find(|(known, _)| *known == name));
            let text = match (stated, known) {
                (Some((_, value)), Some((_, truth))) if value == truth => continue,
                (Some((name, value)), Some((_, truth))) => {
                    format!("`{name}` is {truth}, not {value}: correct the text")
                }
                (Some((name, _)), None) => {
                    format!("nobody computes `{name}`: see xtask/src/tidy/papers.rs")
                }
                (None, _) => {
                    "a number is marked `<!-- tidy:NAME -->value<!-- /tidy -->`, on one line"
                        .to_owned()
                }
            };
            findings.push(finding(README, at + 1, "readme", text));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::probe::{report, tree};
    use super::*;

    const TESTS: (&str, &str) = (
        "crates/a/tests/t.rs",
        "fn full() {}\nfn two() {}\nfn three() {}",
    );

    #[test]
    fn a_gotcha_without_a_test_is_found() {
        let found = report(
            gotchas,
            &[(GOTCHAS, "## One\ntext\n## Two\nTest: `gone`"), TESTS],
        );
        assert!(found.contains("docs/gotchas.md:1: gotchas: \"One\" names no test"));
        assert!(found.contains("docs/gotchas.md:4: gotchas: there is no test `gone`"));
    }

    #[test]
    fn gotchas_with_their_tests_are_quiet() {
        let text = "# Gotchas\n## A pipe is full\nTest: `full`\n## Two\nTest: `a::two`, `three`\n## Unsolved\nNothing.\n";
        assert_eq!(report(gotchas, &[(GOTCHAS, text), TESTS]), "");
        assert_eq!(sections(text).len(), 2);
    }

    #[test]
    fn a_wrong_number_is_found_and_a_true_one_is_quiet() {
        let found = |text| {
            let numbers = [("msrv", "1.88".to_owned())];
            readme(&tree(&[(README, text)]), &numbers).join("\n")
        };
        assert!(
            found("a\nRust <!-- tidy:msrv -->1.80<!-- /tidy -->")
                .contains("README.md:2: readme: `msrv` is 1.88, not 1.80")
        );
        assert!(found("<!-- tidy:stars -->9<!-- /tidy -->").contains("nobody computes `stars`"));
        assert!(found("<!-- tidy:msrv -->1.88").contains("on one line"));
        assert_eq!(
            found("Rust <!-- tidy:msrv -->1.88<!-- /tidy --> or later"),
            ""
        );
    }
}
