//! `Pipeline`: commands whose outputs are the next one's input.

use crate::child::{Child, Exit};
use crate::command::{Command, Input, Output};
use crate::communicate::{Communicate, EndedBy, Limits, Outcome};
use crate::driver::Driver;
use crate::handle::Native;
use crate::wait::{Operation, Sealed, Wait};
use std::io;
use std::sync::Arc;
use std::task::{Poll, Waker};
use watertight_core::Error;
use watertight_os::{StartError, StartStep};

/// Commands that run at once, each reading what the one before writes, as `a | b | c` in a shell.
///
/// The pipes between them are the system's: bytes go from program to program without passing through us, so they have no account of
/// ours. A command that ends leaves its neighbours as a shell does: the one before is told by `SIGPIPE` when it writes, the one
/// behind reads the end. What the first reads and the last writes goes through [`Communicate`]'s hands, with their accounts; the
/// standard errors are kept one by one.
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
}

impl From<Command> for Pipeline {
    /// Of one command, the first.
    fn from(command: Command) -> Self {
        Self {
            commands: vec![command],
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

    /// Starts all of them, feeds the first and takes the output of the last: see [`Communicate`]. The limits hold for each; one that
    /// passes its bound, or its deadline, or whose end the system cannot tell, has all of them ended. What is not said otherwise is not
    /// inherited: the first one's standard input is empty, the last one's standard output and all standard errors are kept.
    ///
    /// # Errors
    /// The step that failed, with the program's name. Those that were started before it are killed: nothing is left behind.
    pub fn output(&mut self, limits: Limits) -> Result<Wait<RunPipeline>, StartError> {
        let count = self.commands.len();
        let mut children: Vec<Child> = Vec::new();
        let mut from_before = None;
        for (index, command) in self.commands.iter_mut().enumerate() {
            let started = start(command, from_before.take(), index + 1 == count);
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
        let runs = children.into_iter().map(|child| {
            let run = Communicate::new(child, limits.clone());
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
    from_before: Option<io::PipeReader>,
    is_last: bool,
) -> Result<(Child, Option<io::PipeReader>), StartError> {
    let mut onward = None;
    let own_input = from_before.map(|from| command.replace_stdin(Some(Input::from_handle(from))));
    let own_output = if is_last {
        None
    } else {
        let (from, into) = io::pipe().map_err(|error| StartError {
            step: StartStep::Resources,
            program: command.program(),
            path: None,
            run_as: None,
            error,
        })?;
        onward = Some(from);
        Some(command.replace_stdout(Some(Output::from_handle(into))))
    };
    let started = command.spawn_captured();
    // The pipes are the children's now, and must not stay open here.
    if let Some(input) = own_input {
        command.replace_stdin(input);
    }
    if let Some(output) = own_output {
        command.replace_stdout(output);
    }
    Ok((started?, onward))
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
        PipelineOutcome {
            stages: outcomes
                .map(|outcome| outcome.expect("all are over"))
                .collect(),
        }
    }
}

impl Sealed for RunPipeline {}

impl Operation for RunPipeline {
    type Output = Result<PipelineOutcome, Error>;
    type Backend = Native;

    fn poll(&mut self, waker: &Waker) -> Poll<Self::Output> {
        for stage in &mut self.stages {
            if stage.outcome.is_none()
                && let Poll::Ready(outcome) = stage.run.poll(waker)
            {
                // It fails in a forked child only: what came is in the process that the pipeline belongs to.
                let outcome = outcome?;
                self.is_ending |= !matches!(outcome.ended, EndedBy::Itself | EndedBy::Quiet);
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

    /// Whether every command ended well, or was ended by `SIGPIPE` because the ones behind it had enough and ended well themselves.
    #[must_use]
    pub fn is_success(&self) -> bool {
        let mut are_well_behind = false;
        for stage in self.stages.iter().rev() {
            let had_enough = are_well_behind && is_broken_pipe(stage.exit) && stage.is_whole();
            if !stage.is_success() && !had_enough {
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
