//! The rules of this project that no tool knows. Each finding names its place, its rule, and the way out.
//!
//! A rule is a function from the tree to findings, with a test that shows it firing and one that shows it quiet. Never here:
//! what rustc, clippy, rustfmt or cargo-deny say already.

mod arrows;
mod papers;
mod sources;
mod texts;

use crate::machine;
use std::fmt::Display;
use std::path::Path;

/// What a rule found, as one line: the place, the rule, what is wrong, and the way out.
type Finding = String;

fn finding(path: &str, line: usize, rule: &str, text: impl Display) -> Finding {
    format!("{path}:{line}: {rule}: {text}")
}

/// One file as it stands in the working tree, with `/` in its path on every system.
struct File {
    path: String,
    text: String,
    bytes: usize,
}

impl File {
    /// The lines, numbered from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(at, line)| (at + 1, line))
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// What is committed or about to be.
struct Tree {
    files: Vec<File>,
}

impl Tree {
    fn read(root: &Path) -> Result<Tree, String> {
        let paths = machine::git_files(root).ok_or("without git nobody knows what is committed")?;
        let read = |path: String| {
            let bytes =
                std::fs::read(root.join(&path)).map_err(|error| format!("{path}: {error}"))?;
            Ok(File {
                path,
                bytes: bytes.len(),
                text: String::from_utf8(bytes).unwrap_or_default(),
            })
        };
        let files = paths.into_iter().map(read).collect::<Result<_, String>>()?;
        Ok(Tree { files })
    }

    fn text(&self, path: &str) -> &str {
        let file = self.files.iter().find(|file| file.path == path);
        file.map_or("", |file| file.text.as_str())
    }
}

type Rule = fn(&Tree) -> Vec<Finding>;

const RULES: [Rule; 7] = [
    arrows::circles,
    papers::cookbook,
    papers::gotchas,
    sources::file_length,
    sources::safety,
    sources::unsafe_fence,
    texts::texts,
];

/// The command `tidy`.
pub(crate) fn run(root: &Path) -> Result<bool, String> {
    let tree = Tree::read(root)?;
    let metadata = machine::metadata(root)?;
    let mut findings: Vec<Finding> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    findings.extend(arrows::arrows(&metadata));
    findings.extend(papers::readme(
        &tree,
        &papers::numbers(root, &tree, &metadata)?,
    ));
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    println!(
        "tidy: {} findings in {} files",
        findings.len(),
        tree.files.len()
    );
    Ok(findings.is_empty())
}

/// What the rules' tests share.
#[cfg(test)]
mod probe {
    use super::*;

    /// A tree that exists only here.
    pub(super) fn tree(files: &[(&str, &str)]) -> Tree {
        let file = |(path, text): &(&str, &str)| File {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
            bytes: text.len(),
        };
        Tree {
            files: files.iter().map(file).collect(),
        }
    }

    /// What a rule says about some files.
    pub(super) fn report(rule: Rule, files: &[(&str, &str)]) -> String {
        rule(&tree(files)).join("\n")
    }
}
