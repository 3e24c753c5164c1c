//! `Pipeline`: commands whose outputs are the next one's input.

use crate::child::{Child, Exit};
use crate::command::{Command, Input, Output};
use crate::communicate::{Communicate, Limits, Outcome, PipeAccount};
use crate::driver::Driver;
use crate::handle::{Native, OsHandle};
use crate::wait::{Operation, Sealed, Wait};
use std::sync::Arc;
use std::task::{Poll, Waker};
use watertight_core::Error;
use watertight_os::{StartError, StartStep, plain_pipe};

/// Commands that run at once, each reading what the one before writes, as `a | b | c` in a shell.
///
/// The pipes between them are the system's: bytes go from program to program without passing through us, so they have no account of
/// ours, unless [`accounted`](Self::accounted) asks for one. A command that ends leaves its neighbours as a shell does: the one before
/// is told by `SIGPIPE` when it writes (on Windows by an error of that write), the one behind reads the end. What the first reads and the
/// last writes goes through [`Communicate`]'s hands, with their accounts; the standard errors are kept one by one.
///
/// # Examples
///
/// ```
/// # #[cfg(unix)] {
/// use watertight::{Command, Input, Limits, Pipeline};
/// let mut sort = Command::new("sort");
/// sort.stdin(Input::bytes("b\na\nb\n"));
/// let mut pipeline = Pipeline::from(sort).then(Command::new("uniq"));
/// let outcome = pipeline.output(Limits::new())?.wait()?;
/// assert_eq!(outcome.last().stdout.bytes, b"a\nb\n");
/// assert!(outcome.is_success());
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Pipeline {
    /// At least one.
    commands: Vec<Command>,
    is_accounted: bool,
}

impl From<Command> for Pipeline {
    /// Of one command, the first.
    fn from(command: Command) -> Self {
        Self {
            commands: vec![command],
            is_accounted: false,
        }
    }
}

impl Pipeline {
    /// Adds a command, which reads what the last one until now writes. What was set as the one's standard output and the other's
    /// standard input does not count; a standard error that goes where the standard output goes
    /// ([`Output::to_stdout`]) goes into the pipe with it.
    #[must_use]
    pub fn then(mut self, command: Command) -> Self {
        self.commands.push(command);
        self
    }

