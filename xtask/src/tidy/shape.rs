//! How long things are, in what order, and where platforms may be told apart.

use super::{Finding, Tree};
use crate::source::{Source, attributes, closing, identifier, occurrences};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_EXPECTED: usize = 400;
const FILE_LINES_MAX: usize = 600;

/// In a file's head comment, this defends its length.
const LONG: &str = "tidy: long because ";
/// On the line above an enum, with a reason, this defends its order.
const ORDER: &str = "tidy: order";

pub(super) fn function_length(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        for function in &source.functions {
            let first = source.line(function.start);
            let lines = source.line(function.body.end - 1) - first + 1;
            if lines > FUNCTION_LINES_MAX {
                let text = format!(
                    "`{}` has {lines} lines, at most {FUNCTION_LINES_MAX} are allowed: keep the state changes here and move what computes into leaves",
                    function.name
                );
                findings.push(Finding::new(&source.path, first, "function-length", text));
            }
        }
    }
    findings
}

pub(super) fn file_length(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        let lines = source.line_count();
        let head = head_comment(source);
        let defence = head.lines().find_map(|line| line.split_once(LONG));
        let is_defended = defence.is_some_and(|(_, reason)| !reason.trim().is_empty());
        if lines <= FILE_LINES_EXPECTED || is_defended {
            continue;
        }
        let text = format!(
            "{lines} lines: split it, or defend it in its head comment by a line `{LONG}…` (expected: {FILE_LINES_EXPECTED}, allowed: {FILE_LINES_MAX})"
        );
        let finding = Finding::new(&source.path, 1, "file-length", text);
        findings.push(if lines > FILE_LINES_MAX {
            finding
        } else {
            finding.warning()
        });
    }
    findings
}

/// The comment before the first line of code.
fn head_comment(source: &Source) -> &str {
    let code = source.code.find(|c: char| !c.is_whitespace());
    &source.comments[..code.unwrap_or(source.comments.len())]
}

pub(super) fn platform_cfg(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        let attributes = attributes(&source.code).filter(|attribute| {
            let text = source.code[attribute.clone()].trim_start_matches(['#', '!', '[', ' ']);
            text.starts_with("cfg(") || text.starts_with("cfg_attr(")
        });
        let macros = occurrences(&source.code, "cfg!(")
            .map(|at| at..closing(&source.code, at + "cfg!".len()));
        for place in attributes.chain(macros) {
            let within = source
                .functions
                .iter()
                .find(|function| function.body.contains(&place.start));
            let condition = &source.code[place.clone()];
            match within {
                Some(function) if names_platform(condition) && !source.is_test(place.start) => {
                    let text = format!(
                        "a platform is told apart inside `{}`: make it an item of the platform's module, one per system",
                        function.name
                    );
                    let line = source.line(place.start);
                    findings.push(Finding::new(&source.path, line, "platform-cfg", text));
                }
                Some(_) | None => {}
            }
        }
    }
    findings
}

fn names_platform(condition: &str) -> bool {
    [
        "unix",
        "windows",
        "target_os",
        "target_family",
        "target_env",
    ]
    .iter()
    .any(|word| occurrences(condition, word).next().is_some())
}

pub(super) fn enum_order(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        if !source.path.starts_with("crates/watertight-core/src/") {
            continue;
        }
        for at in occurrences(&source.code, "pub enum") {
            let Some((name, end)) = identifier(&source.code, at + "pub enum".len()) else {
                continue;
            };
            let Some(open) = source.code[end..].find('{').map(|found| end + found) else {
                continue;
            };
            let variants = variants(&source.code, open);
            let wrong = variants.windows(2).find(|pair| pair[0].1 > pair[1].1);
            if let Some(pair) = wrong.filter(|_| !defends_order(source, at)) {
                let text = format!(
                    "`{}` after `{}` in `{name}`: sort the variants, or put `// {ORDER}: the reason` above it",
                    pair[1].1, pair[0].1
                );
                let line = source.line(pair[1].0);
                findings.push(Finding::new(&source.path, line, "enum-order", text));
            }
        }
    }
    findings
}

/// The variants between the brace at `open` and its partner, with their offsets.
fn variants(code: &str, open: usize) -> Vec<(usize, &str)> {
    let end = closing(code, open) - 1;
    let mut found = Vec::new();
    let mut at = open + 1;
    let mut expected = true;
    while at < end {
        match code.as_bytes()[at] {
            b'(' | b'[' | b'{' => at = closing(code, at),
            b',' => {
                expected = true;
                at += 1;
            }
            _ => match identifier(&code[..end], at).filter(|_| expected) {
                Some((name, after)) => {
                    found.push((after - name.len(), name));
                    expected = false;
                    at = after;
                }
                None => at += 1,
            },
        }
    }
    found
}

