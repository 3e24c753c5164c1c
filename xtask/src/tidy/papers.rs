//! The documents: every gotcha names a test that exists, and the numbers in the README are the true ones.

use super::{Finding, Tree};
use crate::machine;
use crate::manifest::Manifest;
use std::collections::BTreeSet;

const GOTCHAS: &str = "docs/gotchas.md";
const README: &str = "README.md";

/// The part of the gotchas that needs no tests.
const UNSOLVED: &str = "Unsolved";

/// A heading of the gotchas that has no headings below it, and what stands under it.
struct Entry<'a> {
    title: &'a str,
    line: usize,
    /// Each line that names tests, with its number.
    tests: Vec<(usize, &'a str)>,
}

pub(super) fn gotchas(tree: &Tree) -> Vec<Finding> {
    let Some(text) = tree.text(GOTCHAS) else {
        return Vec::new();
    };
    let known: BTreeSet<&str> = tree
        .sources
        .iter()
        .filter(|source| source.path.starts_with("crates/"))
        .flat_map(|source| {
            source
                .functions
                .iter()
                .map(|function| function.name.as_str())
        })
        .collect();
    let mut findings = Vec::new();
    for entry in entries(text) {
        let names: Vec<(usize, &str)> = entry
            .tests
            .iter()
            .flat_map(|(line, text)| text.split('`').skip(1).step_by(2).map(|name| (*line, name)))
            .collect();
        if names.is_empty() {
            let text = format!(
                "\"{}\" names no test: add a line \"Test: `name`\", or move it to \"{UNSOLVED}\"",
                entry.title
            );
            findings.push(Finding::new(GOTCHAS, entry.line, "gotchas", text));
        }
        for (line, name) in names {
            // `module::name` is a help to readers; the function is what counts.
            let function = name.rsplit("::").next().unwrap_or(name);
            if !known.contains(function) {
                let text = format!(
                    "there is no test `{name}`: write it, or name the one that replaced it"
                );
                findings.push(Finding::new(GOTCHAS, line, "gotchas", text));
            }
        }
    }
    findings
}

fn entries(text: &str) -> Vec<Entry<'_>> {
    let mut found: Vec<Entry> = Vec::new();
    let mut parents = Vec::new();
    let mut unsolved_level = None;
    let mut level_before = 0;
    let mut is_code = false;
    for (index, line) in text.lines().enumerate() {
        is_code ^= line.trim_start().starts_with("```");
        let level = line.len() - line.trim_start_matches('#').len();
        if level > 1 && !is_code {
            let title = line[level..].trim();
            if unsolved_level.is_some_and(|top| level <= top) {
                unsolved_level = None;
            }
            if title == UNSOLVED {
                unsolved_level = Some(level);
            }
            // A heading with others below it is a chapter, not an entry.
            if level > level_before && !found.is_empty() && unsolved_level.is_none() {
                parents.push(found.len() - 1);
            }
            level_before = level;
            if unsolved_level.is_none() {
                found.push(Entry {
                    title,
                    line: index + 1,
                    tests: Vec::new(),
                });
            }
        } else if line.starts_with("Test: ")
            && unsolved_level.is_none()
            && let Some(entry) = found.last_mut()
        {
            entry.tests.push((index + 1, line));
        }
    }
    let keep = |(index, entry)| (!parents.contains(&index)).then_some(entry);
    found.into_iter().enumerate().filter_map(keep).collect()
}

pub(super) fn readme(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in tree.text(README).unwrap_or_default().lines().enumerate() {
        for marked in line.split("<!-- tidy:").skip(1) {
            let text = match marked_value(marked) {
                Some((name, stated)) => match computed(tree, name) {
                    Ok(true_value) if true_value == stated => continue,
                    Ok(true_value) => {
                        format!("`{name}` is {true_value}, not {stated}: correct the text")
                    }
                    Err(message) => message,
                },
                None => "a number is marked `<!-- tidy:NAME -->value<!-- /tidy -->`, on one line"
                    .to_owned(),
            };
            findings.push(Finding::new(README, index + 1, "readme", text));
        }
    }
    findings
}

