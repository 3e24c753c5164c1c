//! Calls and marks that have no place here, each with what to do instead.

use super::{Finding, Tree};
use crate::source::{Source, attributes, occurrences};

/// A call, where it is allowed, and what to do instead.
struct Ban {
    pattern: &'static str,
    is_allowed: fn(&Source, bool) -> bool,
    instead: &'static str,
}

const BANS: [Ban; 7] = [
    Ban {
        pattern: "mem::forget",
        is_allowed: |_, is_test| is_test,
        instead: "a leak with no owner: hand the value to the one who ends it, or use ManuallyDrop and say who drops it",
    },
    Ban {
        pattern: "thread::sleep",
        is_allowed: |source, _| !source.path.starts_with("crates/") || is_bench(source),
        instead: "nothing sleeps to wait: wait for the event, with a bound (Condvar::wait_timeout, recv_timeout, a deadline)",
    },
    Ban {
        pattern: "print!",
        is_allowed: may_print,
        instead: PRINT,
    },
    Ban {
        pattern: "println!",
        is_allowed: may_print,
        instead: PRINT,
    },
    Ban {
        pattern: "eprint!",
        is_allowed: may_print,
        instead: PRINT,
    },
    Ban {
        pattern: "eprintln!",
        is_allowed: may_print,
        instead: PRINT,
    },
    Ban {
        pattern: "process::exit",
        is_allowed: |source, is_test| is_test || source.path == "crates/watertight-cli/src/main.rs",
        instead: "it skips every destructor: return an ExitCode; only the program's main.rs ends the process",
    },
];

const PRINT: &str = "a library has no terminal: return it, or tell the observer; programs print";

/// The programs: what they print is their purpose.
const PRINTERS: [&str; 4] = [
    "watertight-bench",
    "watertight-cli",
    "watertight-sim",
    "xtask",
];

fn is_bench(source: &Source) -> bool {
    source.path.starts_with("crates/watertight-bench/src/")
}

fn may_print(source: &Source, is_test: bool) -> bool {
    let is_program = PRINTERS.contains(&source.package()) || source.path.ends_with("/src/main.rs");
    is_test || is_program || source.path.contains("/examples/")
}

pub(super) fn calls(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        for ban in &BANS {
            for at in occurrences(&source.code, ban.pattern) {
                if !(ban.is_allowed)(source, source.is_test(at)) {
                    let text = format!("`{}`: {}", ban.pattern, ban.instead);
                    findings.push(Finding::new(&source.path, source.line(at), "banned", text));
                }
            }
        }
    }
    findings
}

pub(super) fn ignored_tests(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        for attribute in attributes(&source.code) {
            let text = &source.code[attribute.clone()];
            if occurrences(text, "ignore").next().is_some() {
                let line = source.line(attribute.start);
                let text = "an ignored test proves nothing: repair it, or delete it";
                findings.push(Finding::new(&source.path, line, "ignored-test", text));
            }
        }
    }
    findings
}

/// Marks of unfinished work: macros in code, words in comments.
pub(super) fn unfinished(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.sources {
        let marks = [
            (&source.code, &["todo!", "unimplemented!"][..]),
            (&source.comments, &["TODO", "FIXME", "XXX"][..]),
        ];
        for (text, patterns) in marks {
            for pattern in patterns {
                for at in occurrences(text, pattern) {
                    let text = format!(
                        "`{pattern}`: finish it, or open an issue and leave the code true as it stands"
                    );
                    let line = source.line(at);
                    findings.push(Finding::new(&source.path, line, "unfinished", text));
                }
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::probe::report;
    use super::*;

    const LIB: &str = "crates/watertight/src/lib.rs";

    #[test]
    fn a_banned_call_is_found_with_its_way_out() {
        let found = |path, text| report(calls, &[(path, text)]);
        let code = "fn a() {\n    std::mem::forget(x);\n}";
        assert!(
            found(LIB, code).starts_with("crates/watertight/src/lib.rs:2: banned: `mem::forget`: ")
        );
        assert!(found(LIB, "fn a() { println!() }").contains("no terminal"));
        assert!(
            found(
                "crates/watertight-cli/src/run.rs",
                "fn a() { process::exit(1) }"
            )
            .contains("ExitCode")
        );
        let sleep = "#[test]\nfn a() { thread::sleep(x) }";
        assert!(found(LIB, sleep).contains("nothing sleeps"));
        assert!(found("crates/watertight-bench/tests/a.rs", sleep).contains("nothing sleeps"));
    }

    #[test]
    fn what_is_allowed_stays_quiet() {
        let found = |path, text| report(calls, &[(path, text)]);
        let text = "// thread::sleep\nfn a() { b(\"println!\"); my_println!(); }\n#[test]\nfn c() { mem::forget(x); println!() }";
        assert_eq!(found(LIB, text), "");
        let main = "fn a() { println!(); process::exit(1) }";
        assert_eq!(found("crates/watertight-cli/src/main.rs", main), "");
        assert_eq!(
            found(
                "crates/watertight-bench/src/main.rs",
                "fn a() { thread::sleep(x) }"
            ),
            ""
        );
    }

    #[test]
    fn ignored_tests_are_found_in_every_spelling() {
        let found = |text| report(ignored_tests, &[(LIB, text)]);
        assert!(found("#[test]\n#[ignore = \"slow\"]\nfn a() {}").contains(":2: ignored-test"));
        assert!(found("#[cfg_attr(windows, ignore)]\nfn a() {}").contains(":1: ignored-test"));
        assert_eq!(found("// #[ignore]\n#[test]\nfn ignore() {}"), "");
    }

    #[test]
    fn unfinished_work_is_found() {
        let found = |text| report(unfinished, &[(LIB, text)]);
        assert!(found("fn a() {\n todo!() }").contains(":2: unfinished: `todo!`"));
        assert!(found("// FIXME later").contains(":1: unfinished"));
        assert_eq!(found("// XXXXXX is a template\nfn a() { b(\"TODO\") }"), "");
    }
}
