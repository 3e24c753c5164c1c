//! How handles come in: the process's one driver, adoption, and `pipe()`.

use crate::driver::Driver;
use crate::exit;
use crate::options::{ReaderOptions, WriterOptions};
use crate::reader::PipeReader;
use crate::sync::StaticMutex;
use crate::writer::PipeWriter;
use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use std::thread::ThreadId;
use std::time::Instant;
use watertight_core::{Backend, Cause, Class, Error, OsCode, Verb};
use watertight_os::{Direction, Handle, Step, StepError};

pub use watertight_os::{Native, OsHandle};

/// The name of the library's one thread.
const DRIVER_THREAD_NAME: &str = "watertight";

/// A handle that could not be taken over or given back, or a pipe that could not be made: nothing was made, nothing is left
/// behind, and what the caller passed in comes back.
///
/// `H` is what comes back: the handle of an adoption, untouched and still usable; the pipe's end itself from `into_handle`.
#[derive(Debug)]
pub struct HandleError<H> {
    /// The step that failed.
    pub step: Step,
    /// Why, with the raw code.
    pub error: Error,
    /// What was passed in.
    pub handle: H,
}

/// An adoption that failed, with the handle.
pub type AdoptError = HandleError<OsHandle>;

/// A `pipe()` that failed.
pub type CreateError = HandleError<()>;

impl<H> HandleError<H> {
    /// An end that keeps its handle, and why.
    pub(crate) fn kept(error: Error, end: H) -> Self {
        Self {
            step: Step::HandBack,
            error,
            handle: end,
        }
    }

    pub(crate) fn new(verb: Verb, failed: StepError, handle: H) -> Self {
        let cause = Cause {
            kind: failed.class.kind(),
            os: failed.os,
        };
        Self {
            step: failed.step,
            error: Error::without_bytes(verb, cause),
            handle,
        }
    }
}

impl<H> fmt::Display for HandleError<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = Cause {
            kind: self.error.kind,
            os: self.error.os,
        };
        write!(f, "cannot {}: ", self.error.verb.explanation())?;
        // These two steps are what was to be done.
        if !matches!(self.step, Step::CreatePipe | Step::HandBack) {
            write!(f, "{} failed: ", self.step.explanation())?;
        }
        write!(f, "{cause}")
    }
}

impl<H: fmt::Debug> std::error::Error for HandleError<H> {}

impl<H> From<HandleError<H>> for Error {
    fn from(failed: HandleError<H>) -> Self {
        failed.error
    }
}

impl<H> From<HandleError<H>> for io::Error {
    fn from(failed: HandleError<H>) -> Self {
        failed.error.into()
    }
}

/// The process's driver, started by the first pipe.
static GLOBAL: StaticMutex<Option<Global>> = StaticMutex::new(None);

struct Global {
    driver: Arc<Driver<Native>>,
    /// The system is asked for it where a pipe is made or taken over: a process that was made without fork's handlers (`_Fork`, a raw
    /// `clone`) is told apart there.
    process: u32,
}

/// The process's driver. Every failure leaves nothing behind, and the next call tries again.
fn global() -> Result<Arc<Driver<Native>>, StepError> {
    // A forked child: the poller is shared with the parent and must not be touched, and the thread is not here.
    let refused = StepError {
        step: Step::StartDriver,
        class: Class::WrongProcess,
        os: None,
    };
    let Some(mut global) = GLOBAL.lock_unless(exit::is_elsewhere) else {
        return Err(refused);
    };
    if let Some(known) = global.as_ref() {
        let is_here = known.process == std::process::id() && !known.driver.backend.is_elsewhere();
        if is_here {
            return Ok(known.driver.clone());
        }
        return Err(refused);
    }
    let driver = Arc::new(Driver::new(Native::new()?));
    exit::register();
    start_thread(&driver)?;
    *global = Some(Global {
        driver: driver.clone(),
        process: std::process::id(),
    });
    Ok(driver)
}

/// The process's driver, for what is not a pipe.
pub(crate) fn started() -> Result<Arc<Driver<Native>>, CreateError> {
    global().map_err(|failed| HandleError::new(Verb::Create, failed, ()))
}

/// The process's driver when the process ends: its lock is only tried, until `end`.
pub(crate) fn running_at_exit(end: Instant) -> Option<Arc<Driver<Native>>> {
    loop {
        if let Some(global) = GLOBAL.try_lock() {
            return global.as_ref().map(|global| global.driver.clone());
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(1));
    }
}

/// The library's thread. It is set by the thread itself, before it does anything.
static DRIVER_THREAD: OnceLock<ThreadId> = OnceLock::new();

/// Whether this is the library's thread.
pub(crate) fn is_driver_thread() -> bool {
    DRIVER_THREAD.get() == Some(&std::thread::current().id())
}

/// The process's driver, if a pipe has started it.
pub(crate) fn running() -> Option<Arc<Driver<Native>>> {
    let global = GLOBAL.lock_unless(exit::is_elsewhere)?;
    let own = global.as_ref().map(|global| &global.driver);
    own.filter(|driver| !driver.backend.is_elsewhere()).cloned()
}

