//! Children of `exec:` addresses: started, waited for by the copy's own thread, ended as a tree, and reaped on every path.

use crate::address::ExecOptions;
use crate::awaited::Awaited;
use crate::child_status::{ChildStatus, EndedBy, InputKind};
use crate::end::End;
use crate::event::{Event, Mailbox};
use crate::platform::{self, CommandLine};
use crate::units::{base64_unless_texts, shown_names};
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use watertight::{
    Child, Command, Error, Exit, Found, Group, Input, Output, PipeReader, PipeWriter,
    ReaderOptions, StartError, WriterOptions,
};

/// How long whoever is asked to end may take, before it is killed.
const CHILD_GRACE: Duration = Duration::from_secs(2);

/// How long the killed may take to be gone: they are, within milliseconds, unless they hang in the kernel or may not be killed by us.
pub(crate) const DEATH_WITHIN: Duration = Duration::from_secs(5);

/// How long somebody who is being started may hold up an end at once. A start comes back once the child runs its program, whose file may be
/// far away.
const STARTED_WITHIN: Duration = Duration::from_secs(1);

/// Every child that may have to be ended when this program is told a second time to end.
static RUNNING: Running = Running::new();

/// For which moment all their trees were last looked at.
static LOOKED_AT: Mutex<Option<Instant>> = Mutex::new(None);

/// Starts a source's child. Its standard output is the pipe; its standard input is empty, so that it cannot take input meant for
/// somebody else.
pub(crate) fn start_source(
    command: &CommandLine,
    stderr: Output,
    options: ReaderOptions,
) -> Result<(Arc<Child>, PipeReader), StartError> {
    let mut command = Command::from(command.to_command());
    command
        .stdin(Input::null())
        .stdout(Output::piped())
        .stderr(stderr)
        .output_options(options)
        .group(group())
        .kill_on_drop(true);
    let starting = RUNNING.begin();
    let mut child = command.spawn()?;
    let stdout = child.stdout.take().expect("it was asked to be a pipe");
    Ok((starting.end(child), stdout))
}

/// Starts a destination's child. Its standard input is an armed socket, or a pipe where that is wanted or all there is.
pub(crate) fn start_destination(
    command: &CommandLine,
    exec: &ExecOptions,
    (stdout, stderr): (Output, Output),
    is_armed: bool,
    options: WriterOptions,
) -> Result<(Arc<Child>, PipeWriter, InputKind), StartError> {
    let is_armed = is_armed && !exec.plain_pipe;
    let mut command = Command::from(command.to_command());
    command
        .stdout(stdout)
        .stderr(stderr)
        .stdin_options(options)
        .group(group())
        .kill_on_drop(true);
    let starting = RUNNING.begin();
    let mut start = |input: Input| command.stdin(input).spawn();
    let (mut child, kind) = if is_armed {
        match start(Input::armed()) {
            // Only Linux has such a sign.
            Err(error) if error.error.kind() == io::ErrorKind::Unsupported => {
                (start(Input::piped())?, InputKind::Pipe)
            }
            started => (started?, InputKind::Armed),
        }
    } else {
        (start(Input::piped())?, InputKind::Pipe)
    };
    let stdin = child.stdin.take().expect("it was asked to be a pipe");
    Ok((starting.end(child), stdin, kind))
}

/// At a terminal a child stays in our group, in the background too: one that reads the terminal there is stopped with us, and goes on with us.
fn group() -> Group {
    if platform::has_controlling_terminal() {
        Group::Shared
    } else {
        Group::Own
    }
}

/// The children that there are.
struct Running {
    state: Mutex<Children>,
    changed: Condvar,
}

struct Children {
    started: Vec<Weak<Child>>,
    /// How many are being started, and not among those yet.
    starting: usize,
    /// The program is ending at once: nobody is started any more.
    is_left: bool,
}

