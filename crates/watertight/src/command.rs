//! `Command`: what to run, and what its standard streams are.

#[cfg(unix)]
use crate::child::FurtherPipes;
use crate::child::{Child, Ends};
use crate::communicate::{Communicate, Limits};
use crate::handle::{self, OsHandle};
use crate::options::{ReaderOptions, WriterOptions};
use crate::reader::PipeReader;
use crate::wait::Wait;
use crate::writer::PipeWriter;
use bytes::Bytes;
#[cfg(unix)]
use further::Further;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::{self, Stdio};
use watertight_core::OsCode;
#[cfg(unix)]
use watertight_os::Direction;
use watertight_os::{
    EarlierStarts, Grouping, Process, StartError, StartOptions, StartStep, StdStreams, StepError,
    armed_pair, is_in_terminals_foreground,
};

#[cfg(unix)]
mod further;

/// What a child reads as its standard input.
#[derive(Debug)]
pub struct Input(Feed);

#[derive(Debug)]
enum Feed {
    Armed,
    Bytes(Bytes),
    Handle(OsHandle),
    Inherited,
    Null,
    Piped,
}

impl Input {
    /// A pipe: [`Child::stdin`] is its writing end.
    #[must_use]
    pub const fn piped() -> Self {
        Self(Feed::Piped)
    }

    /// A stream that looks cut to the child unless it is ended in order: [`Child::stdin`] is its writing end, and nothing but its
    /// `finish`, or a drop that sent everything, makes the child read a normal end. After an abort, a panic, a failure, even when
    /// this process is killed, the child reads all that was sent, and then an error (`ECONNRESET`), so that it does not take half
    /// for the whole.
    ///
    /// It is a pair of local sockets, and twice as fast as a pipe for large inputs. What to know: programs that do not look at read
    /// errors commit all the same (`openssl enc`, Perl's `<STDIN>`, the shell's `read`); one that opens `/dev/stdin` again cannot
    /// (a socket is not opened); `bash` without `SHLVL` in its environment takes a socket for a remote shell and reads its `.bashrc`.
    ///
    /// **Platform differences.** Linux. Elsewhere a trial decides, and where the system has no such sign the start fails with
    /// [`StartStep::Other`] and says so: [`piped`](Self::piped) is the way then.
    #[must_use]
    pub const fn armed() -> Self {
        Self(Feed::Armed)
    }

    /// This process's own standard input.
    #[must_use]
    pub const fn inherited() -> Self {
        Self(Feed::Inherited)
    }

    /// Nothing: the end of the stream at once.
    #[must_use]
    pub const fn null() -> Self {
        Self(Feed::Null)
    }

    /// These bytes, and then the end of the stream. They are sent in the background from the start on; [`Child::stdin`] is the
    /// writer that does it, finishing, and says how far it got.
    #[must_use]
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self(Feed::Bytes(bytes.into()))
    }

    /// Something that is open: a file, a pipe's end ([`PipeReader::into_handle`]), a socket. The command keeps it for further starts, and
    /// with that it stays open here: drop the command when it is not started again.
    #[must_use]
    pub fn from_handle(handle: impl Into<OsHandle>) -> Self {
        Self(Feed::Handle(handle.into()))
    }
}

/// What a child writes to as its standard output or standard error.
#[derive(Debug)]
pub struct Output(Sink);

#[derive(Debug)]
enum Sink {
    Handle(OsHandle),
    Inherited,
    Null,
    Piped,
    Stdout,
}

impl Output {
    /// A pipe: [`Child::stdout`] or [`Child::stderr`] is its reading end.
    #[must_use]
    pub const fn piped() -> Self {
        Self(Sink::Piped)
    }

    /// This process's own stream of the same name.
    #[must_use]
    pub const fn inherited() -> Self {
        Self(Sink::Inherited)
    }

    /// Nowhere.
    #[must_use]
    pub const fn null() -> Self {
        Self(Sink::Null)
    }

    /// Something that is open: a file, a pipe's end ([`PipeWriter::into_handle`]), a socket. The command keeps it for further starts, and
    /// with that it stays open here (a pipe does not end): drop the command when it is not started again.
    #[must_use]
    pub fn from_handle(handle: impl Into<OsHandle>) -> Self {
        Self(Sink::Handle(handle.into()))
    }

    /// For standard error: wherever standard output goes, through the same pipe. It is the only way to see both in the exact order
    /// in which the child wrote them. For standard output: the same as [`Output::piped`].
    #[must_use]
    pub const fn to_stdout() -> Self {
        Self(Sink::Stdout)
    }
}

