//! The report of `watertight run`, as text or as JSON.

use crate::address::Address;
use crate::discarded::Discarded;
use crate::oom::OutOfMemory;
use crate::orphans::SeenOff;
use crate::platform;
use crate::run_ending::{NoOutcome, RunEnding, ending};
use crate::run_flags::RunFlags;
use crate::run_outputs::{OutputEnd, OutputEnds};
use crate::units::{
    base64_unless_text, base64_unless_texts, printable, shown_bytes, shown_duration, shown_name,
    shown_names,
};
use serde::Serialize;
use std::fmt::Write;
use std::io;
use std::time::Duration;
use watertight::{Captured, EndedBy, EndedTree, Error, Exit, Found, Outcome, Usage, Verb};

/// Who is not seen of a tree that cannot be looked at.
const OUTSIDE_GROUP: &str = "whoever has left the command's process group";

/// One output, if it went through our hands.
#[derive(Debug, Serialize)]
pub(crate) struct StreamReport {
    /// What the system took from us for whoever reads it.
    passed_on: u64,
    /// What came behind the bound, and what nobody took.
    discarded: u64,
    /// Whether that was taken is not known.
    in_doubt: u64,
    /// Whether its end was read.
    ended: bool,
    /// Why it was not read to its end, or did not get through.
    error: Option<String>,
}

/// Somebody, by number and name.
#[derive(Debug, Serialize)]
pub(crate) struct Somebody {
    pid: u32,
    name: Option<String>,
    /// The name's bytes in base64, if they are no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    name_base64: Option<String>,
}

/// What the command has used, as far as the system tells.
#[derive(Debug, Serialize)]
struct UsageReport {
    user_seconds: f64,
    system_seconds: f64,
    memory_bytes_max: Option<u64>,
    /// Minor and major ones.
    page_faults: Option<u64>,
    page_faults_major: Option<u64>,
    context_switches_voluntary: Option<u64>,
    context_switches_involuntary: Option<u64>,
    blocks_read: Option<u64>,
    blocks_written: Option<u64>,
}

/// What is known of a run beside its outcome.
pub(crate) struct Beside {
    /// How the outputs ended that went through our hands.
    pub(crate) outputs: OutputEnds,
    /// Why our input did not get to its terminal, if something failed.
    pub(crate) unfed: Option<String>,
    pub(crate) discarded: Discarded,
    pub(crate) out_of_memory: Option<OutOfMemory>,
    /// It was started in a control group of its own.
    pub(crate) has_cgroup: bool,
}

/// What became of a command.
#[derive(Debug, Serialize)]
pub(crate) struct RunReport {
    version: &'static str,
    command: Vec<String>,
    /// The bytes of every word in base64, if one of them is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    command_base64: Option<Vec<String>>,
    ending: RunEnding,
    /// It was run, and what became of it is known; else the errors say it all.
    #[serde(skip)]
    has_outcome: bool,
    pub(crate) exit_code: i32,
    /// Its own exit code.
    code: Option<i32>,
    /// The signal that ended it.
    signal: Option<i32>,
    /// Its status is not to be had: somebody else took it, or the system refuses to tell.
    is_status_unknown: bool,
    elapsed_seconds: f64,
    usage: Option<UsageReport>,
    /// The system's out-of-memory killer was at work, and probably ended it.
    out_of_memory: Option<OutOfMemory>,
    /// It was started in a control group of its own.
    has_cgroup: bool,
    /// Where its streams came from and went to; nothing: ours.
    stdin_from: Option<String>,
    stdout_to: Option<String>,
    stderr_to: Option<String>,
    /// The bytes of those addresses in base64, where they are no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    stdin_from_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stdout_to_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stderr_to_base64: Option<String>,
    stdout: Option<StreamReport>,
    stderr: Option<StreamReport>,
    /// What it wrote that went nowhere, for our stream was closed.
    #[serde(flatten)]
    discarded: Discarded,
    /// Who held its output still when it was left; on Windows, who of its tree was alive then.
    holders: Vec<Somebody>,
    /// Who was asked to end.
    asked: Vec<Somebody>,
    /// Who was killed, asked before or not.
    killed: Vec<Somebody>,
    /// Who is left of those, or may be of the tree and was not signalled.
    left: Vec<Somebody>,
    /// Who of the tree is in none of these lists, should there be one; nothing, if nobody was to be ended or waited for.
    unseen: Option<&'static str>,
    errors: Vec<String>,
}

