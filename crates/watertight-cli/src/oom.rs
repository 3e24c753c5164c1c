//! Whether the system's out-of-memory killer had a hand in a command's end (Linux).
//!
//! The killer leaves its victim no sign but SIGKILL, which anybody may send. It counts what it does, though: for each control
//! group with a limit of its own and for the whole machine. Whose death it counted is not told, so all of this is a hint.

use crate::platform;
use serde::Serialize;
use std::fs;
use std::path::{Component, Path, PathBuf};
use watertight::{Exit, Outcome};

/// In which control group this process is.
const OWN_GROUP: &str = "/proc/self/cgroup";
/// Where the control groups are.
const GROUPS: &str = "/sys/fs/cgroup";
/// A group's files with its counter: of the group alone, and of the groups below it too.
const GROUP_FILES: [&str; 2] = ["memory.events.local", "memory.events"];
/// The whole machine's file with its counter.
const MACHINE_FILE: &str = "/proc/vmstat";
/// The counter's name in all of these files.
const COUNTER: &str = "oom_kill";

/// SIGKILL's number where there is an out-of-memory killer, and what a shell makes of it.
const KILLED: i32 = 9;
const KILLED_CODE: i32 = 128 + KILLED;

/// The kills that were counted before a command was started.
pub(crate) struct KillsBefore {
    counters: Vec<Kills>,
}

/// One counter, and how many kills it had counted.
struct Kills {
    file: PathBuf,
    count: u64,
}

/// The killer was at work while the command ran.
#[derive(Debug, Serialize)]
pub(crate) struct OutOfMemory {
    /// How many it killed.
    kills: u64,
    /// The file that says so.
    counter: String,
    /// They may have been anybody's on this machine: no control group counts for itself.
    whole_machine: bool,
}

impl KillsBefore {
    pub(crate) fn count() -> Self {
        let counters = if cfg!(target_os = "linux") {
            counters()
        } else {
            Vec::new()
        };
        Self { counters }
    }

    /// Whether the killer may have sent the SIGKILL that ended the command, or what a shell ran: not we did, and it was at work since.
    pub(crate) fn hint(&self, outcome: &Outcome) -> Option<OutOfMemory> {
        let status = outcome.exit.and_then(Exit::status)?;
        let is_killed =
            platform::ending_signal(status) == Some(KILLED) || status.code() == Some(KILLED_CODE);
        let is_ours = outcome.tree.is_some();
        if is_killed && !is_ours {
            self.since()
        } else {
            None
        }
    }

    /// What was counted since: the narrowest counter that rose.
    fn since(&self) -> Option<OutOfMemory> {
        self.counters.iter().find_map(|before| {
            let now = Kills::read(&before.file)?;
            let kills = now.count.checked_sub(before.count)?;
            (kills > 0).then(|| OutOfMemory {
                kills,
                counter: before.file.display().to_string(),
                whole_machine: before.file == Path::new(MACHINE_FILE),
            })
        })
    }
}

impl Kills {
    fn read(file: &Path) -> Option<Self> {
        let text = fs::read_to_string(file).ok()?;
        Some(Self {
            file: file.to_owned(),
            count: kills(&text)?,
        })
    }
}

impl OutOfMemory {
    /// For a person.
    pub(crate) fn in_words(&self) -> String {
        let (kills, counter) = (self.kills, &self.counter);
        let likely = if self.whole_machine {
            "may have"
        } else {
            "probably has"
        };
        format!(
            "the system's out-of-memory killer {likely} ended it: {COUNTER} rose by {kills} in {counter}"
        )
    }
}

/// The counters of the nearest group that has some; the machine's where no group has any.
fn counters() -> Vec<Kills> {
    let own = fs::read_to_string(OWN_GROUP).unwrap_or_default();
    let folders = group(&own).map(folders).unwrap_or_default();
    let mut of_groups = folders.iter().map(|folder| {
        let files = GROUP_FILES.iter().map(|file| folder.join(file));
        let known = files.filter_map(|file| Kills::read(&file));
        known.collect::<Vec<_>>()
    });
    let nearest = of_groups.find(|known| !known.is_empty());
    nearest.unwrap_or_else(|| Kills::read(Path::new(MACHINE_FILE)).into_iter().collect())
}

