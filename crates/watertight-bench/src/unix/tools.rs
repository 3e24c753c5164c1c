//! Runs probes: alone, for their time, and under what counts: perf or strace for calls, valgrind for instructions and
//! allocations.

use super::peer::{self, Ends};
use super::probe::Probe;
use super::tasks::Kernel;
use super::totals::{self, Totals};
use super::{kernel, text};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Calls that perf names one by one; the others are in the sum.
const NAMED: [&str; 28] = [
    "clone",
    "clone3",
    "close",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "fcntl",
    "fork",
    "fstatfs",
    "futex",
    "madvise",
    "newfstat",
    "pipe2",
    "poll",
    "ppoll",
    "preadv2",
    "pwritev2",
    "read",
    "recvfrom",
    "rt_sigprocmask",
    "sendmsg",
    "sendto",
    "timerfd_settime",
    "vfork",
    "write",
    "writev",
    "munmap",
];

/// Who counts calls here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Counter {
    Perf,
    Strace,
}

impl Counter {
    /// perf, where it may use tracepoints: it slows nothing down.
    pub(super) fn find() -> Result<Self, String> {
        if has_perf() {
            Ok(Counter::Perf)
        } else if has_strace() {
            Ok(Counter::Strace)
        } else {
            Err(
                "neither perf's tracepoints nor strace can be used here, and without them calls \
                 are not counted (Debian's packages linux-perf and strace; perf wants root)"
                    .into(),
            )
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Counter::Perf => "perf",
            Counter::Strace => "strace",
        }
    }

    /// The start of a command that counts what the rest of it does, all its threads and children, and writes that to the file.
    pub(super) fn command(self, into: &Path) -> Command {
        match self {
            Counter::Perf => perf(into),
            Counter::Strace => strace(into),
        }
    }

    /// What it wrote to its file.
    pub(super) fn read(self, file: &Path) -> Result<Totals, String> {
        let said = std::fs::read_to_string(file).map_err(text)?;
        let totals = match self {
            Counter::Perf => Totals::from_perf(&said),
            Counter::Strace => Totals::from_strace(&said),
        };
        totals.ok_or_else(|| format!("what {self:?} said is not understood:\n{said}"))
    }
}

/// What counts here.
pub(super) struct Tools {
    counter: Counter,
    has_strace: bool,
    has_valgrind: bool,
    folder: PathBuf,
    program: PathBuf,
}

