//! `Command`: what to run, and what its standard streams are.

#[cfg(unix)]
use crate::child::FurtherPipes;
use crate::child::{Child, Ends, Kept};
use crate::communicate::{Communicate, Limits};
use crate::handle::{self, OsHandle};
use crate::joined;
use crate::options::{ReaderOptions, WriterOptions};
use crate::reader::PipeReader;
use crate::terminal::Terminal;
use crate::wait::Wait;
use crate::writer::PipeWriter;
use bytes::Bytes;
#[cfg(unix)]
use further::Further;
use std::ffi::{OsStr, OsString};
use std::io;
#[cfg(unix)]
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{self, Stdio};
use streams::{Feed, Sink, merge, stdio};
use watertight_core::OsCode;
#[cfg(unix)]
use watertight_os::Direction;
use watertight_os::{
    EarlierStarts, Grouping, Process, RunAs, StartError, StartOptions, StartStep, StdStreams,
    StepError, TerminalEnds, TerminalSize, armed_pair, duplicate, hold_standard_numbers,
    is_in_terminals_foreground, open_terminal,
};

mod cgroup;
#[cfg(unix)]
mod further;
mod streams;

pub use streams::{Input, Output};

/// Which process group a child is in (Unix); it decides whom Ctrl-C reaches, and how well its tree is ended: in our group nobody is killed
/// who has lost its parent, unless it has one of the child's pipes open or was seen before that (Linux; who is left is named). On Windows
/// every child has a job object of its own, whatever this says.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Group {
    /// Ours, if this process is in the foreground of a terminal: then Ctrl-C, Ctrl-Z and a password prompt work as in any pipeline.
    /// Else one of its own, so that all of it can be ended at once.
    #[default]
    Auto,
    /// Ours.
    Shared,
    /// One of its own.
    Own,
}

/// A program to run: a builder over [`std::process::Command`], which does the starting.
///
/// Not told otherwise, a child inherits the three standard streams, as with std.
///
/// **Platform differences.** On Unix the child gets every descriptor of this process that is not close-on-exec (as with `env`, so
/// that make's job server and `<(…)` work; `LISTEN_PID` in its environment still names this process, so that it takes none of
/// `LISTEN_FDS` for its own), the signal mask with which this process was started, and `SIGPIPE` at its
/// default; none of the library's own descriptors. A signal that is sent to it before it runs its program meets no handler of this
/// process's (Linux; unless std forks for nothing but a `pre_exec` of yours). A standard stream that this process has closed is closed
/// in a child that is to inherit it; its number is held from the first start on, so that nothing else is opened there. On Windows it gets
/// its standard streams and, as std has no list of what a child is to inherit, every handle of this process that is inheritable. The library's
/// own are not, and what std makes inheritable for one child no other child of std's gets (it starts one at a time, under a lock). The
/// streams that this process was started with usually are: a child that outlives this process keeps them open, whatever streams it was
/// given, and whoever reads them waits for its end, unless they are kept from children
/// ([`keep_standard_streams_from_children`](crate::keep_standard_streams_from_children)).
///
/// # Examples
///
/// ```
/// # #[cfg(unix)] {
/// use watertight::{Command, Input, Limits};
/// let mut sort = Command::new("sort");
/// sort.stdin(Input::bytes("pear\napple\n"));
/// let outcome = sort.output(Limits::new())?.wait()?;
/// assert_eq!(outcome.stdout.bytes, b"apple\npear\n");
/// assert!(outcome.is_success());
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Command {
    inner: process::Command,
    stdin: Option<Input>,
    stdout: Option<Output>,
    stderr: Option<Output>,
    stdin_options: WriterOptions,
    output_options: ReaderOptions,
    group: Group,
    terminal: Option<TerminalSize>,
    kill_on_drop: bool,
    #[cfg_attr(
        not(unix),
        allow(dead_code, reason = "there are no control groups there")
    )]
    cgroup: bool,
    is_in_reactor: bool,
    creation_flags: u32,
    run_as: RunAs,
    earlier: EarlierStarts,
    #[cfg(unix)]
    further: Further,
}

/// What std does not make of a child's streams: our ends, and what it is fed with.
#[derive(Default)]
struct Made {
    armed: Option<OsHandle>,
    merged: Option<OsHandle>,
    fed: Option<Bytes>,
}