/// The name and the value in `NAME -->value<!-- /tidy -->…`.
fn marked_value(marked: &str) -> Option<(&str, &str)> {
    let (name, rest) = marked.split_once("-->")?;
    let (value, _) = rest.split_once("<!-- /tidy -->")?;
    Some((name.trim(), value.trim()))
}

fn computed(tree: &Tree, name: &str) -> Result<String, String> {
    match name {
        "deps" => dependency_count(tree),
        "gotchas" => Ok(entries(tree.text(GOTCHAS).unwrap_or_default())
            .len()
            .to_string()),
        "msrv" => {
            let manifest = Manifest::new(tree.text("Cargo.toml").unwrap_or_default());
            let version = manifest.value("workspace.package", "rust-version");
            version
                .map(str::to_owned)
                .ok_or("Cargo.toml has no rust-version".to_owned())
        }
        _ => Err(format!(
            "nobody computes `{name}`: use deps, gotchas or msrv, or add it to xtask/src/tidy/papers.rs"
        )),
    }
}

/// How many packages that are not ours a user gets with the default features, on Linux wherever this runs.
fn dependency_count(tree: &Tree) -> Result<String, String> {
    let manifest = tree.root.join("Cargo.toml").display().to_string();
    let arguments = [
        "tree",
        "--quiet",
        "--manifest-path",
        &manifest,
        "--package",
        "watertight",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--target",
        "x86_64-unknown-linux-gnu",
        "--format",
        "{p}",
    ];
    let list =
        machine::answer("cargo", &arguments).ok_or("`cargo tree` failed: run it to see why")?;
    let foreign: BTreeSet<(&str, &str)> = list
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?))
        })
        .filter(|(name, _)| *name != "watertight" && !name.starts_with("watertight-"))
        .collect();
    Ok(foreign.len().to_string())
}

#[cfg(test)]
mod tests {
    use super::super::probe::report;
    use super::*;

    const TEXT: &str = "# Gotchas\nIntro.\n## Unix\n### A pipe is full\nTest: `full`\n### Two\nTest: `a::two`, `three`\n\
                        ## Windows\n### Four\nTest: `full`\n## Unsolved\n### Five\nNothing helps.\n";
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
        assert_eq!(report(gotchas, &[(GOTCHAS, TEXT), TESTS]), "");
        assert_eq!(report(gotchas, &[TESTS]), "");
        let titles: Vec<&str> = entries(TEXT).iter().map(|entry| entry.title).collect();
        assert_eq!(titles, ["A pipe is full", "Two", "Four"]);
    }

    #[test]
    fn a_wrong_number_is_found() {
        let cargo = ("Cargo.toml", "[workspace.package]\nrust-version = \"1.88\"");
        let found = |text| report(readme, &[(README, text), cargo, (GOTCHAS, TEXT)]);
        assert!(
            found("a\nRust <!-- tidy:msrv -->1.80<!-- /tidy -->")
                .contains("README.md:2: readme: `msrv` is 1.88, not 1.80")
        );
        assert!(found("<!-- tidy:gotchas -->4<!-- /tidy -->").contains("is 3, not 4"));
        assert!(found("<!-- tidy:stars -->9<!-- /tidy -->").contains("nobody computes `stars`"));
        assert!(found("<!-- tidy:msrv -->1.88").contains("on one line"));
    }

    #[test]
    fn true_numbers_are_quiet() {
        let cargo = ("Cargo.toml", "[workspace.package]\nrust-version = \"1.88\"");
        let text =
            "Rust <!-- tidy:msrv -->1.88<!-- /tidy -->, <!-- tidy:gotchas -->3<!-- /tidy --> traps";
        assert_eq!(
            report(readme, &[(README, text), cargo, (GOTCHAS, TEXT)]),
            ""
        );
    }
}
