//! The table, and whether it is good enough.

use super::exceptions::{Exception, FILE};
use super::lcov::{Coverage, FileCoverage};
use crate::source::Source;
use std::path::Path;

/// The crates whose lines are to be covered, and how many percent of them.
const LIBRARIES: [&str; 3] = ["watertight-core", "watertight-os", "watertight"];
const LINES_MIN: usize = 95;

/// Where every way of every branch is to be taken.
const BRANCHES: [&str; 3] = [
    "crates/watertight-core/src/",
    "crates/watertight-os/src/unix/classify.rs",
    "crates/watertight-os/src/windows/classify.rs",
];

/// What another system runs, and so cannot be counted on this one.
const FOREIGN: [&str; 2] = if cfg!(windows) {
    ["crates/watertight-os/src/unix/", "-"]
} else if cfg!(target_os = "linux") {
    [
        "crates/watertight-os/src/windows/",
        "crates/watertight-os/src/unix/other.rs",
    ]
} else {
    [
        "crates/watertight-os/src/windows/",
        "crates/watertight-os/src/unix/linux.rs",
    ]
};

/// So many of so many.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Share {
    done: usize,
    all: usize,
}

impl Share {
    fn of<'a>(counts: impl Iterator<Item = &'a u64>) -> Share {
        let mut share = Share::default();
        for count in counts {
            share.all += 1;
            share.done += usize::from(*count > 0);
        }
        share
    }

    fn plus(self, other: Share) -> Share {
        Share {
            done: self.done + other.done,
            all: self.all + other.all,
        }
    }

    /// Tenths of a percent, rounded down: 1000 means all.
    fn tenths(self) -> usize {
        if self.all == 0 {
            return 1000;
        }
        1000 * self.done / self.all
    }

    fn text(self) -> String {
        if self.all == 0 {
            return "-".to_owned();
        }
        let tenths = self.tenths();
        let percent = format!("{}.{}", tenths / 10, tenths % 10);
        format!("{}/{} {percent:>5} %", self.done, self.all)
    }
}

/// A file's figures, without its tests.
struct Row {
    path: String,
    lines: Share,
    branches: Share,
    /// Lines never run that nobody has explained.
    unrun: Vec<usize>,
    /// Lines with a branch of which a way was never taken.
    untaken: Vec<usize>,
}

/// Prints figures and gaps; whether they are good enough.
pub(super) fn print(
    root: &Path,
    coverage: &Coverage,
    listed: &[Exception],
) -> Result<bool, String> {
    let mut rows = Vec::new();
    let mut stale: Vec<&Exception> = listed.iter().collect();
    for (path, file) in &coverage.files {
        let library = LIBRARIES
            .iter()
            .any(|name| path.starts_with(&format!("crates/{name}/src/")));
        if !library || (is_foreign(path) && !wants_branches(path)) {
            continue;
        }
        let text = std::fs::read_to_string(root.join(path)).map_err(|e| format!("{path}: {e}"))?;
        if let Some(row) = row(path, &text, file, listed, &mut stale) {
            rows.push(row);
        }
    }
    println!("\n{:<46} {:>18} {:>18}", "file", "lines", "branches");
    for row in &rows {
        print_row(&row.path, row.lines, row.branches);
    }
    let mut is_enough = totals(&rows);
    for row in &rows {
        for line in &row.unrun {
            println!("never run: {}:{line}", row.path);
        }
        for line in &row.untaken {
            println!("never taken one way: {}:{line}", row.path);
        }
        if wants_branches(&row.path) && row.branches.done < row.branches.all {
            println!("FAILED: {}: every way of every branch", row.path);
            is_enough = false;
        }
    }
    for exception in listed {
        println!(
            "listed as not reachable here: {}: {}",
            exception.place(),
            exception.reason
        );
    }
    for exception in stale {
        println!(
            "FAILED: {FILE} lists what is run, or is not there: {}",
            exception.place()
        );
        is_enough = false;
    }
    Ok(is_enough)
}

fn print_row(name: &str, lines: Share, branches: Share) {
    println!("{name:<46} {:>18} {:>18}", lines.text(), branches.text());
}

/// Prints the sum of each crate; whether each has enough lines. The sum leaves out what is there for its branches only.
fn totals(rows: &[Row]) -> bool {
    let mut is_enough = true;
    for name in LIBRARIES {
        let prefix = format!("crates/{name}/src/");
        let (mut lines, mut branches) = (Share::default(), Share::default());
        let own = rows
            .iter()
            .filter(|row| row.path.starts_with(&prefix) && !is_foreign(&row.path));
        for row in own {
            lines = lines.plus(row.lines);
            branches = branches.plus(row.branches);
        }
        print_row(&format!("{name}, all"), lines, branches);
        if lines.all == 0 || lines.tenths() < 10 * LINES_MIN {
            println!("FAILED: {name}: at least {LINES_MIN} % of the lines");
            is_enough = false;
        }
    }
    is_enough
}