impl RunReport {
    pub(crate) fn new(
        flags: &RunFlags,
        outcome: &Outcome,
        exit_code: i32,
        elapsed: Duration,
        beside: Beside,
    ) -> Self {
        let status = outcome.exit.and_then(Exit::status);
        let tree = outcome.tree.as_ref();
        let are_all_seen = flags.adopt_orphans || beside.has_cgroup;
        let OutputEnds { stdout, stderr } = beside.outputs;
        let mut errors = Vec::from_iter(beside.unfed);
        let unheard = outcome.failure;
        errors.extend(unheard.map(|error| format!("its end is not known: {error}")));
        errors.extend(
            tree.and_then(|tree| Some((tree, tree.error.as_ref()?)))
                .map(|(tree, error)| not_ended_well(outcome.ended, tree, error)),
        );
        Self {
            has_outcome: true,
            code: status.and_then(|status| status.code()),
            signal: status.and_then(platform::ending_signal),
            is_status_unknown: outcome.exit == Some(Exit::Unknown),
            usage: outcome.usage.map(UsageReport::of),
            out_of_memory: beside.out_of_memory,
            has_cgroup: beside.has_cgroup,
            stdout: stdout.map(|end| StreamReport::new(&outcome.stdout, end)),
            stderr: stderr.map(|end| StreamReport::new(&outcome.stderr, end)),
            discarded: beside.discarded,
            holders: named(&outcome.holders),
            asked: tree.map_or_else(Vec::new, |tree| named(&tree.asked)),
            killed: tree.map_or_else(Vec::new, |tree| named(&tree.killed)),
            left: tree.map_or_else(Vec::new, |tree| named(&tree.left)),
            unseen: tree.and_then(unseen_of).filter(|_| !are_all_seen),
            errors,
            ..Self::empty(flags, ending(outcome), exit_code, elapsed)
        }
    }

    /// The report on a command that was not run, or of which nothing else is known.
    pub(crate) fn without_outcome(flags: &RunFlags, reason: NoOutcome, elapsed: Duration) -> Self {
        Self {
            errors: vec![reason.error],
            ..Self::empty(flags, reason.ending, reason.exit_code, elapsed)
        }
    }