/// The group of the second version's tree, which has no number and no controllers' names before it.
fn group(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

/// The folders of a group and of those it is in, the nearest first. In a container the group may be called by a name that is none
/// there: then the topmost folder, which is the last one, is the container's own.
fn folders(group: &str) -> Vec<PathBuf> {
    let below = Path::new(group.trim_start_matches('/'));
    let is_inside = below
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let below = if is_inside { below } else { Path::new("") };
    let folders = below.ancestors();
    folders.map(|part| Path::new(GROUPS).join(part)).collect()
}

/// The counter's value in a file of names and values.
fn kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == COUNTER).then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(unix)]
    use std::time::Duration;
    #[cfg(unix)]
    use watertight::{Command, EndedBy, Limits};

    /// What comes of a line of shell.
    #[cfg(unix)]
    fn outcome_of(line: &str, limits: Limits) -> Outcome {
        let mut command = Command::new("sh");
        let run = command.args(["-c", line]).output(limits).unwrap();
        run.wait().unwrap()
    }

    /// One counter, which says so much.
    #[cfg(unix)]
    fn counting(file: &Path, count: u64) -> KillsBefore {
        fs::write(file, format!("oom_kill {count}\n")).unwrap();
        let counters = Kills::read(file).into_iter().collect();
        KillsBefore { counters }
    }

    #[cfg(unix)]
    #[test]
    fn a_sigkill_that_was_not_ours_is_a_hint_if_a_counter_rose() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("memory.events");
        let risen = counting(&file, 5);
        let equal = counting(&file, 6);
        for (line, is_killed) in [
            ("kill -9 $$", true),
            // What a shell has run.
            ("sh -c 'kill -9 $$'; exit $?", true),
            ("exit 9", false),
            ("exit 0", false),
            ("kill -TERM $$", false),
        ] {
            let outcome = outcome_of(line, Limits::new());
            let hint = risen.hint(&outcome);
            assert_eq!(
                hint.map(|hint| hint.kills),
                is_killed.then_some(1),
                "{line}"
            );
            assert!(equal.hint(&outcome).is_none(), "{line}");
        }
        let limits = Limits::new().within(Duration::ZERO).grace(Duration::ZERO);
        let outcome = outcome_of("exec sleep 1000", limits);
        assert_eq!(outcome.ended, EndedBy::Deadline);
        let status = outcome.exit.and_then(Exit::status).unwrap();
        assert_eq!(platform::ending_signal(status), Some(KILLED));
        assert!(risen.hint(&outcome).is_none(), "it was we");
    }

    #[test]
    fn the_counter_is_found_by_its_whole_name() {
        let events = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(kills(events), Some(2));
        assert_eq!(kills("nr_free_pages 5\noom_kill 41\n"), Some(41));
        for without in [
            "",
            "oom 3\noom_group_kill 1\n",
            "oom_kill\n",
            "oom_kill x\n",
        ] {
            assert_eq!(kills(without), None, "{without:?}");
        }
    }

    #[test]
    fn the_group_is_the_second_versions() {
        let both = "12:memory:/old\n1:name=systemd:/old\n0::/user.slice/session-1.scope\n";
        assert_eq!(group(both), Some("/user.slice/session-1.scope"));
        assert_eq!(group("0::/\n"), Some("/"));
        assert_eq!(group("4:memory:/old\n"), None);
    }

    #[test]
    fn a_groups_folders_lead_up_to_the_topmost() {
        let all = |group| {
            let folders = folders(group).into_iter();
            let texts = folders.map(|folder| folder.to_string_lossy().replace('\\', "/"));
            texts.collect::<Vec<_>>()
        };
        let topmost = format!("{GROUPS}/");
        assert_eq!(
            all("/a/b"),
            [
                format!("{GROUPS}/a/b"),
                format!("{GROUPS}/a"),
                topmost.clone()
            ]
        );
        // A container's, and one that is outside what can be seen.
        assert_eq!(all("/"), std::slice::from_ref(&topmost));
        assert_eq!(all("/../other"), [topmost]);
    }

    #[test]
    fn a_counter_that_rose_is_told_and_one_that_did_not_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let files = GROUP_FILES.map(|file| folder.path().join(file));
        for file in &files {
            fs::write(file, "oom_kill 5\n").unwrap();
        }
        let counters = files.iter().filter_map(|file| Kills::read(file)).collect();
        let before = KillsBefore { counters };
        assert!(before.since().is_none());
        // Below the group.
        fs::write(&files[1], "oom_kill 7\n").unwrap();
        let risen = before.since().unwrap();
        assert_eq!((risen.kills, risen.whole_machine), (2, false));
        assert!(risen.in_words().contains("probably"));
        assert!(risen.in_words().contains("memory.events"));
    }
}