/// Somebody is being started, until this is dropped.
struct Starting<'a>(&'a Running);

impl Starting<'_> {
    /// It was started: from now on it is among those who are ended.
    fn end(self, child: Child) -> Arc<Child> {
        let child = Arc::new(child);
        let mut state = self.0.lock();
        state.started.retain(|known| known.strong_count() > 0);
        state.started.push(Arc::downgrade(&child));
        drop(state);
        child
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.0.lock().starting -= 1;
        self.0.changed.notify_all();
    }
}

impl Running {
    const fn new() -> Self {
        Self {
            state: Mutex::new(Children {
                started: Vec::new(),
                starting: 0,
                is_left: false,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Children> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before somebody is started. Waits for ever if another thread ends the program at once: nobody would end this one.
    fn begin(&self) -> Starting<'_> {
        let mut state = self.lock();
        while state.is_left {
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state.starting += 1;
        Starting(self)
    }

    /// The program ends at once: nobody is started any more. Who is being started is waited for, but not for long: until then nobody has it to
    /// end it.
    fn leave(&self, within: Duration) {
        let mut state = self.lock();
        state.is_left = true;
        let is_starting = |state: &mut Children| state.starting > 0;
        drop(self.changed.wait_timeout_while(state, within, is_starting));
    }

    fn all(&self) -> Vec<Arc<Child>> {
        let state = self.lock();
        state.started.iter().filter_map(Weak::upgrade).collect()
    }
}

/// Kills every child's tree: this program ends at once.
pub(crate) fn kill_all() {
    RUNNING.leave(STARTED_WITHIN);
    note_all();
    for child in RUNNING.all() {
        // Nobody is left to be told.
        let _ = child.kill_tree();
    }
}

/// Has all children's trees looked at, before the first one is asked to end: the end of one may end another one (who writes into its
/// pipe), and with that one all that leads to whoever is in a session of its own.
fn note_all() {
    for child in RUNNING.all() {
        // Whom nobody sees now its own end may still find.
        let _ = child.note_tree();
    }
}

/// Likewise, once for all that are told to end at one moment.
fn note_all_at(now: Instant) {
    let mut looked_at = LOOKED_AT.lock().unwrap_or_else(PoisonError::into_inner);
    if looked_at.replace(now) != Some(now) {
        note_all();
    }
}

/// The child of an end that no copy has yet. Dropped, its tree is killed, also while somebody else looks at it and so has a reference too.
#[derive(Default)]
pub(crate) struct Unclaimed(Option<Arc<Child>>);

impl Unclaimed {
    pub(crate) const fn of(child: Arc<Child>) -> Self {
        Self(Some(child))
    }

    /// From now on its end is somebody else's to see to.
    pub(crate) fn take(&mut self) -> Option<Arc<Child>> {
        self.0.take()
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some(child) = self.take() {
            // Nobody is left to be told.
            let _ = child.kill_tree();
        }
    }
}

/// One end's child, if it has one, and what is known about its ending.
#[derive(Default)]
pub(crate) struct ChildOfEnd {
    child: Option<Arc<Child>>,
    /// The wait for its end, until that is known.
    exit: Option<Awaited<Result<Exit, Error>>>,
    end: Option<(End, Mailbox)>,
    ok: Vec<i32>,
    status: Option<ChildStatus>,
    stopped: bool,
    ended_by: EndedBy,
    kill_at: Option<Instant>,
    /// When it is no longer waited for, once it was killed.
    abandoned_at: Option<Instant>,
    is_abandoned: bool,
    left: Vec<OsString>,
    /// There were some when its tree had been killed, and nobody waits for them.
    has_survivors: bool,
    /// Why those that it left behind do not live on, if they should.
    not_let_go: Option<String>,
    /// A thread is ending its tree.
    is_ending: bool,
    /// That was done, and there is nobody whom it could reach now.
    is_tree_ended: bool,
    /// Whoever it has left behind lives on.
    is_released: bool,
}

impl ChildOfEnd {
    /// Begins to wait for the child.
    ///
    /// # Errors
    /// The system would not tell its end.
    pub(crate) fn of(
        child: Option<Arc<Child>>,
        exec: &ExecOptions,
        end: End,
        mailbox: &Mailbox,
    ) -> io::Result<Self> {
        let mut of_end = Self::default();
        of_end.exit = child.clone().map(|child| until_exit(child, end, mailbox));
        of_end.child = child;
        of_end.end = Some((end, mailbox.clone()));
        of_end.ok.clone_from(&exec.ok);
        if let Some(exit) = Awaited::poll(&mut of_end.exit) {
            of_end.handle_ending(Some(exit?));
        }
        Ok(of_end)
    }

    /// The child may be over.
    pub(crate) fn look_at_child(&mut self) {
        if let Some(exit) = Awaited::poll(&mut self.exit) {
            self.handle_ending(exit.ok());
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        let is_over = self.status.is_some() && !self.is_ending;
        self.child.is_none() || is_over || self.is_abandoned
    }

    /// Whether there is a child, and it has not ended.
    pub(crate) fn is_running(&self) -> bool {
        self.child.is_some() && self.status.is_none()
    }

    /// Whether it, or what is left of its tree, was told to end and has not ended.
    pub(crate) fn is_being_ended(&self) -> bool {
        !self.is_over() && (self.stopped || self.is_ending)
    }

    /// Whether somebody of its tree may live although it is over: nobody waits any longer for one that does not die.
    pub(crate) fn may_live(&self) -> bool {
        let is_lost = self.is_abandoned && (self.status.is_none() || self.is_ending);
        self.is_over() && (is_lost || self.has_survivors)
    }

    /// Whether there is a child that ended badly, and not because of us.
    pub(crate) fn has_failed(&self) -> bool {
        self.status.is_some() && self.status().is_some_and(|status| !status.is_good())
    }

    /// How the child ended; a child that is not known to have ended has an empty status.
    pub(crate) fn status(&self) -> Option<ChildStatus> {
        self.child.as_ref().map(|_| ChildStatus {
            stopped: self.stopped,
            ended_by: self.ended_by,
            left: shown_names(&self.left),
            left_base64: base64_unless_texts(&self.left),
            not_let_go: self.not_let_go.clone(),
            ..self.status.clone().unwrap_or_default()
        })
    }

    fn handle_ending(&mut self, exit: Option<Exit>) {
        let status = exit.and_then(Exit::status);
        let code = status.and_then(|status| status.code());
        self.status = Some(ChildStatus {
            code,
            signal: status.and_then(platform::ending_signal),
            good: code.is_some_and(|code| self.ok.contains(&code)),
            ..ChildStatus::default()
        });
        self.kill_at = None;
        if !self.is_ending {
            self.abandoned_at = None;
        }
    }

    /// Its tree has ended, but for those that are left.
    pub(crate) fn handle_tree(&mut self, left: &[Found]) {
        self.is_ending = false;
        self.is_tree_ended = true;
        self.abandoned_at = self.abandoned_at.filter(|_| self.status.is_none());
        self.has_survivors = !left.is_empty();
        self.note_left(left);
    }

    fn note_left(&mut self, left: &[Found]) {
        for found in left {
            let name = found.name.as_deref().unwrap_or(OsStr::new("somebody"));
            let mut told = name.to_owned();
            told.push(format!(" (pid {})", found.pid));
            if !self.left.contains(&told) {
                self.left.push(told);
            }
        }
    }

    /// Its tree is asked to end, and killed if it has not ended after the grace; how it ends from now on is a consequence. A child that
    /// ended already may have left somebody behind: they are ended too. What was told to end already has its time.
    pub(crate) fn stop(&mut self, now: Instant) {
        let Some(child) = &self.child else { return };
        if self.stopped || self.is_ending || self.is_tree_ended {
            return;
        }
        note_all_at(now);
        if self.status.is_none() {
            self.stopped = true;
            self.ended_by = EndedBy::Asked;
            self.kill_at = Some(now + CHILD_GRACE);
        }
        let Some((end, mailbox)) = self.end.clone() else {
            return;
        };
        let child = child.clone();
        // Beside this thread, since it waits for the grace.
        let ending = std::thread::Builder::new()
            .name("ending".into())
            .spawn(move || {
                let ended = child
                    .terminate_tree(CHILD_GRACE)
                    .within(CHILD_GRACE + DEATH_WITHIN);
                // Its own status is waited for elsewhere. That it is over does not say that all are whom it has started.
                let _ = ended.wait();
                mailbox.post(Event::TreeEnded(end, child.kill_tree().left));
            });
        if ending.is_ok() {
            self.is_ending = true;
        } else {
            // No thread is to be had: without the grace, then.
            self.kill(now);
        }
    }

    /// When there is something to do for it.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.kill_at.or(self.abandoned_at)
    }

    /// Kills the child's tree if its time is up, and gives up one that does not die.
    pub(crate) fn keep_deadline(&mut self, now: Instant) {
        if self.kill_at.is_some_and(|at| at <= now) {
            self.kill(now);
        }
        if self.abandoned_at.is_some_and(|at| at <= now) {
            self.abandoned_at = None;
            self.is_abandoned = true;
        }
    }

    fn kill(&mut self, now: Instant) {
        let Some(child) = self.child.clone() else {
            return;
        };
        self.kill_at = None;
        let end = child.kill_tree();
        if self.status.is_none() {
            self.ended_by = EndedBy::Killed;
            self.stopped = true;
            self.abandoned_at = Some(now + DEATH_WITHIN);
            self.note_left(&end.left);
        }
    }

    /// The copy is over, and whoever the child left behind lives on, unless it was told to end.
    pub(crate) fn release(&mut self) {
        self.is_released = true;
        if let Some(child) = self.child.as_ref().filter(|_| !self.stopped) {
            let let_go = child.let_go();
            self.note_let_go(let_go);
        }
    }

    /// If that failed, they end with us: what the copy came to is as it is, and that is told.
    fn note_let_go(&mut self, let_go: io::Result<()>) {
        self.not_let_go = let_go.err().map(|error| error.to_string());
    }
}

/// The wait for a child's end, which takes no thread. It is not reaped: its tree stays in reach until the copy is over.
fn until_exit(child: Arc<Child>, end: End, mailbox: &Mailbox) -> Awaited<Result<Exit, Error>> {
    let exit = async move { child.until_exit().await };
    Awaited::new(exit, mailbox, move || Event::ChildMayBeOver(end))
}

impl Drop for ChildOfEnd {
    fn drop(&mut self) {
        let Some(child) = &self.child else { return };
        if !self.is_released && !self.is_tree_ended {
            // The copy did not begin: the thread that reads what the child writes has a reference too.
            let _ = child.kill_tree();
        }
        // It is reaped, if it is over. How it ended is known already.
        let _ = child.try_wait();
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn whoever_is_left_is_named_by_bytes_too_if_a_name_is_no_text() {
        let child = Command::new("true").spawn().unwrap();
        let exit = child.wait().wait().unwrap();
        assert!(exit.is_success());
        let mut of_end = ChildOfEnd::default();
        of_end.child = Some(Arc::new(child));
        of_end.handle_ending(Some(exit));
        let found = |pid, name: &[u8]| Found {
            pid,
            name: Some(OsString::from_vec(name.to_vec())),
        };
        assert!(!of_end.may_live());
        of_end.handle_tree(&[found(7, b"cat")]);
        assert!(of_end.may_live(), "it was killed, and is there still");
        let status = of_end.status().unwrap();
        assert_eq!(status.left, ["cat (pid 7)"]);
        assert_eq!(status.left_base64, None);
        of_end.handle_tree(&[found(8, b"a\xffb")]);
        let status = of_end.status().unwrap();
        assert_eq!(status.left[1], "a\u{fffd}b (pid 8)");
        assert_eq!(status.left_base64.unwrap()[1], "Yf9iIChwaWQgOCk=");
        of_end.release();
    }

    #[test]
    fn who_cannot_be_let_go_is_told_of() {
        let child = Command::new("true").spawn().unwrap();
        assert!(child.wait().wait().unwrap().is_success());
        let mut of_end = ChildOfEnd::default();
        of_end.child = Some(Arc::new(child));
        of_end.release();
        assert_eq!(of_end.status().unwrap().warning(), None);
        of_end.note_let_go(Err(io::Error::other("it is refused")));
        let warning = of_end.status().unwrap().warning().unwrap();
        assert!(warning.ends_with(": it is refused"), "{warning}");
    }

    /// A program that ends at once waits for the start of it, and starts nobody more.
    #[test]
    fn who_is_being_started_is_among_those_who_are_ended() {
        // Longer than any test takes.
        const LONG: Duration = Duration::from_secs(600);
        let running = Running::new();
        let starting = running.begin();
        let seen = std::thread::scope(|scope| {
            let leaving = scope.spawn(|| {
                running.leave(LONG);
                running.all().len()
            });
            while !running.lock().is_left {
                std::thread::yield_now();
            }
            let child = starting.end(Command::new("true").spawn().unwrap());
            let seen = leaving.join().unwrap();
            assert!(child.wait().wait().unwrap().is_success());
            seen
        });
        assert_eq!(seen, 1);
        // What cannot be started is waited for no longer.
        let running = Running::new();
        drop(running.begin());
        running.leave(LONG);
        assert!(running.all().is_empty());
        // Somebody else's start hangs.
        let running = Running::new();
        let _starting = running.begin();
        running.leave(Duration::ZERO);
    }

    /// Each time: whoever was started since the last one is seen, too.
    #[cfg(target_os = "linux")]
    #[test]
    fn all_trees_are_looked_at_before_the_first_one_is_asked_to_end() {
        use crate::unix_signals::AT_ONCE;
        use rustix::event::{PollFd, PollFlags, poll};
        use rustix::process::{Pid, PidfdFlags, pidfd_open};
        let start = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]).group(Group::Own);
            command.stdin(Input::piped()).stdout(Output::piped());
            let mut child = command.spawn().unwrap();
            let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            (RUNNING.begin().end(child), stdin, stdout)
        };
        let stop = |child: Arc<Child>| {
            let mut of_end = ChildOfEnd::default();
            of_end.child = Some(child);
            of_end.stop(Instant::now());
        };
        let (first, _, _) = start("exec sleep 1000");
        let (second, _, _) = start("exec sleep 1000");
        // The worker is in a session of its own: once the shell is over nothing leads to it.
        let worker = "read -r go
            setsid sh -c \"echo \\$\\$; exec sleep 1000 >/dev/null 2>&1\" & exec sleep 1000";
        let (other, input, output) = start(worker);
        stop(first);
        input.send(b"go\n").wait().unwrap();
        let mut pid = [0; 16];
        let bytes = output.receive(&mut pid).wait().unwrap();
        let pid = std::str::from_utf8(&pid[..bytes]).unwrap().trim_end();
        let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
        let worker = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        stop(second);
        other.kill().unwrap();
        other.until_exit().wait().unwrap();
        let left = other.kill_tree().left;
        assert!(left.is_empty(), "{left:?}");
        let mut over = [PollFd::new(&worker, PollFlags::IN)];
        let answer = poll(&mut over, Some(&AT_ONCE));
        assert_eq!(answer, Ok(1), "the worker lives on");
    }
}
