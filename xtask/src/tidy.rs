//! The rules of this project that no compiler knows. Each finding names its place, its rule, and the way out.
//!
//! A rule is a function from the tree to findings, with a test that shows it firing and one that shows it quiet.

mod arrows;
mod banned;
mod hygiene;
mod papers;
mod rooms;
mod shape;
mod words;

use crate::machine;
use crate::source::Source;
use std::fmt;
use std::path::{Path, PathBuf};

/// What a rule found.
#[derive(Debug)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    rule: &'static str,
    text: String,
    is_warning: bool,
}

impl Finding {
    fn new(path: &str, line: usize, rule: &'static str, text: impl Into<String>) -> Finding {
        Finding {
            path: path.to_owned(),
            line,
            rule,
            text: text.into(),
            is_warning: false,
        }
    }

    fn warning(self) -> Finding {
        Finding {
            is_warning: true,
            ..self
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weight = if self.is_warning { "warning: " } else { "" };
        let Finding {
            path,
            line,
            rule,
            text,
            ..
        } = self;
        write!(f, "{path}:{line}: {weight}{rule}: {text}")
    }
}

/// One file as it stands in the working tree.
pub(crate) struct File {
    path: String,
    bytes: Vec<u8>,
}

impl File {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap_or_default()
    }
}

/// Everything the rules look at.
pub(crate) struct Tree {
    root: PathBuf,
    /// Whether git named the files; without it nobody knows which are committed.
    from_git: bool,
    files: Vec<File>,
    sources: Vec<Source>,
}

impl Tree {
    fn read(root: &Path) -> Result<Tree, String> {
        let from_git = git_files(root);
        let paths = match &from_git {
            Some(paths) => paths.clone(),
            None => walk(root, ""),
        };
        let mut files = Vec::new();
        for path in paths {
            let full = root.join(&path);
            // A file deleted but not yet committed is still listed; another may go while we look.
            if full.is_file() {
                let bytes = std::fs::read(&full).map_err(|error| format!("{path}: {error}"))?;
                files.push(File { path, bytes });
            }
        }
        Ok(Tree::new(root, from_git.is_some(), files))
    }

    fn new(root: &Path, from_git: bool, files: Vec<File>) -> Tree {
        let mut sources: Vec<Source> = files
            .iter()
            .filter(|file| file.path.ends_with(".rs"))
            .map(|file| Source::new(&file.path, file.text()))
            .collect();
        // A file can be a test because another says so, and so on down.
        loop {
            let tests: Vec<String> = sources.iter().flat_map(Source::test_module_files).collect();
            let more: Vec<&mut Source> = sources
                .iter_mut()
                .filter(|source| tests.contains(&source.path) && !source.is_test_file)
                .collect();
            if more.is_empty() {
                break;
            }
            for source in more {
                source.is_test_file = true;
            }
        }
        Tree {
            root: root.to_path_buf(),
            from_git,
            files,
            sources,
        }
    }

    fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    fn text(&self, path: &str) -> Option<&str> {
        self.file(path).map(File::text)
    }
}

type Rule = fn(&Tree) -> Vec<Finding>;

const RULES: [Rule; 17] = [
    arrows::arrows,
    banned::calls,
    banned::ignored_tests,
    banned::unfinished,
    hygiene::big_binaries,
    hygiene::clippy_settings,
    hygiene::machine_paths,
    hygiene::registries,
    papers::gotchas,
    papers::readme,
    rooms::core_without_std,
    rooms::unsafe_code,
    shape::enum_order,
    shape::file_length,
    shape::function_length,
    shape::platform_cfg,
    words::words,
];

/// The command `tidy`.
pub(crate) fn run(root: &Path) -> Result<bool, String> {
    let tree = Tree::read(root)?;
    let mut findings: Vec<Finding> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    findings.sort_by(|a, b| (&a.path, a.line, a.rule).cmp(&(&b.path, b.line, b.rule)));
    for finding in &findings {
        println!("{finding}");
    }
    if !tree.from_git {
        println!("skipped: what is committed cannot be known without git");
    }
    let warnings = findings.iter().filter(|finding| finding.is_warning).count();
    let violations = findings.len() - warnings;
    println!(
        "tidy: {violations} violations and {warnings} warnings in {} files",
        tree.files.len()
    );
    Ok(violations == 0)
}

/// What is committed or about to be.
pub(crate) fn git_files(root: &Path) -> Option<Vec<String>> {
    let root = root.to_str()?;
    let listing = [
        "-C",
        root,
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ];
    let list = machine::answer("git", &listing)?;
    let mut paths: Vec<String> = list.split_terminator('\0').map(str::to_owned).collect();
    paths.sort();
    paths.dedup();
    Some(paths)
}

fn walk(root: &Path, below: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root.join(below)) else {
        return Vec::new();
    };
    let mut paths = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() {
            name.clone()
        } else {
            format!("{below}/{name}")
        };
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && name != "target" && name != ".git" => {
                paths.extend(walk(root, &path));
            }
            Ok(kind) if kind.is_file() => paths.push(path),
            Ok(_) | Err(_) => {}
        }
    }
    paths
}

/// What the rules' tests share.
#[cfg(test)]
mod probe {
    use super::*;

    /// A tree that exists only here.
    pub(super) fn tree(files: &[(&str, &str)]) -> Tree {
        let files = files.iter().map(|(path, text)| File {
            path: (*path).to_owned(),
            bytes: text.as_bytes().to_vec(),
        });
        Tree::new(Path::new("nowhere"), true, files.collect())
    }

    /// What a rule says about some files, one finding a line.
    pub(super) fn report(rule: Rule, files: &[(&str, &str)]) -> String {
        let findings = rule(&tree(files));
        let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_declared_for_tests_makes_its_file_a_test() {
        let tree = probe::tree(&[
            ("crates/a/src/lib.rs", "#[cfg(test)]\nmod models;"),
            ("crates/a/src/models.rs", "mod deeper;"),
            ("crates/a/src/models/deeper.rs", "fn a() {}"),
            ("crates/a/src/other.rs", "fn a() {}"),
        ]);
        let tests: Vec<bool> = tree.sources.iter().map(|s| s.is_test_file).collect();
        assert_eq!(tests, [false, true, true, false]);
    }

    #[test]
    fn a_finding_names_place_rule_and_way_out() {
        let finding = Finding::new("a.rs", 3, "words", "use another");
        assert_eq!(finding.to_string(), "a.rs:3: words: use another");
        let finding = finding.warning();
        assert_eq!(finding.to_string(), "a.rs:3: warning: words: use another");
    }
}
