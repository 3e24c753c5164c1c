//! What the tests ran, added up from lcov reports.

use std::collections::BTreeMap;
use std::path::Path;

/// One file: how often each line ran, and each way of each branch.
#[derive(Debug, Default)]
pub(super) struct FileCoverage {
    pub(super) lines: BTreeMap<usize, u64>,
    /// Line, block and branch, as lcov numbers them.
    pub(super) branches: BTreeMap<(usize, u32, u32), u64>,
}

/// All files of the workspace, by their path in it.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    pub(super) files: BTreeMap<String, FileCoverage>,
}

impl Coverage {
    /// Adds a report. Files outside the workspace are left out.
    pub(super) fn add(&mut self, report: &str, root: &Path) {
        let mut current: Option<&mut FileCoverage> = None;
        for line in report.lines() {
            if let Some(path) = line.strip_prefix("SF:") {
                let path = Path::new(path).strip_prefix(root).ok();
                current = path.map(|path| {
                    let path = path.to_string_lossy().replace('\\', "/");
                    self.files.entry(path).or_default()
                });
            } else if let Some(file) = current.as_deref_mut() {
                file.record(line);
            }
        }
    }
}

impl FileCoverage {
    /// `DA:line,count` or `BRDA:line,block,branch,count`; a count of `-` means that the line itself never ran.
    fn record(&mut self, record: &str) {
        let Some((kind, values)) = record.split_once(':') else {
            return;
        };
        let values: Vec<u64> = values
            .split(',')
            .map(|value| value.parse().unwrap_or_default())
            .collect();
        let (sum, count) = match (kind, values.as_slice()) {
            ("DA", &[line, count, ..]) => (self.lines.entry(small(line)).or_default(), count),
            ("BRDA", &[line, block, branch, count]) => {
                let key = (small(line), small(block), small(branch));
                (self.branches.entry(key).or_default(), count)
            }
            _ => return,
        };
        // A count that the tools compute from others can go below zero when a process ends in the middle, and wraps.
        *sum = sum.saturating_add(count);
    }

    /// Keeps only what is on the lines that `is_wanted`.
    pub(super) fn retain(&mut self, is_wanted: impl Fn(usize) -> bool) {
        self.lines.retain(|line, _| is_wanted(*line));
        self.branches.retain(|(line, _, _), _| is_wanted(*line));
    }
}

/// The numbers of a file of ours are small.
fn small<T: TryFrom<u64> + Default>(number: u64) -> T {
    T::try_from(number).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "SF:/tree/crates/a/src/lib.rs\nFN:1,a\nDA:3,7\nDA:4,0\nBRDA:4,0,0,-\nBRDA:4,0,1,2\nLF:2\nend_of_record\n\
                          SF:/elsewhere/b.rs\nDA:1,1\nend_of_record\n";

    #[test]
    fn reports_are_added_up_and_foreign_files_left_out() {
        let mut coverage = Coverage::default();
        coverage.add(REPORT, Path::new("/tree"));
        coverage.add(REPORT, Path::new("/tree"));
        assert_eq!(coverage.files.len(), 1);
        let file = &coverage.files["crates/a/src/lib.rs"];
        assert_eq!(file.lines, BTreeMap::from([(3, 14), (4, 0)]));
        assert_eq!(
            file.branches,
            BTreeMap::from([((4, 0, 0), 0), ((4, 0, 1), 4)])
        );
    }

    #[test]
    fn lines_that_are_not_wanted_go_with_their_branches() {
        let mut coverage = Coverage::default();
        coverage.add(REPORT, Path::new("/tree"));
        let file = coverage.files.get_mut("crates/a/src/lib.rs").unwrap();
        file.retain(|line| line == 3);
        assert_eq!((file.lines.len(), file.branches.len()), (1, 0));
    }
}