impl Command {
    /// A command that runs `program`, found as std finds it: a path with a separator as it stands, else in `PATH`.
    ///
    /// **Platform differences.** On Windows a name is looked for in this program's own folder and in the system's before `PATH`, never in the
    /// current one, and without an extension it means an `.exe`: `npm` is not found where `npm.cmd` is.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        process::Command::new(program).into()
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.inner.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.inner.args(args);
        self
    }

    /// Sets a variable of the child's environment.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.inner.env(name, value);
        self
    }

    /// Takes a variable out of the child's environment.
    pub fn env_remove(&mut self, name: impl AsRef<OsStr>) -> &mut Self {
        self.inner.env_remove(name);
        self
    }

    /// Begins with an empty environment.
    pub fn env_clear(&mut self) -> &mut Self {
        self.inner.env_clear();
        self.earlier.note_empty_environment();
        self
    }

    /// The directory that the child begins in.
    pub fn current_dir(&mut self, directory: impl AsRef<Path>) -> &mut Self {
        self.inner.current_dir(directory);
        self
    }

    /// What the child reads.
    pub fn stdin(&mut self, input: Input) -> &mut Self {
        self.stdin = Some(input);
        self
    }

    /// What the child writes to.
    pub fn stdout(&mut self, output: Output) -> &mut Self {
        self.stdout = Some(output);
        self
    }

    /// What the child complains to.
    pub fn stderr(&mut self, output: Output) -> &mut Self {
        self.stderr = Some(output);
        self
    }

    /// The options of [`Child::stdin`].
    pub fn stdin_options(&mut self, options: WriterOptions) -> &mut Self {
        self.stdin_options = options;
        self
    }

    /// The options of [`Child::stdout`] and [`Child::stderr`].
    pub fn output_options(&mut self, options: ReaderOptions) -> &mut Self {
        self.output_options = options;
        self
    }

    /// Whether tasks wait for the child's end and for its outputs in the reactor of the tokio runtime that they run in, and not with the
    /// library's own threads: as fast as tokio's own children. Off by default, since only the caller knows that the runtime has
    /// its I/O enabled.
    ///
    /// The outputs belong to the runtime in which the child is started ([`ReaderOptions::tokio_reactor`], which this sets); its end to the one
    /// in which it is waited for. Who waits elsewhere, or after the runtime's end, waits with the library's threads. A wait for the end
    /// has a descriptor of its own. Linux; elsewhere the ends of children are waited for by the library's threads all the same.
    ///
    /// # Panics
    /// The start, and the wait, do in a runtime without I/O (`Builder::enable_io`), as tokio itself.
    #[cfg(feature = "tokio")]
    pub fn tokio_reactor(&mut self, yes: bool) -> &mut Self {
        self.is_in_reactor = yes;
        self
    }

    /// Which group the child is in.
    pub fn group(&mut self, group: Group) -> &mut Self {
        self.group = group;
        self
    }

    /// Unix: gives the child a new pseudo-terminal of this size. It leads a session of its own, whose controlling terminal that
    /// is; each standard stream that was not set is the terminal. [`Child::terminal`] is the leading end: [`Terminal`] says what is
    /// different from pipes.
    ///
    /// [`output`](Self::output) says the end of the terminal's input at the start; what the child writes is [`Outcome::stdout`],
    /// or, where its standard output is a pipe, [`Outcome::stderr`]. (Are both pipes, it is not read: take it yourself.) A program that
    /// ends has everybody hung up (`SIGHUP`) whom it leaves in the terminal's foreground.
    ///
    /// A session has a group of its own: with [`Group::Shared`] the start fails. std's `process_group` must not be set.
    ///
    /// **Platform differences.** Linux; macOS and FreeBSD unverified. Elsewhere the start fails with [`StartStep::Terminal`] and
    /// says why; on Windows std cannot start a child with a ConPTY yet.
    ///
    /// [`Outcome::stdout`]: crate::Outcome::stdout
    /// [`Outcome::stderr`]: crate::Outcome::stderr
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(target_os = "linux")] {
    /// use watertight::{Command, Limits, TerminalSize};
    /// let mut command = Command::new("stty");
    /// command.arg("size").terminal(TerminalSize { rows: 50, columns: 132 });
    /// let outcome = command.output(Limits::new())?.wait()?;
    /// assert_eq!(outcome.stdout.text(), "50 132\r\n");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn terminal(&mut self, size: TerminalSize) -> &mut Self {
        self.terminal = Some(size);
        self
    }

    /// Whether dropping the [`Child`] kills its tree. Off by default: then the child goes on, and is reaped when it ends. Of a child
    /// whose end was waited for, only those are reached that an earlier kill has seen, in a [`cgroup`](Self::cgroup) too; on Windows all, and
    /// also when this process is killed. Nobody any more once [`Communicate`] has told that the child ended by itself.
    pub fn kill_on_drop(&mut self, yes: bool) -> &mut Self {
        self.kill_on_drop = yes;
        self
    }

    /// Unix: a further pipe, which the child finds at this number (from 3 on). `Direction::Read`: the child reads from it, and
    /// [`Child::take_writer`] has the other end; `Direction::Write`: the child writes to it, and [`Child::take_reader`] has it.
    #[cfg(unix)]
    pub fn pipe_at(&mut self, number: u32, direction: Direction) -> &mut Self {
        self.further.pipes.push((number, direction));
        self
    }

    /// Unix: of the descriptors that this process has, the child gets only these beside its standard streams and the pipes of
    /// [`pipe_at`](Self::pipe_at). Without it, it gets whatever is not close-on-exec.
    ///
    /// Linux 5.11; elsewhere the start fails with [`StartStep::Descriptors`].
    #[cfg(unix)]
    pub fn inherit_only(&mut self, numbers: impl IntoIterator<Item = u32>) -> &mut Self {
        self.further.only = Some(numbers.into_iter().collect());
        self
    }

    /// Unix: the child runs as the user of this number. A start that may not do that fails with [`StartStep::User`]; with std's `uid`
    /// nobody could tell.
    ///
    /// Its group is ours, unless [`group_id`](Self::group_id) says which. std takes our supplementary groups from it, if it may. The
    /// child enters its directory, looks for its program and runs it as that user.
    #[cfg(unix)]
    pub fn user(&mut self, user: u32) -> &mut Self {
        self.run_as.user = Some(user);
        self
    }

    /// Unix: the child runs with the group of this number as its user's. (Its process group is what [`group`](Self::group) sets.) A start
    /// that may not do that fails with [`StartStep::User`].
    #[cfg(unix)]
    pub fn group_id(&mut self, group: u32) -> &mut Self {
        self.run_as.group = Some(group);
        self
    }

    /// Windows: further creation flags of `CreateProcessW`. Elsewhere nobody reads them. Use this and not std's: the library adds
    /// some of its own.
    pub fn creation_flags(&mut self, flags: u32) -> &mut Self {
        self.creation_flags = flags;
        self
    }

    /// The std command underneath, for what is not here (`pre_exec`, `raw_arg`). Its standard streams are set anew at
    /// each start.
    pub fn as_std_mut(&mut self) -> &mut process::Command {
        &mut self.inner
    }

    /// Starts it. A command can be started again; a handle that was given to it is duplicated each time.
    ///
    /// # Errors
    /// The step that failed, by name: see [`StartError`]. Nothing is left behind then: no child, no pipe.
    pub fn spawn(&mut self) -> Result<Child, StartError> {
        self.start(Feed::Inherited, Sink::Inherited)
    }

    /// Starts it, feeds it and takes all its output, without a deadlock whatever it does: see [`Communicate`].
    ///
    /// What is not said otherwise is not inherited here: the standard input is empty, both outputs are pipes.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    pub fn output(&mut self, limits: Limits) -> Result<Wait<Communicate>, StartError> {
        Ok(self.spawn_captured()?.communicate(limits))
    }

    /// As [`output`](Self::output) begins.
    pub(crate) fn spawn_captured(&mut self) -> Result<Child, StartError> {
        self.start(Feed::Null, Sink::Piped)
    }

    /// Sets what the child reads; what was set before comes back.
    pub(crate) fn replace_stdin(&mut self, input: Option<Input>) -> Option<Input> {
        std::mem::replace(&mut self.stdin, input)
    }

    /// Sets what the child writes to; what was set before comes back.
    pub(crate) fn replace_stdout(&mut self, output: Option<Output>) -> Option<Output> {
        std::mem::replace(&mut self.stdout, output)
    }

    pub(crate) fn program(&self) -> OsString {
        self.inner.get_program().to_owned()
    }

    fn start(&mut self, feed: Feed, sink: Sink) -> Result<Child, StartError> {
        // It may be given what is written here, and writes behind that.
        joined::send_all();
        let program = self.inner.get_program().to_owned();
        // Before anything is made: nothing of it is to be at a standard stream's number.
        hold_standard_numbers().map_err(|error| failed(StartStep::Resources, &program, error))?;
        let started = self.start_anyhow(&program, feed, sink);
        // std keeps what it gave to the child; in our hands it would keep the child's pipes from ending.
        self.inner
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        started
    }

    fn start_anyhow(
        &mut self,
        program: &OsString,
        mut feed: Feed,
        mut sink: Sink,
    ) -> Result<Child, StartError> {
        let short_of = |error: io::Error| failed(StartStep::Resources, program, error);
        let driver = handle::started().map_err(|error| short_of(error.into()))?;
        let terminal = self.make_terminal(program)?;
        let has_no_input = self.stdin.is_none() && matches!(feed, Feed::Null);
        if let Some(ends) = &terminal {
            let end = || duplicate(&ends.following).map_err(short_of);
            (feed, sink) = (Feed::Handle(end()?), Sink::Handle(end()?));
        }
        let made = self.set_streams(program, &feed, &sink)?;
        #[cfg(unix)]
        let following = terminal.as_ref().map(|ends| ends.following.as_fd());
        #[cfg(unix)]
        let mut further = self
            .further
            .prepare(&mut self.inner, &mut self.earlier, following, self.cgroup)
            .map_err(short_of)?;
        let grouping = match self.group {
            // Its session has a group of its own.
            Group::Auto | Group::Own | Group::Shared if terminal.is_some() => Grouping::Ours,
            Group::Own => Grouping::Own,
            Group::Shared => Grouping::Ours,
            Group::Auto if is_in_terminals_foreground() => Grouping::Ours,
            Group::Auto => Grouping::Own,
        };
        let options = StartOptions {
            grouping,
            creation_flags: self.creation_flags,
            run_as: self.run_as,
            ends_with_us: self.kill_on_drop,
        };
        let (process, streams) = Process::start(&mut self.inner, options, &mut self.earlier)?;
        #[cfg(unix)]
        if let Grouping::Ours = grouping {
            let merged = made.merged.as_ref().map(AsFd::as_fd);
            let given = merged.into_iter().chain(further.ours());
            given.for_each(|ours| process.note_given(ours));
        }
        #[cfg(unix)]
        let process = process.in_cgroup(further.joined_cgroup());
        let fed = made.fed.clone();
        let leading = terminal.map(|ends| ends.leading);
        let adopted = self.adopt(streams, made, leading);
        #[cfg(unix)]
        let adopted = adopted.and_then(|ends| {
            let further = further.adopt()?;
            Ok(Ends { further, ..ends })
        });
        match adopted {
            Ok(ends) => {
                if let Some(terminal) = ends.terminal.as_ref().filter(|_| has_no_input) {
                    // Its queue is empty, so that it is refused only by a child that has left.
                    let _ = terminal.input.try_send(Terminal::END_OF_INPUT);
                }
                let kept = Kept {
                    kill_on_drop: self.kill_on_drop,
                    is_in_reactor: self.is_in_reactor,
                };
                Ok(Child::new(driver, process, ends, fed, kept))
            }
            Err(error) => {
                // C1: a start is whole or there is none. Dropped, it is reaped.
                let _ = process.kill_tree();
                Err(failed(StartStep::Hold, program, error))
            }
        }
    }

    /// A new pseudo-terminal, if the child is to have one.
    fn make_terminal(&self, program: &OsString) -> Result<Option<TerminalEnds>, StartError> {
        let Some(size) = self.terminal else {
            return Ok(None);
        };
        let made = if self.group == Group::Shared {
            let text =
                "its session has a group of its own: set Group::Shared or a terminal, not both";
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        } else {
            open_terminal(size)
        };
        made.map(Some)
            .map_err(|error| failed(StartStep::Terminal, program, error))
    }

    /// Tells std what the child's streams are, and makes what std does not make.
    fn set_streams(
        &mut self,
        program: &OsString,
        feed: &Feed,
        sink: &Sink,
    ) -> Result<Made, StartError> {
        let short_of = |error: io::Error| failed(StartStep::Resources, program, error);
        let feed = self.stdin.as_ref().map_or(feed, |input| &input.0);
        let out = self.stdout.as_ref().map_or(sink, |output| &output.0);
        let err = self.stderr.as_ref().map_or(sink, |output| &output.0);
        let mut made = Made::default();
        self.inner.stdin(match feed {
            Feed::Armed => {
                let (ours, theirs) = armed_pair().map_err(|error| not_armed(program, error))?;
                made.armed = Some(ours);
                theirs.into()
            }
            Feed::Bytes(bytes) => {
                made.fed = Some(bytes.clone());
                Stdio::piped()
            }
            Feed::Handle(handle) => duplicate(handle).map_err(short_of)?.into(),
            Feed::Inherited => Stdio::inherit(),
            Feed::Null => Stdio::null(),
            Feed::Piped => Stdio::piped(),
        });
        if matches!(err, Sink::Stdout) {
            let (ours, theirs) = merge(out).map_err(short_of)?;
            made.merged = ours;
            self.inner
                .stdout(duplicate(&theirs).map_err(short_of)?)
                .stderr(theirs);
        } else {
            self.inner
                .stdout(stdio(out).map_err(short_of)?)
                .stderr(stdio(err).map_err(short_of)?);
        }
        Ok(made)
    }

    /// Makes ends of ours of the child's streams. Nobody else has them.
    fn adopt(
        &self,
        streams: StdStreams,
        made: Made,
        leading: Option<OsHandle>,
    ) -> io::Result<Ends> {
        let Made { armed, merged, fed } = made;
        let mut output_options = self.output_options.clone();
        output_options.enlarge.get_or_insert(true);
        #[cfg(feature = "tokio")]
        {
            output_options.tokio_reactor |= self.is_in_reactor;
        }
        let reader = |stream| PipeReader::adopt_piped(stream, output_options.clone());
        let stdout = merged.or(streams.stdout.map(OsHandle::from));
        let mut options = self.stdin_options.clone();
        let is_sized = options.capacity_bytes.is_some();
        options.enlarge.get_or_insert(!is_sized);
        // What the child is fed with is queued whole, by reference.
        options.queue_bytes_max = options
            .queue_bytes_max
            .max(fed.map_or(0, |fed| fed.len() as u64));
        let stdin = streams
            .stdin
            .map(|stream| PipeWriter::adopt_piped(stream, options));
        let armed = armed.map(|ours| PipeWriter::adopt_armed(ours, self.stdin_options.clone()));
        Ok(Ends {
            stdin: stdin.or(armed).transpose()?,
            stdout: stdout.map(reader).transpose()?,
            stderr: streams.stderr.map(OsHandle::from).map(reader).transpose()?,
            terminal: leading
                .map(|leading| {
                    let (input, output) = (&self.stdin_options, &self.output_options);
                    Terminal::adopt(leading, input.clone(), output.clone())
                })
                .transpose()?,
            #[cfg(unix)]
            further: FurtherPipes::default(),
        })
    }
}

