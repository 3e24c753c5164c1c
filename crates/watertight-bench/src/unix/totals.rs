//! What perf, strace and valgrind say of a whole run.

use std::collections::BTreeMap;

/// What a whole run came to.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Totals {
    pub(super) calls: f64,
    pub(super) named: BTreeMap<String, f64>,
    pub(super) switches: Option<f64>,
}

impl Totals {
    /// `29,,raw_syscalls:sys_enter,1277585,100.00,,`.
    pub(super) fn from_perf(said: &str) -> Option<Self> {
        let mut totals = Totals::default();
        let mut is_there = false;
        for line in said.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split(',');
            let (Some(count), Some(_), Some(event)) = (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let Ok(count) = count.parse::<f64>() else {
                continue;
            };
            if event == "raw_syscalls:sys_enter" {
                totals.calls = count;
                is_there = true;
            } else if event == "context-switches" {
                totals.switches = Some(count);
            } else if let Some(name) = event.strip_prefix("syscalls:sys_enter_") {
                totals.named.insert(name.to_owned(), count);
            }
        }
        is_there.then_some(totals)
    }

    /// `  0.00    0.000000           0         8           mmap`, and `total` at the end.
    pub(super) fn from_strace(said: &str) -> Option<Self> {
        let mut totals = Totals::default();
        let mut is_there = false;
        for line in said.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (Some(name), Some(count)) = (words.last(), words.get(3)) else {
                continue;
            };
            let Ok(count) = count.parse::<f64>() else {
                continue;
            };
            if *name == "total" {
                totals.calls = count;
                is_there = true;
            } else {
                totals.named.insert((*name).to_owned(), count);
            }
        }
        is_there.then_some(totals)
    }
}

/// callgrind's line `totals: 123456`.
pub(super) fn instructions(said: &str) -> Option<f64> {
    let total = said
        .lines()
        .find_map(|line| line.strip_prefix("totals: "))?;
    total.trim().parse().ok()
}

/// memcheck's line `==1==   total heap usage: 1,234 allocs, 1,200 frees, 65,536 bytes allocated`.
pub(super) fn allocations(said: &str) -> Option<f64> {
    let (_, rest) = said.split_once("total heap usage: ")?;
    let (count, _) = rest.split_once(" allocs")?;
    count.replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_perf_says_is_understood() {
        let said = "# started\n\n29,,raw_syscalls:sys_enter,1277585,100.00,,\n\
            19,,context-switches,1277585,100.00,,\n7,,syscalls:sys_enter_write,1277585,100.00,,\n";
        let totals = Totals::from_perf(said).unwrap();
        assert_eq!((totals.calls, totals.switches), (29.0, Some(19.0)));
        assert_eq!(totals.named["write"], 7.0);
        assert_eq!(
            Totals::from_perf("<not supported>,,raw_syscalls:sys_enter,0,,,"),
            None
        );
    }

    #[test]
    fn what_strace_says_is_understood() {
        let said = "% time     seconds  usecs/call     calls    errors syscall\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            50.00    0.000000           0         8           mmap\n\
            50.00    0.000000           0         1         1 access\n\
            ------ ----------- ----------- --------- --------- ----------------\n\
            100.00    0.000000           0         9         1 total\n";
        let totals = Totals::from_strace(said).unwrap();
        assert_eq!(totals.calls, 9.0);
        assert_eq!(totals.named["mmap"], 8.0);
        assert_eq!(totals.switches, None);
    }

    #[test]
    fn what_valgrind_says_is_understood() {
        let said = "summary: 1\ntotals: 7654321\n";
        assert_eq!(instructions(said), Some(7_654_321.0));
        let said = "==1== HEAP SUMMARY:\n==1==     in use at exit: 5,008 bytes in 18 blocks\n\
            ==1==   total heap usage: 1,280 allocs, 262 frees, 123,166 bytes allocated\n";
        assert_eq!(allocations(said), Some(1_280.0));
        assert_eq!(
            (instructions("killed"), allocations("killed")),
            (None, None)
        );
    }
}