    /// Whether the bytes between the commands pass through this process, which accounts for them: [`PipelineOutcome::pipes`] has for
    /// each pipe what was read of the one command, what went to the next, and how it ended. Off by default.
    ///
    /// Each such pipe is two, with a [`transfer`](crate::transfer()) between them, which whoever waits for the pipeline carries out: on Linux
    /// inside the kernel, and never in a thread of its own. Nothing moves before that, nor while nobody polls.
    ///
    /// Otherwise all is as without it. The next command reads the end when the one before, and whoever else has its output, has closed it,
    /// well or not. A command whose next one reads no further is told by `SIGPIPE` when it writes, but may have written once without being
    /// told, for it is this process that hears of it first. [`Limits`] hold for the pipe as they do for an output of the command
    /// before: that command is over when its pipe is, it is left as [`AfterExit`](crate::AfterExit) says, and the deadline ends both.
    /// [`output_bytes_max`](Limits::output_bytes_max) does not count there.
    ///
    /// **Bytes.** At every ending, [`PipeAccount::passed_on`] bytes went to the next command, and [`PipeAccount::not_passed_on`] were read
    /// and did not. When a pipe is closed before its stream has ended, what lies in it is read first, and is among these (where
    /// the system reads straight into our memory: not on Windows). What a command writes in the moment in between, or
    /// still has when it is killed, is in no account.
    ///
    /// **Cancel safety.** As that of the pipeline: given up before it is done, the commands go on without their pipes, and what was on its
    /// way between two of them is lost without an account. A deadline of the wait itself (`.within()`, `.by()`) kills all of them and
    /// yields the accounts as they are then. They are ended one after the other: the next command may read an end a moment before it
    /// is killed, as in a pipeline without accounts.
    ///
    /// # Errors
    /// None of its own: whatever a pipe fails with is in [`PipeAccount::ended`], and [`PipelineOutcome::is_success`] goes by it too.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use watertight::{Command, Input, Limits, Pipeline};
    /// let mut sort = Command::new("sort");
    /// sort.stdin(Input::bytes("b\na\nb\n"));
    /// let mut pipeline = Pipeline::from(sort).then(Command::new("uniq")).accounted(true);
    /// let outcome = pipeline.output(Limits::new())?.wait()?;
    /// assert_eq!(outcome.last().stdout.bytes, b"a\nb\n");
    /// let between = outcome.pipes[0];
    /// assert_eq!((between.passed_on(), between.not_passed_on()), (6, 0));
    /// assert!(between.ended?.has_ended);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn accounted(mut self, yes: bool) -> Self {
        self.is_accounted = yes;
        self
    }

    /// Starts all of them, feeds the first and takes the output of the last: see [`Communicate`]. The limits hold for each; one that
    /// passes its bound, or its deadline, or whose end the system cannot tell, has all of them ended; whoever is left behind by those that
    /// have ended by themselves, as [`AfterExit`](crate::AfterExit) says. What is not said otherwise is not inherited: the first one's standard input is empty, the last one's standard output and all standard errors are kept.
    ///
    /// # Errors
    /// The step that failed, with the program's name. Those that were started before it are killed: nothing is left behind.
    pub fn output(&mut self, limits: Limits) -> Result<Wait<RunPipeline>, StartError> {
        let count = self.commands.len();
        let mut children: Vec<Child> = Vec::new();
        let mut from_before = None;
        for (index, command) in self.commands.iter_mut().enumerate() {
            let (is_first, is_last) = (index == 0, index + 1 == count);
            let started = if self.is_accounted {
                start_piped(command, is_first, is_last).map(|child| (child, None))
            } else {
                start(command, from_before.take(), is_last)
            };
            match started {
                Ok((child, onward)) => {
                    children.push(child);
                    from_before = onward;
                }
                Err(error) => {
                    for child in children {
                        // Dropped, it is reaped.
                        let _ = child.kill_tree();
                    }
                    return Err(error);
                }
            }
        }
        // Each one's output goes on to the next one's input, if both are ours.
        let behind = children.iter_mut().skip(1).map(|next| next.stdin.take());
        let behind: Vec<_> = behind.chain([None]).collect();
        let runs = children.into_iter().zip(behind).map(|(child, behind)| {
            let run = Communicate::new(child, limits.clone(), behind);
            Stage { run, outcome: None }
        });
        Ok(Wait::new(RunPipeline {
            stages: runs.collect(),
            is_ending: false,
        }))
    }
}

/// Starts one command on the pipe from the one before. With it comes the pipe to the next.
fn start(
    command: &mut Command,
    from_before: Option<OsHandle>,
    is_last: bool,
) -> Result<(Child, Option<OsHandle>), StartError> {
    let mut onward = None;
    let input = from_before.map(Input::from_handle);
    let output = if is_last {
        None
    } else {
        let (from, into) = plain_pipe().map_err(|error| StartError {
            step: StartStep::Resources,
            program: command.program(),
            path: None,
            run_as: None,
            error,
        })?;
        onward = Some(from);
        Some(Output::from_handle(into))
    };
    let started = start_between(command, input, output);
    Ok((started?, onward))
}

/// Starts one command on pipes whose other ends are ours.
fn start_piped(command: &mut Command, is_first: bool, is_last: bool) -> Result<Child, StartError> {
    let input = (!is_first).then(Input::piped);
    let output = (!is_last).then(Output::piped);
    start_between(command, input, output)
}

/// Starts one command with these in place of its own, if there are any.
fn start_between(
    command: &mut Command,
    input: Option<Input>,
    output: Option<Output>,
) -> Result<Child, StartError> {
    let own_input = input.map(|input| command.replace_stdin(Some(input)));
    let own_output = output.map(|output| command.replace_stdout(Some(output)));
    let started = command.spawn_captured();
    // The pipes are the children's now, and must not stay open here.
    if let Some(input) = own_input {
        command.replace_stdin(input);
    }
    if let Some(output) = own_output {
        command.replace_stdout(output);
    }
    started
}

/// One command that runs, and what came of it.
#[derive(Debug)]
struct Stage {
    run: Communicate,
    outcome: Option<Outcome>,
}

/// See [`Pipeline::output`].
#[derive(Debug)]
pub struct RunPipeline {
    stages: Vec<Stage>,
    /// One of them passed a limit, or its end cannot be told, and all are ended.
    is_ending: bool,
}