impl From<process::Command> for Command {
    /// Everything but the standard streams, which are set here, and on Windows the creation flags, which std does not show: they are set here,
    /// too ([`creation_flags`](Self::creation_flags)).
    fn from(inner: process::Command) -> Self {
        Self {
            inner,
            stdin: None,
            stdout: None,
            stderr: None,
            stdin_options: WriterOptions::new(),
            output_options: ReaderOptions::new(),
            group: Group::default(),
            terminal: None,
            kill_on_drop: false,
            cgroup: false,
            is_in_reactor: false,
            creation_flags: 0,
            run_as: RunAs::default(),
            earlier: EarlierStarts::default(),
            #[cfg(unix)]
            further: Further::default(),
        }
    }
}

fn failed(step: StartStep, program: &OsString, error: io::Error) -> StartError {
    StartError {
        step,
        program: program.clone(),
        path: None,
        run_as: None,
        error,
    }
}

/// Why there is no armed stream.
fn not_armed(program: &OsString, error: StepError) -> StartError {
    let (step, error) = match error.os {
        Some(OsCode(code)) => (StartStep::Resources, io::Error::from_raw_os_error(code)),
        None => {
            let text = "a stream that is cut looks whole on this system: use Input::piped";
            let error = io::Error::new(io::ErrorKind::Unsupported, text);
            (StartStep::Other, error)
        }
    };
    failed(step, program, error)
}
