//! Rust sources: SAFETY comments that answer, the fence around unsafe code, files of a size that one reads. All of them go by lines: rustfmt has laid them out.

use super::{File, Finding, Tree, finding};

const FILE_LINES_MAX: usize = 600;
const LONG: &str = "tidy: long because ";
/// Fewer words than these do not say who owns a memory, until when, and who else can touch it.
const SAFETY_WORDS_MIN: usize = 8;
/// The rooms with unsafe code.
const UNSAFE_ROOMS: [&str; 2] = ["crates/watertight-os/", "crates/watertight-ffi/"];
const FORBID: &str = "#![forbid(unsafe_code)]";

fn rust(tree: &Tree) -> impl Iterator<Item = &File> {
    tree.files.iter().filter(|file| file.is_rust())
}

pub(super) fn file_length(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in rust(tree) {
        let lines = file.lines().count();
        let head = file.text.lines().take_while(|line| line.starts_with("//"));
        let is_defended = head
            .filter_map(|line| line.split_once(LONG))
            .any(|(_, reason)| !reason.trim().is_empty());
        if lines > FILE_LINES_MAX && !is_defended {
            let text = format!(
                "{lines} lines: split it, or defend it in its head comment by a line `{LONG}…`"
            );
            findings.push(finding(&file.path, 1, "file-length", text));
        }
    }
    findings
}

/// Who owns this memory, until when, and who else can touch it.
pub(super) fn safety(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in rust(tree).filter(|file| !file.path.starts_with("xtask/")) {
        let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
        for (at, line) in lines.iter().enumerate() {
            let Some(first) = line.strip_prefix("// SAFETY:") else {
                continue;
            };
            let more = lines[at + 1..]
                .iter()
                .map_while(|line| line.strip_prefix("// "));
            let said = [first]
                .into_iter()
                .chain(more)
                .collect::<Vec<_>>()
                .join(" ");
            if said.split_whitespace().count() < SAFETY_WORDS_MIN && !said.contains("as above") {
                let text = "say who owns the memory, until when, and who else can touch it (or that there is none)";
                findings.push(finding(&file.path, at + 1, "safety", text));
            }
        }
    }
    findings
}

/// Elsewhere every crate's root forbids unsafe code, and tests, which are crates of their own, have none.
pub(super) fn unsafe_fence(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in
        rust(tree).filter(|file| !UNSAFE_ROOMS.iter().any(|room| file.path.starts_with(room)))
    {
        let is_root = file.path.ends_with("src/lib.rs") || file.path.ends_with("src/main.rs");
        if is_root
            && file.path != "xtask/src/main.rs"
            && !file.text.lines().any(|line| line == FORBID)
        {
            let text = format!("add `{FORBID}`: unsafe code lives in watertight-os");
            findings.push(finding(&file.path, 1, "unsafe", text));
        }
        let marks = [
            "unsafe {",
            "unsafe impl",
            "unsafe fn",
            "unsafe extern",
            "unsafe(",
        ];
        let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
        let hits = file.lines().filter(|(_, line)| {
            !file.path.starts_with("xtask/") && marks.iter().any(|mark| code(line).contains(mark))
        });
        findings.extend(hits.map(|(at, _)| {
            let text = "unsafe code outside its rooms: make one safe wrapper for the one system call in watertight-os";
            finding(&file.path, at, "unsafe", text)
        }));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::probe::report;
    use super::*;

    const LIB: &str = "crates/watertight/src/lib.rs";

    #[test]
    fn a_long_file_is_found_unless_defended() {
        let file = |head: &str, lines: usize| format!("{head}{}", "a();\n".repeat(lines));
        let found = |text: &str| report(file_length, &[(LIB, text)]);
        assert_eq!(found(&file("", 600)), "");
        assert!(found(&file("", 601)).contains(":1: file-length: 601 lines"));
        assert_eq!(
            found(&file(
                "//! A table.\n//! tidy: long because it is one table.\n",
                601
            )),
            ""
        );
        assert!(found(&file("//! tidy: long because \n", 601)).contains("file-length"));
    }

    #[test]
    fn a_safety_comment_that_does_not_answer_is_found() {
        let found = |text| report(safety, &[("crates/watertight-os/src/a.rs", text)]);
        assert!(
            found("fn a() {\n    // SAFETY: it is fine.\n    unsafe {}").contains(":2: safety")
        );
        assert_eq!(
            found(
                "// SAFETY: the block is ours until the packet\n// comes, and nobody else knows it."
            ),
            ""
        );
        assert_eq!(found("// SAFETY: as above."), "");
    }

    #[test]
    fn unsafe_code_outside_its_rooms_is_found() {
        let found = |path, text| report(unsafe_fence, &[(path, text)]);
        assert!(found(LIB, "").contains(":1: unsafe: add"));
        assert!(
            found(
                "crates/watertight/tests/a.rs",
                "\nunsafe impl Send for A {}"
            )
            .contains(":2: unsafe")
        );
        assert_eq!(
            found(LIB, "//! No unsafe {} here.\n#![forbid(unsafe_code)]\n"),
            ""
        );
        assert_eq!(found("crates/watertight-os/src/a.rs", "unsafe { b() }"), "");
    }
}