impl RunPipeline {
    fn outcome(&mut self) -> PipelineOutcome {
        let outcomes = self.stages.iter_mut().map(|stage| stage.outcome.take());
        let stages: Vec<Outcome> = outcomes
            .map(|outcome| outcome.expect("all are over"))
            .collect();
        let runs = self.stages.iter().map(|stage| &stage.run);
        PipelineOutcome {
            stages,
            pipes: runs.filter_map(Communicate::pipe_account).collect(),
        }
    }
}

impl Sealed for RunPipeline {}

impl Operation for RunPipeline {
    type Output = Result<PipelineOutcome, Error>;
    type Backend = Native;

    fn poll(&mut self, waker: &Waker) -> Poll<Self::Output> {
        let mut is_news = false;
        for stage in &mut self.stages {
            if stage.outcome.is_none()
                && let Poll::Ready(outcome) = stage.run.poll(waker)
            {
                is_news = true;
                // It fails in a forked child only: what came is in the process that the pipeline belongs to.
                let outcome = outcome?;
                self.is_ending |= !outcome.ended.is_by_itself();
                stage.outcome = Some(outcome);
            }
        }
        if self.stages.iter().all(|stage| stage.outcome.is_some()) {
            return Poll::Ready(Ok(self.outcome()));
        }
        if self.is_ending {
            for stage in self
                .stages
                .iter_mut()
                .filter(|stage| stage.outcome.is_none())
            {
                stage.run.request_end();
            }
            // Once more, so that each begins to end.
            self.is_ending = false;
        }
        if is_news {
            // An observer that heard of an input's end may have waited, and have taken a wake that was another command's.
            waker.wake_by_ref();
        }
        Poll::Pending
    }

    fn expire(&mut self) -> Self::Output {
        for stage in &mut self.stages {
            if stage.outcome.is_none() {
                stage.outcome = Some(stage.run.expire()?);
            }
        }
        Ok(self.outcome())
    }

    fn forget(&mut self) {
        for stage in &mut self.stages {
            stage.run.forget();
        }
    }

    fn driver(&self) -> Option<&Arc<Driver<Native>>> {
        self.stages.first()?.run.driver()
    }
}

/// What came of a [`Pipeline`].
#[derive(Debug)]
#[must_use = "it says whether the commands ended well"]
#[non_exhaustive]
pub struct PipelineOutcome {
    /// What came of each command, in order. Only the last one's standard output is here, and only the first one's input.
    pub stages: Vec<Outcome>,
    /// The account of each pipe between two commands, in order; nothing unless [`Pipeline::accounted`] asked for it.
    pub pipes: Vec<PipeAccount>,
}

impl PipelineOutcome {
    /// What came of the last command.
    ///
    /// # Panics
    /// `stages` was emptied.
    #[must_use = "it has the output"]
    pub fn last(&self) -> &Outcome {
        self.stages.last().expect("a pipeline has a command")
    }

    /// Whether every command ended well, or was ended by `SIGPIPE` because the ones behind it had enough and ended well themselves; and,
    /// of pipes with an account, whether each passed on all of its stream, or as much as the ones behind it wanted.
    ///
    /// **Platform differences.** Windows has no such signal: there, as with programs that ignore it, a command whose next one had enough
    /// ends as it likes, and with another code than 0 it has failed.
    #[must_use]
    pub fn is_success(&self) -> bool {
        let mut are_well_behind = false;
        for (index, stage) in self.stages.iter().enumerate().rev() {
            let had_enough = are_well_behind && is_broken_pipe(stage.exit) && stage.is_whole();
            if !stage.is_success() && !had_enough {
                return false;
            }
            // What is left open as it was asked for is no failure, as with any output.
            let is_left = |pipe: &PipeAccount| stage.ended.is_by_itself() && pipe.is_left_empty();
            if let Some(pipe) = self.pipes.get(index)
                && !pipe.is_well()
                && !is_left(pipe)
            {
                return false;
            }
            are_well_behind = true;
        }
        true
    }
}

#[cfg(unix)]
fn is_broken_pipe(exit: Option<Exit>) -> bool {
    use std::os::unix::process::ExitStatusExt;
    /// POSIX does not say its number; it is 13 wherever Rust runs.
    const SIGPIPE: i32 = 13;
    exit.and_then(Exit::status)
        .is_some_and(|status| status.signal() == Some(SIGPIPE))
}

#[cfg(not(unix))]
fn is_broken_pipe(_: Option<Exit>) -> bool {
    false
}