/// Which process group a child is in (Unix); it decides whom Ctrl-C reaches, and how well its tree is ended. On Windows every child
/// has a job object of its own, whatever this says.
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
/// that make's job server and `<(…)` work), the signal mask with which this process was started, and `SIGPIPE` at its
/// default; none of the library's own descriptors. On Windows it gets its standard streams only as far as std sees to it
/// (std starts one child at a time and duplicates its handles for it alone).
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
    kill_on_drop: bool,
    creation_flags: u32,
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

    /// Which group the child is in.
    pub fn group(&mut self, group: Group) -> &mut Self {
        self.group = group;
        self
    }

    /// Whether dropping the [`Child`] kills its tree. Off by default: then the child goes on, and is reaped when it ends. Of a child
    /// whose end was waited for, only those are reached that an earlier kill has seen; on Windows all, and also when this process
    /// is killed.
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
    /// Linux 5.11; elsewhere the start fails and says so.
    #[cfg(unix)]
    pub fn inherit_only(&mut self, numbers: impl IntoIterator<Item = u32>) -> &mut Self {
        self.further.only = Some(numbers.into_iter().collect());
        self
    }

    /// Windows: further creation flags of `CreateProcessW`. Elsewhere nobody reads them. Use this and not std's: the library adds
    /// some of its own.
    pub fn creation_flags(&mut self, flags: u32) -> &mut Self {
        self.creation_flags = flags;
        self
    }

    /// The std command underneath, for what is not here (user and group, `pre_exec`, `raw_arg`). Its standard streams are set anew
    /// at each start.
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
        let program = self.inner.get_program().to_owned();
        let started = self.start_anyhow(&program, &feed, &sink);
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
        feed: &Feed,
        sink: &Sink,
    ) -> Result<Child, StartError> {
        let short_of = |error: io::Error| failed(StartStep::Resources, program, error);
        let driver = handle::started().map_err(|error| short_of(error.into()))?;
        let made = self.set_streams(program, feed, sink)?;
        #[cfg(unix)]
        let further = self.further.prepare(&mut self.inner).map_err(short_of)?;
        let grouping = match self.group {
            Group::Own => Grouping::Own,
            Group::Shared => Grouping::Ours,
            Group::Auto if is_in_terminals_foreground() => Grouping::Ours,
            Group::Auto => Grouping::Own,
        };
        let options = StartOptions {
            grouping,
            creation_flags: self.creation_flags,
            ends_with_us: self.kill_on_drop,
        };
        let (process, streams) = Process::start(&mut self.inner, options, &mut self.earlier)?;
        let fed = made.fed.clone();
        let adopted = self.adopt(streams, made);
        #[cfg(unix)]
        let adopted = adopted.and_then(|ends| {
            let further = further.adopt()?;
            Ok(Ends { further, ..ends })
        });
        match adopted {
            Ok(ends) => Ok(Child::new(driver, process, ends, fed, self.kill_on_drop)),
            Err(error) => {
                // C1: a start is whole or there is none. Dropped, it is reaped.
                let _ = process.kill_tree();
                Err(failed(StartStep::Hold, program, error))
            }
        }
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
            Feed::Handle(handle) => handle.try_clone().map_err(short_of)?.into(),
            Feed::Inherited => Stdio::inherit(),
            Feed::Null => Stdio::null(),
            Feed::Piped => Stdio::piped(),
        });
        if matches!(err, Sink::Stdout) {
            let (ours, theirs) = merge(out).map_err(short_of)?;
            made.merged = ours;
            self.inner
                .stdout(theirs.try_clone().map_err(short_of)?)
                .stderr(theirs);
        } else {
            self.inner
                .stdout(stdio(out).map_err(short_of)?)
                .stderr(stdio(err).map_err(short_of)?);
        }
        Ok(made)
    }

    /// Makes ends of ours of the child's streams. Nobody else has them.
    fn adopt(&self, streams: StdStreams, made: Made) -> io::Result<Ends> {
        let Made { armed, merged, fed } = made;
        let reader = |stream| PipeReader::adopt_unshared(stream, self.output_options.clone());
        let stdout = merged.or(streams.stdout.map(OsHandle::from));
        let mut options = self.stdin_options.clone();
        // What the child is fed with is queued whole, by reference.
        options.queue_bytes_max = options
            .queue_bytes_max
            .max(fed.map_or(0, |fed| fed.len() as u64));
        let stdin = streams
            .stdin
            .map(|stream| PipeWriter::adopt_unshared(stream, options));
        let armed = armed.map(|ours| PipeWriter::adopt_armed(ours, self.stdin_options.clone()));
        Ok(Ends {
            stdin: stdin.or(armed).transpose()?,
            stdout: stdout.map(reader).transpose()?,
            stderr: streams.stderr.map(OsHandle::from).map(reader).transpose()?,
            #[cfg(unix)]
            further: FurtherPipes::default(),
        })
    }
}

impl From<process::Command> for Command {
    /// Everything but the standard streams, which are set here.
    fn from(inner: process::Command) -> Self {
        Self {
            inner,
            stdin: None,
            stdout: None,
            stderr: None,
            stdin_options: WriterOptions::new(),
            output_options: ReaderOptions::new(),
            group: Group::default(),
            kill_on_drop: false,
            creation_flags: 0,
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

fn stdio(sink: &Sink) -> io::Result<Stdio> {
    Ok(match sink {
        Sink::Handle(handle) => handle.try_clone()?.into(),
        Sink::Inherited => Stdio::inherit(),
        Sink::Null => Stdio::null(),
        Sink::Piped | Sink::Stdout => Stdio::piped(),
    })
}

/// Where both outputs go: our end, if it is a pipe, and the child's.
fn merge(out: &Sink) -> io::Result<(Option<OsHandle>, OsHandle)> {
    match out {
        Sink::Handle(handle) => Ok((None, handle.try_clone()?)),
        Sink::Inherited => Ok((None, own_stdout()?)),
        Sink::Null => Ok((None, null()?)),
        Sink::Piped | Sink::Stdout => {
            let (ours, theirs) = watertight_os::output_pipe()?;
            Ok((Some(ours), theirs))
        }
    }
}

#[cfg(unix)]
fn own_stdout() -> io::Result<OsHandle> {
    use std::os::fd::AsFd;
    io::stdout().as_fd().try_clone_to_owned()
}

#[cfg(windows)]
fn own_stdout() -> io::Result<OsHandle> {
    use std::os::windows::io::AsHandle;
    io::stdout().as_handle().try_clone_to_owned()
}

fn null() -> io::Result<OsHandle> {
    let path = if cfg!(windows) { "NUL" } else { "/dev/null" };
    let file = std::fs::OpenOptions::new().write(true).open(path)?;
    Ok(file.into())
}