fn is_foreign(path: &str) -> bool {
    FOREIGN.iter().any(|prefix| path.starts_with(prefix))
}

fn wants_branches(path: &str) -> bool {
    BRANCHES.iter().any(|prefix| path.starts_with(prefix))
}

/// The figures of one file; nothing if all of it is tests. Exceptions that are needed leave `stale`.
fn row(
    path: &str,
    text: &str,
    file: &FileCoverage,
    listed: &[Exception],
    stale: &mut Vec<&Exception>,
) -> Option<Row> {
    let source = Source::new(path, text);
    let starts: Vec<usize> = std::iter::once(0)
        .chain(text.match_indices('\n').map(|(at, _)| at + 1))
        .collect();
    let is_product = |line: usize| {
        let start = starts.get(line - 1).copied().unwrap_or_default();
        let blanks = text[start..].len() - text[start..].trim_start().len();
        !source.is_test(start + blanks)
    };
    let mut own = FileCoverage {
        lines: file.lines.clone(),
        branches: file.branches.clone(),
    };
    own.retain(is_product);
    if own.lines.is_empty() || path.ends_with("_tests.rs") {
        return None;
    }
    let line_text = |line: usize| text.lines().nth(line - 1).unwrap_or_default().trim();
    let is_in = |line: usize, name: &str| {
        source.functions.iter().any(|function| {
            let (first, last) = (
                source.line(function.start),
                source.line(function.body.end - 1),
            );
            function.name == name && (first..=last).contains(&line)
        })
    };
    let is_listed = |line: usize| {
        let own = listed.iter().filter(|e| e.file == path);
        let mut fitting = own.filter(|e| e.text == line_text(line) || is_in(line, &e.function));
        fitting.next()
    };
    let mut unrun = Vec::new();
    for (line, _) in own.lines.iter().filter(|(_, count)| **count == 0) {
        match is_listed(*line) {
            Some(exception) => stale.retain(|other| *other != exception),
            None => unrun.push(*line),
        }
    }
    let mut untaken: Vec<usize> = own
        .branches
        .iter()
        .filter(|(_, n)| **n == 0)
        .map(|((line, _, _), _)| *line)
        .collect();
    untaken.dedup();
    Some(Row {
        path: path.to_owned(),
        lines: Share::of(own.lines.values()),
        branches: Share::of(own.branches.values()),
        unrun,
        untaken,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const TEXT: &str =
        "fn a() {\n    b();\n    c();\n}\n#[cfg(test)]\nmod tests {\n    fn d() {}\n}\n";

    fn file() -> FileCoverage {
        FileCoverage {
            lines: BTreeMap::from([(1, 1), (2, 1), (3, 0), (7, 0)]),
            branches: BTreeMap::from([((2, 0, 0), 1), ((2, 0, 1), 0)]),
        }
    }

    #[test]
    fn tests_are_not_counted_and_gaps_are_named() {
        let row = row("crates/a/src/a.rs", TEXT, &file(), &[], &mut Vec::new()).unwrap();
        assert_eq!(row.lines, Share { done: 2, all: 3 });
        assert_eq!((row.unrun, row.untaken), (vec![3], vec![2]));
    }

    #[test]
    fn an_exception_that_is_needed_is_not_stale() {
        let listed = ["c();", "b();"].map(|text| Exception {
            file: "a.rs".to_owned(),
            function: String::new(),
            text: text.to_owned(),
            reason: "why".to_owned(),
        });
        let mut stale: Vec<&Exception> = listed.iter().collect();
        let row = row("a.rs", TEXT, &file(), &listed, &mut stale).unwrap();
        assert!(row.unrun.is_empty());
        assert_eq!(stale, [&listed[1]]);
    }

    #[test]
    fn a_function_can_be_listed_as_a_whole() {
        let listed = ["a", "b"].map(|function| Exception {
            file: "a.rs".to_owned(),
            function: function.to_owned(),
            text: String::new(),
            reason: "why".to_owned(),
        });
        let mut stale: Vec<&Exception> = listed.iter().collect();
        let row = row("a.rs", TEXT, &file(), &listed, &mut stale).unwrap();
        assert!(row.unrun.is_empty());
        assert_eq!(stale, [&listed[1]]);
    }

    #[test]
    fn a_share_is_rounded_down() {
        assert_eq!(
            Share {
                done: 1999,
                all: 2000
            }
            .text(),
            "1999/2000  99.9 %"
        );
        assert_eq!(Share::default().text(), "-");
    }
}