    fn empty(flags: &RunFlags, ending: RunEnding, exit_code: i32, elapsed: Duration) -> Self {
        let text = |address: &Option<Address>| address.as_ref().map(|known| known.text.clone());
        let bytes = |address: &Option<Address>| address.as_ref().and_then(Address::base64);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            command: shown_names(&flags.command),
            command_base64: base64_unless_texts(&flags.command),
            ending,
            has_outcome: false,
            exit_code,
            code: None,
            signal: None,
            is_status_unknown: false,
            elapsed_seconds: elapsed.as_secs_f64(),
            usage: None,
            out_of_memory: None,
            has_cgroup: false,
            stdin_from: text(&flags.stdin),
            stdout_to: text(&flags.stdout),
            stderr_to: text(&flags.stderr),
            stdin_from_base64: bytes(&flags.stdin),
            stdout_to_base64: bytes(&flags.stdout),
            stderr_to_base64: bytes(&flags.stderr),
            stdout: None,
            stderr: None,
            discarded: Discarded::default(),
            holders: Vec::new(),
            asked: Vec::new(),
            killed: Vec::new(),
            left: Vec::new(),
            unseen: None,
            errors: Vec::new(),
        }
    }

    /// What became of those that the command had left behind.
    pub(crate) fn add_seen_off(&mut self, seen_off: &SeenOff) {
        self.ending = seen_off.ending.unwrap_or(self.ending);
        // Who was left at first may be over by now.
        self.left.retain(|one| !seen_off.is_over(one.pid));
        for (list, more) in [
            (&mut self.asked, &seen_off.asked),
            (&mut self.killed, &seen_off.killed),
            (&mut self.left, &seen_off.left),
        ] {
            for one in named(more) {
                if list.iter().all(|known| known.pid != one.pid) {
                    list.push(one);
                }
            }
        }
        self.unseen = seen_off.unseen.or(self.unseen);
        self.errors.extend(seen_off.error.clone());
    }

    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        if !self.has_outcome {
            self.errors.iter().for_each(|error| line(&mut text, error));
            return text;
        }
        let elapsed = shown_duration(Duration::from_secs_f64(self.elapsed_seconds));
        line(&mut text, &format!("{} after {elapsed}", self.in_words()));
        if let Some(usage) = &self.usage {
            line(&mut text, &usage.in_words());
            if let Some(counts) = usage.counts_in_words() {
                line(&mut text, &counts);
            }
        }
        if let Some(from) = &self.stdin_from {
            line(&mut text, &format!("stdin: from {from}"));
        }
        for (name, to, stream) in [
            ("stdout", &self.stdout_to, &self.stdout),
            ("stderr", &self.stderr_to, &self.stderr),
        ] {
            let to = to.as_ref().map(|to| format!(" to {to}"));
            if let Some(stream) = stream {
                let to = to.unwrap_or_default();
                line(&mut text, &format!("{name}: {}", stream.in_words(&to)));
            } else if let Some(to) = to {
                line(&mut text, &format!("{name}:{to}"));
            }
        }
        for (what, whom) in [("asked to end", &self.asked), ("killed", &self.killed)] {
            if !whom.is_empty() {
                line(&mut text, &format!("{what}: {}", list(whom)));
            }
        }
        for note in self.notes_beside_the_ending() {
            line(&mut text, &note);
        }
        if let Some(unseen) = self.unseen {
            line(&mut text, &format!("not seen: {unseen}"));
        }
        text
    }

    /// What went wrong, a line each.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let is_told = self.ending != RunEnding::Itself || self.is_status_unknown;
        if self.has_outcome && is_told {
            notes.push(self.in_words());
        }
        notes.extend(self.notes_beside_the_ending());
        notes
    }

    /// Whether nobody was asked to end or killed, or should have been.
    fn is_nobody_ended(&self) -> bool {
        self.asked.is_empty() && self.killed.is_empty() && self.left.is_empty()
    }

    /// Whether an output was left before its end, and the ending does not say that.
    fn is_held_by_somebody(&self) -> bool {
        let is_told = matches!(
            self.ending,
            RunEnding::DeadlineAfterExit | RunEnding::QuietAfterExit
        );
        let mut outputs = self.stdout.iter().chain(&self.stderr);
        !is_told && outputs.any(|output| !output.ended && output.error.is_none())
    }

    fn in_words(&self) -> String {
        let words = match self.ending {
            RunEnding::Deadline => "its deadline passed, and it was ended",
            RunEnding::DeadlineAfterExit => {
                "it ended, and somebody held its output still at the deadline"
            }
            RunEnding::Failure => "it was ended, for nobody would hear of its end",
            RunEnding::Interrupted if self.is_nobody_ended() => {
                "it had ended when a signal to us came"
            }
            RunEnding::Interrupted => "it was ended on a signal to us",
            RunEnding::NotStarted => "it was not started",
            RunEnding::QuietAfterExit => "it ended, and somebody holds its output still",
            RunEnding::Itself => match (self.code, self.signal) {
                (Some(code), _) => return format!("it ended with {code}"),
                (None, Some(signal)) => return format!("signal {signal} ended it"),
                (None, None) => "it ended, and its status is not to be had",
            },
        };
        words.to_owned()
    }

    fn notes_beside_the_ending(&self) -> Vec<String> {
        let mut notes = Vec::new();
        notes.extend(self.out_of_memory.as_ref().map(OutOfMemory::in_words));
        for (what, why) in [
            ("prints", self.discarded.output),
            ("says on its standard error", self.discarded.stderr),
        ] {
            notes.extend(why.map(|why| format!("what it {what} is discarded: {why}")));
        }
        for (name, stream) in [
            ("standard output", &self.stdout),
            ("standard error", &self.stderr),
        ] {
            let Some(stream) = stream else { continue };
            if stream.discarded > 0 {
                let dropped = shown_bytes(stream.discarded);
                notes.push(format!("{dropped} of its {name} were dropped"));
            }
            notes.extend(
                stream
                    .error
                    .as_ref()
                    .map(|error| format!("its {name}: {error}")),
            );
        }
        if !self.holders.is_empty() {
            notes.push(format!("{} {}", platform::HELD_BY, list(&self.holders)));
        } else if self.is_held_by_somebody() {
            notes.push("its output is held by somebody who cannot be seen".to_owned());
        }
        if !self.left.is_empty() {
            notes.push(format!("not ended: {}", list(&self.left)));
        }
        notes.extend(self.errors.iter().cloned());
        notes
    }
}

