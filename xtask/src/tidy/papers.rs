//! The documents: every gotcha names a test that exists, the cookbook's code is that of the examples, and the numbers in the README are the
//! true ones.

use super::{Finding, Tree, finding};
use crate::machine;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

const COOKBOOK: &str = "docs/cookbook.md";
/// Where the examples are. The cookbook's links go there from its own folder.
const EXAMPLES: &str = "crates/watertight/examples/";
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

/// The blocks of Rust in a document: the line of each one's beginning, its code, and what stands behind it in its section.
fn blocks(text: &str) -> Vec<(usize, &str, &str)> {
    let mut blocks = Vec::new();
    let mut at = 1;
    for (index, piece) in text.split("\n```rust").enumerate() {
        if index > 0 {
            let (_, body) = piece.split_once('\n').unwrap_or_default();
            let (code, behind) = body.split_once("\n```").unwrap_or((body, ""));
            blocks.push((at, code, behind.split("\n## ").next().unwrap_or_default()));
        }
        at += piece.matches('\n').count() + 1;
    }
    blocks
}

/// Every block is a part of the example that the next link behind it leads to: that one is compiled, and checks itself.
pub(super) fn cookbook(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, code, behind) in blocks(tree.text(COOKBOOK)) {
        let link = behind.split_once(EXAMPLES);
        let example = link.and_then(|(_, behind)| Some(behind.split_once(')')?.0));
        let text = match example.map(|name| format!("{EXAMPLES}{name}")) {
            None => format!("behind this code stands no link to its example in {EXAMPLES}"),
            // Whole lines of it.
            Some(path) if format!("\n{}", tree.text(&path)).contains(&format!("\n{code}\n")) => {
                continue;
            }
            Some(path) => format!("this code is no part of {path}: take it from there"),
        };
        findings.push(finding(COOKBOOK, line, "cookbook", text));
    }
    findings
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

    const EXAMPLE: (&str, &str) = (
        "crates/watertight/examples/one.rs",
        "fn first() {\n    one();\n}\n\nfn second() {\n    two();\n}\n",
    );

    /// A recipe with this code, and what stands behind it.
    fn recipe(code: &str, behind: &str) -> String {
        format!("# Recipes\n\n## One\n\n```rust\n{code}\n```\n\n{behind}\n")
    }

    #[test]
    fn code_that_is_in_no_example_is_found() {
        let link = "([one.rs](../crates/watertight/examples/one.rs).)";
        let gone = "([two.rs](../crates/watertight/examples/two.rs).)";
        let elsewhere = format!("## Two\n\n{link}");
        for (code, behind, words) in [
            ("fn second() {\n    too();\n}", link, "one.rs: take it"),
            // A part of a line is none of the example's.
            ("second() {\n    two();\n}", link, "one.rs: take it"),
            ("fn first() {\n    one();", "", "no link to its example"),
            (
                "fn first() {\n    one();",
                elsewhere.as_str(),
                "no link to its example",
            ),
            ("fn first() {\n    one();\n}", gone, "two.rs: take it"),
        ] {
            let text = recipe(code, behind);
            let found = report(cookbook, &[(COOKBOOK, &text), EXAMPLE]);
            assert!(
                found.starts_with("docs/cookbook.md:5: cookbook: "),
                "{found}"
            );
            assert!(found.contains(words), "{found}");
        }
    }

    #[test]
    fn code_of_an_example_is_quiet_and_each_block_is_looked_at() {
        let link = "With words between ([one.rs](../crates/watertight/examples/one.rs), and more).";
        let first = recipe("fn first() {\n    one();\n}", link);
        let second = recipe("fn second() {\n    two();\n}", link);
        let both = format!("{first}\n```sh\nls\n```\n{second}");
        assert_eq!(report(cookbook, &[(COOKBOOK, &both), EXAMPLE]), "");
        let wrong = both.replace("two()", "three()");
        let line = wrong.lines().position(|line| line.contains("second"));
        let found = report(cookbook, &[(COOKBOOK, &wrong), EXAMPLE]);
        let place = format!("docs/cookbook.md:{}: ", line.unwrap());
        assert!(found.starts_with(&place), "{found}");
    }

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
