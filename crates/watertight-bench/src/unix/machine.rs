//! Where the figures come from: the machine, its load, and how this program was built.

use super::kernel;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

const UNKNOWN: &str = "unknown";

/// How this program was compiled.
pub(super) const PROFILE: &str = if cfg!(debug_assertions) {
    "debug (say --release: these figures mean nothing)"
} else {
    "release"
};

/// The system, its release and the processor's kind.
pub(super) fn system() -> String {
    let names = rustix::system::uname();
    let words = [names.sysname(), names.release(), names.machine()];
    words
        .map(|word| word.to_string_lossy().into_owned())
        .join(" ")
}

/// The processor's name, where the system has a file that says it.
pub(super) fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = text
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    named
        .map_or(UNKNOWN, |rest| rest.trim_start_matches([' ', '\t', ':']))
        .to_owned()
}

/// How many threads run at once. Asked of a thread that stays on one core, the answer is 1.
pub(super) fn cores() -> Result<usize, String> {
    let cores = std::thread::available_parallelism().map_err(|error| error.to_string())?;
    Ok(cores.get())
}

/// Tells this program's work from that of all others, over a while.
pub(super) struct Meter {
    cores: usize,
    start: Instant,
    own: Duration,
    busy: Option<Duration>,
}

impl Meter {
    pub(super) fn start(cores: usize) -> Meter {
        Meter {
            cores,
            start: Instant::now(),
            own: cpu_time(),
            busy: kernel::busy_time(),
        }
    }

    /// What part of the machine others used since then, in percent, where the system tells.
    pub(super) fn others(&self) -> Option<f64> {
        let all = self.start.elapsed().as_secs_f64() * self.cores as f64;
        let busy = kernel::busy_time()?.saturating_sub(self.busy?);
        let others = busy.saturating_sub(cpu_time().saturating_sub(self.own));
        Some(100.0 * others.as_secs_f64() / all)
    }
}

/// clock_gettime(CLOCK_PROCESS_CPUTIME_ID): what getrusage says for the process, to the nanosecond and without unsafe code.
pub(super) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("a process has used no negative time")
}

/// The load averages of 1, 5 and 15 minutes, where the system has a file that says them.
pub(super) fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let averages: Vec<&str> = text.split_whitespace().take(3).collect();
    if averages.is_empty() {
        UNKNOWN.to_owned()
    } else {
        averages.join(" ")
    }
}

/// RLIMIT_NOFILE: how many files a process may have open once it has raised its limit.
pub(super) fn open_files_max() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// Raises this process's limit of open files to the highest that it may give itself.
pub(super) fn raise_open_files_max() -> Result<(), String> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(|code| format!("open files: {code}"))
}