impl StreamReport {
    fn new(captured: &Captured, end: OutputEnd) -> Self {
        let ledger = end.ledger;
        // What it said to us while we passed on is told by its end, with the account as it is by now.
        let is_told = |error: &Error| end.error.is_some() && error.verb == Verb::Write;
        let failure = captured.failure.filter(|error| !is_told(error));
        let failure = failure.map(|error| error.to_string());
        let errors: Vec<String> = failure.into_iter().chain(end.error).collect();
        Self {
            passed_on: ledger.transferred(),
            discarded: captured.discarded + ledger.discarded(),
            // An output that could not be ended has bytes on their way still.
            in_doubt: ledger.in_doubt() + ledger.unsettled(),
            ended: captured.has_ended,
            error: (!errors.is_empty()).then(|| errors.join("; ")),
        }
    }

    fn in_words(&self, to: &str) -> String {
        let (passed_on, dropped) = (shown_bytes(self.passed_on), shown_bytes(self.discarded));
        let in_doubt = match self.in_doubt {
            0 => String::new(),
            bytes => format!(", {} in doubt", shown_bytes(bytes)),
        };
        format!("{passed_on} passed on{to}, {dropped} dropped{in_doubt}")
    }
}

impl UsageReport {
    fn of(usage: Usage) -> Self {
        Self {
            user_seconds: usage.user.as_secs_f64(),
            system_seconds: usage.system.as_secs_f64(),
            memory_bytes_max: usage.memory_bytes_max,
            page_faults: usage.page_faults,
            page_faults_major: usage.page_faults_major,
            context_switches_voluntary: usage.context_switches_voluntary,
            context_switches_involuntary: usage.context_switches_involuntary,
            blocks_read: usage.blocks_read,
            blocks_written: usage.blocks_written,
        }
    }

    fn in_words(&self) -> String {
        let shown = |seconds: f64| shown_duration(Duration::from_secs_f64(seconds));
        let (user, system) = (shown(self.user_seconds), shown(self.system_seconds));
        let memory = self.memory_bytes_max.map(shown_bytes);
        let memory = memory.map_or_else(String::new, |bytes| format!("; memory: {bytes} at most"));
        format!("processor time: {user} of its own, {system} in the system{memory}")
    }

    /// What else the system has counted, if anything.
    fn counts_in_words(&self) -> Option<String> {
        let mut counts = Vec::new();
        if let Some(all) = self.page_faults {
            let major = self.page_faults_major;
            let major = major.map_or_else(String::new, |major| format!(", {major} major"));
            counts.push(format!("page faults: {all}{major}"));
        }
        if let (Some(own), Some(other)) = (
            self.context_switches_voluntary,
            self.context_switches_involuntary,
        ) {
            counts.push(format!(
                "context switches: {own} voluntary, {other} involuntary"
            ));
        }
        if let (Some(read), Some(written)) = (self.blocks_read, self.blocks_written) {
            counts.push(format!("blocks: {read} read, {written} written"));
        }
        (!counts.is_empty()).then(|| counts.join("; "))
    }
}

/// What failed with the command's tree. One that ended by itself has its tree let go: where that fails, the tree is killed, for it would end
/// with us. Where nobody is known to be left, somebody may be who was not seen.
fn not_ended_well(ended: EndedBy, tree: &EndedTree, error: &io::Error) -> String {
    if ended.is_by_itself() {
        format!("whoever it left behind was killed, for they could not be let go: {error}")
    } else if tree.left.is_empty() {
        format!("somebody of its tree may be left: {error}")
    } else {
        format!("not everybody could be ended: {error}")
    }
}

/// Who of an ended tree is not seen. Where it could not be looked at, that is whoever is outside the command's process group.
fn unseen_of(tree: &EndedTree) -> Option<&'static str> {
    let is_known = tree.error.is_none() || !tree.left.is_empty();
    let outside = (!is_known).then_some(OUTSIDE_GROUP);
    platform::UNSEEN.map(|usual| outside.unwrap_or(usual))
}

fn named(found: &[Found]) -> Vec<Somebody> {
    let somebody = |one: &Found| Somebody {
        pid: one.pid,
        name: one.name.as_deref().map(shown_name),
        name_base64: one.name.as_deref().and_then(base64_unless_text),
    };
    found.iter().map(somebody).collect()
}

fn list(all: &[Somebody]) -> String {
    let one = |one: &Somebody| match &one.name {
        Some(name) => format!("{name} ({})", one.pid),
        None => one.pid.to_string(),
    };
    all.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn line(text: &mut String, content: &str) {
    writeln!(text, "watertight: {}", printable(content)).expect("a string takes everything");
}

#[cfg(test)]
#[path = "run_report_tests.rs"]
mod tests;