fn start_thread(driver: &Arc<Driver<Native>>) -> Result<(), StepError> {
    let failed = |os: Option<i32>| StepError {
        step: Step::StartDriver,
        class: Class::Limit,
        os: os.map(OsCode),
    };
    if let Some(code) = watertight_os::fault::planned(Step::StartDriver) {
        return Err(failed(Some(code.0)));
    }
    let driver = driver.clone();
    std::thread::Builder::new()
        .name(DRIVER_THREAD_NAME.into())
        .spawn(move || {
            DRIVER_THREAD.get_or_init(|| std::thread::current().id());
            watertight_os::quiet_thread();
            watertight_os::note_thread();
            // Ticks of joined messages are as short as that lateness.
            watertight_os::exact_timeouts();
            let mut completions = Vec::new();
            loop {
                driver.turn(&mut completions);
            }
        })
        .map(drop)
        .map_err(|error| failed(error.raw_os_error()))
}

/// What is known of a handle that is taken over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Origin {
    /// Nothing.
    Unknown,
    /// Our end of a pipe that std or this library has made for a child.
    Piped,
    /// Nobody else has its open file description.
    Unshared,
}

/// Takes a handle over.
pub(crate) fn adopt(
    handle: OsHandle,
    direction: Direction,
    origin: Origin,
) -> Result<(Arc<Driver<Native>>, Handle), AdoptError> {
    watertight_os::note_thread();
    let known = match origin {
        // Its child was started a moment ago, and that has asked.
        Origin::Piped => running().ok_or(()),
        Origin::Unknown | Origin::Unshared => Err(()),
    };
    let driver = match known.or_else(|()| global()) {
        Ok(driver) => driver,
        Err(failed) => return Err(HandleError::new(Verb::Adopt, failed, handle)),
    };
    let adopted = match origin {
        Origin::Unknown => driver.backend.adopt(handle, direction),
        Origin::Piped => driver.backend.adopt_piped(handle, direction),
        Origin::Unshared => driver.backend.adopt_unshared(handle, direction),
    };
    match adopted {
        Ok(handle) => Ok((driver, handle)),
        Err(refused) => Err(HandleError::new(Verb::Adopt, refused.error, refused.handle)),
    }
}

/// What a writer's options ask of its handle.
pub(crate) fn prepare(handle: &Handle, options: &WriterOptions) -> Result<(), StepError> {
    if options.armed {
        handle.arm()?;
    }
    if let Some(bytes) = options.capacity_bytes {
        // Ignored where it cannot be changed.
        let _ = handle.set_capacity(bytes);
    }
    Ok(())
}

/// The handle out of its only reference, as it came.
pub(crate) fn into_os(driver: &Driver<Native>, handle: Arc<Handle>) -> OsHandle {
    let handle =
        Arc::into_inner(handle).expect("nothing is in flight, so nobody else refers to the handle");
    driver.backend.release(handle)
}

/// Makes a pipe: what is written into the writer comes out of the reader. Mirrors [`std::io::pipe`].
///
/// On Unix it is an anonymous pipe; on Windows an overlapped pipe without a name, which nobody can
/// find. Neither end is inherited by children.
///
/// # Errors
/// A limit of the system (descriptors, memory, threads); the error names the step. Nothing is left behind.
///
/// # Examples
///
/// ```
/// let (reader, writer) = watertight::pipe()?;
/// writer.send(b"hi").wait()?;
/// let mut buf = [0; 8];
/// let n = reader.receive(&mut buf).wait()?;
/// assert_eq!(&buf[..n], b"hi");
/// # Ok::<(), watertight::Error>(())
/// ```
pub fn pipe() -> Result<(PipeReader, PipeWriter), CreateError> {
    pipe_with(ReaderOptions::new(), WriterOptions::new())
}

/// As [`pipe`], with options.
///
/// # Errors
/// As [`pipe`].
pub fn pipe_with(
    reader: ReaderOptions,
    writer: WriterOptions,
) -> Result<(PipeReader, PipeWriter), CreateError> {
    let failed = |failed| HandleError::new(Verb::Create, failed, ());
    let driver = global().map_err(failed)?;
    watertight_os::note_thread();
    let (from, into) = driver.backend.pipe().map_err(failed)?;
    prepare(&into, &writer).map_err(failed)?;
    let reader = PipeReader::made(&driver, from, reader);
    let writer = PipeWriter::on(&driver, into, writer);
    writer.pair_with(&reader);
    Ok((reader, writer))
}

/// One of the standard streams this process was started with, or on Unix any descriptor number it inherited, to be
/// adopted.
///
/// The original number of a standard stream is pointed at the null device. On Unix this handle is then the only one, and
/// ending it ends the stream; on Windows the original stays open until the process ends, because `std` lends it out for
/// ever. A higher number is duplicated and left as it is. No flag of the stream is changed.
///
/// # Errors
/// There is no such stream or descriptor (it was closed), or the system is out of descriptors.
///
/// # Examples
///
/// ```no_run
/// use watertight::{Direction, PipeReader, inherited};
/// let reader = PipeReader::adopt(inherited(0, Direction::Read)?)?;
/// let mut buf = [0; 4096];
/// let n = reader.receive(&mut buf).wait()?;
/// # Ok::<(), watertight::Error>(())
/// ```
pub fn inherited(number: u32, direction: Direction) -> Result<OsHandle, CreateError> {
    watertight_os::inherited(number, direction)
        .map_err(|failed| HandleError::new(Verb::Adopt, failed, ()))
}

/// The clock of a driver, for tests.
#[doc(hidden)]
pub fn now<B: Backend>(driver: &Driver<B>) -> watertight_core::Moment {
    driver.backend.now()
}