impl Tools {
    pub(super) fn find() -> Result<Self, String> {
        let counter = Counter::find()?;
        let folder = std::env::temp_dir().join(format!("watertight-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(text)?;
        Ok(Self {
            counter,
            has_strace: has_strace(),
            has_valgrind: answers("valgrind", &["--version"]),
            folder,
            program: std::env::current_exe().map_err(text)?,
        })
    }

    /// What the whole run calls, if that can be counted here.
    pub(super) fn count(&self, probe: Probe, kernel: Kernel) -> Result<Option<Totals>, String> {
        let file = self.folder.join("counts");
        let (command, counter) = match (kernel, self.counter) {
            (Kernel::Before6_18, _) if !self.has_strace => return Ok(None),
            (Kernel::Before6_18, _) => (before_6_18(&file), Counter::Strace),
            (Kernel::ThisOne, counter) => (counter.command(&file), counter),
        };
        self.run(command, probe, Stdio::inherit())?;
        counter.read(&file).map(Some)
    }

    /// What a whole run of this program with these arguments calls, all its threads and children. Strace is asked first: it
    /// names every call.
    pub(super) fn count_with_children(&self, arguments: &[String]) -> Result<Totals, String> {
        let file = self.folder.join("counts");
        let counter = if self.has_strace {
            Counter::Strace
        } else {
            Counter::Perf
        };
        let mut command = counter.command(&file);
        command.arg(&self.program).args(arguments);
        let output = command.stdin(Stdio::null()).output().map_err(text)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{arguments:?}: {}: {said}", output.status));
        }
        counter.read(&file)
    }

    /// How many instructions the whole run has, the kernel's not among them.
    pub(super) fn instructions(&self, probe: Probe) -> Result<Option<f64>, String> {
        let said = self.valgrind(probe, "callgrind", "--callgrind-out-file")?;
        said.map(|said| {
            let total = totals::instructions(&said);
            total.ok_or_else(|| "callgrind said no total".into())
        })
        .transpose()
    }

    /// How often the whole run asks the allocator for memory.
    pub(super) fn allocations(&self, probe: Probe) -> Result<Option<f64>, String> {
        let said = self.valgrind(probe, "memcheck", "--log-file")?;
        said.map(|said| {
            let total = totals::allocations(&said);
            total.ok_or_else(|| "memcheck said no total".into())
        })
        .transpose()
    }

    /// What the tool writes to its file.
    fn valgrind(
        &self,
        mut probe: Probe,
        tool: &str,
        to_file: &str,
    ) -> Result<Option<String>, String> {
        // Under this tool messages come slowly, but for a few: their instructions hardly count, and the memory of a burst would.
        probe.work.join = tool == "callgrind";
        if !self.has_valgrind {
            return Ok(None);
        }
        let file = self.folder.join(tool);
        let mut command = Command::new("valgrind");
        command.arg(format!("--tool={tool}"));
        command.arg(format!("{to_file}={}", file.display()));
        // On standard error it warns of calls that are newer than it; the program takes the older one then.
        self.run(command, probe, Stdio::null())?;
        std::fs::read_to_string(&file).map(Some).map_err(text)
    }

    /// How many seconds the probe takes, counted by itself.
    pub(super) fn time(&self, probe: Probe) -> Result<f64, String> {
        let probe = Probe {
            timed: true,
            ..probe
        };
        let said = self.say(probe)?;
        let nanos: f64 = said
            .trim()
            .parse()
            .map_err(|_| format!("{probe:?} said {said:?}"))?;
        Ok(nanos / 1e9)
    }

    /// What the probe says on standard error. Nothing stands before the program but its name.
    pub(super) fn say(&self, probe: Probe) -> Result<String, String> {
        self.run(Command::new("env"), probe, Stdio::piped())
    }

    /// Starts a probe that rests until its standard input ends, once it has said on standard error that it does. Both are pipes,
    /// and the caller's.
    pub(super) fn start(&self, probe: Probe) -> Result<Child, String> {
        let mut command = Command::new(&self.program);
        command.arg("probe").args(probe.arguments());
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        command.stderr(Stdio::piped()).spawn().map_err(text)
    }

    /// Runs the probe, and is its other end. What it says on standard error, if that is a pipe.
    fn run(&self, mut command: Command, probe: Probe, stderr: Stdio) -> Result<String, String> {
        let Ends {
            stdin,
            stdout,
            peer,
        } = peer::ends(probe).map_err(text)?;
        let child = command
            .arg(&self.program)
            .arg("probe")
            .args(probe.arguments())
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .map_err(text)?;
        // It has the probe's ends too, and as long as one has them, the other end is not told that the probe is gone.
        drop(command);
        // A thread of its own, which may have to stay on a core. If the probe ends early, its status says more than our broken
        // pipe.
        let other_end = std::thread::spawn(move || {
            if let Some((_, core)) = probe.placement.cores() {
                kernel::stay_on_core(core)?;
            }
            peer.run(probe).map_err(text)
        });
        let output = child.wait_with_output().map_err(text)?;
        let other_end = other_end.join().expect("the other end does not panic");
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{probe:?}: {}: {said}", output.status));
        }
        other_end.map_err(|error| format!("{probe:?}: {error}"))?;
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        // What stays of it harms nobody.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn answers(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let output = command.stderr(Stdio::null()).output();
    output.is_ok_and(|output| output.status.success())
}

fn has_perf() -> bool {
    answers("perf", &["stat", "-e", "raw_syscalls:sys_enter", "true"])
}

fn has_strace() -> bool {
    answers("strace", &["-c", "-o", "/dev/null", "true"])
}

/// The start of a command that counts what the rest of it does; so are the next two.
fn perf(into: &Path) -> Command {
    let mut command = Command::new("perf");
    command.args(["stat", "-x,", "-o"]).arg(into);
    command.args(["-e", "raw_syscalls:sys_enter", "-e", "context-switches"]);
    for name in NAMED {
        command.args(["-e", &format!("syscalls:sys_enter_{name}")]);
    }
    command.arg("--");
    command
}

fn strace(into: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-o"]).arg(into);
    command
}

/// The library finds out what the kernel can by two pwritev2 calls, the second with RWF_NOSIGNAL: that one is answered as a
/// kernel before 6.18 answers it (watertight-os, `linux.rs`, `probe`).
fn before_6_18(into: &Path) -> Command {
    let mut command = strace(into);
    command.arg("--inject=pwritev2:error=EOPNOTSUPP:when=2");
    command
}