/// Whether the comments and attributes right above an item hold the opt-out with a reason.
fn defends_order(source: &Source, at: usize) -> bool {
    let last = source.line(at) - 1;
    let comments: Vec<&str> = source.comments.lines().take(last).collect();
    let code: Vec<&str> = source.code.lines().take(last).collect();
    comments
        .iter()
        .zip(&code)
        .rev()
        .take_while(|(comment, code)| {
            let code = code.trim();
            let is_blank = code.is_empty() && comment.trim().is_empty();
            !is_blank && (code.is_empty() || code.starts_with("#["))
        })
        .filter_map(|(comment, _)| comment.split_once(ORDER))
        .any(|(_, reason)| reason.chars().any(char::is_alphabetic))
}

#[cfg(test)]
mod tests {
    use super::super::probe::report;
    use super::*;

    const LIB: &str = "crates/watertight-core/src/lib.rs";

    #[test]
    fn a_long_function_is_found_and_a_shorter_one_is_not() {
        let function = |lines: usize| {
            format!(
                "\n#[test]\nfn a() {{\n{}}}\n",
                "    b(\"}\");\n".repeat(lines - 2)
            )
        };
        let found = report(function_length, &[(LIB, &function(71))]);
        assert!(found.contains("lib.rs:3: function-length: `a` has 71 lines"));
        assert_eq!(report(function_length, &[(LIB, &function(70))]), "");
    }

    #[test]
    fn a_long_file_warns_then_fails_unless_defended() {
        let file = |head: &str, lines: usize| format!("{head}{}", "a();\n".repeat(lines));
        let found = |text: &str| report(file_length, &[(LIB, text)]);
        assert_eq!(found(&file("", 400)), "");
        assert!(found(&file("", 401)).contains(":1: warning: file-length: 401 lines"));
        assert!(found(&file("", 601)).contains(":1: file-length: 601 lines"));
        let head = "//! A table.\n//! tidy: long because the table is one thing.\n";
        assert_eq!(found(&file(head, 601)), "");
        assert!(found(&file("//! tidy: long because \n", 601)).contains("file-length"));
    }

    #[test]
    fn a_platform_inside_a_function_is_found() {
        let found = |text| report(platform_cfg, &[(LIB, text)]);
        assert!(found("fn a() {\n    #[cfg(unix)]\n    b();\n}").contains(":2: platform-cfg"));
        assert!(found("fn a() { if cfg!(not(windows)) {} }").contains("inside `a`"));
        assert!(
            found("fn a() { #[cfg(any(target_os = \"linux\"))] b(); }").contains("platform-cfg")
        );
    }

    #[test]
    fn platforms_on_items_and_in_tests_are_quiet() {
        let text = "#[cfg(unix)]\nmod unix;\n#[cfg(windows)]\nfn a() { #[cfg(feature = \"windows\")] b(); }\n\
                    #[test]\nfn c() { if cfg!(windows) {} }";
        assert_eq!(report(platform_cfg, &[(LIB, text)]), "");
    }

    #[test]
    fn variants_out_of_order_are_found() {
        let text = "pub enum A {\n    B { z: u8, a: u8 },\n    #[doc(hidden)]\n    D(u8, u8),\n    C = 3,\n}";
        let found = report(enum_order, &[(LIB, text)]);
        assert!(
            found.contains(":5: enum-order: `C` after `D` in `A`"),
            "{found}"
        );
        let found = report(enum_order, &[(LIB, "// tidy: order\npub enum A { C, B }")]);
        assert!(found.contains("enum-order"), "an opt-out needs a reason");
    }

    #[test]
    fn sorted_and_defended_enums_are_quiet() {
        let sorted = "/// Doc.\npub enum A { /// One.\n B, C(u8), D { x: u8 } }\nenum Own { Z, A }";
        assert_eq!(report(enum_order, &[(LIB, sorted)]), "");
        let defended = "// tidy: order is time\n#[derive(Debug)]\npub enum A { C, B }";
        assert_eq!(report(enum_order, &[(LIB, defended)]), "");
        let other = ("crates/watertight/src/lib.rs", "pub enum A { C, B }");
        assert_eq!(report(enum_order, &[other]), "");
    }
}
