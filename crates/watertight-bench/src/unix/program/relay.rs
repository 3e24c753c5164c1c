//! One sample: a pipeline of processes, and the relay in its middle is looked at. A byte too few or too many is an error, never
//! a figure.
//!
//! The pipeline is started by the library itself, which tells what a child has used. It has a deadline, and whoever of it is left
//! when something fails is killed.

use super::flows::{FIFOS, Flow, Sink, Source, Tool, source_name};
use super::place::Place;
use super::stages::{Stage, WIDE_BYTES, consumed, stage};
use crate::platform::totals::Totals;
use crate::platform::{kernel, text};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};
use watertight::{Child, Command, ErrorKind, Input, Output};

const MIB: u64 = 1 << 20;
/// Nobody takes so long: one who does hangs.
const WITHIN: Duration = Duration::from_secs(120);
/// When the relay's memory is looked at first, then after twice as long, and so on: the shortest copy is over after a few
/// milliseconds.
const LOOK_FIRST: Duration = Duration::from_micros(500);
/// How often it is looked at in the end. It is the most until then that is told, so that nothing between is missed.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// What a reader says at the end is shorter.
const SAID_BYTES_MAX: usize = 256;
/// Where a relay complains.
const COMPLAINTS: &str = "complaints";
/// What is written of calls.
const COUNTS: &str = "counts";

/// Who carries how much, from where to where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) flow: Flow,
    pub(super) tool: Tool,
    /// None: an empty copy.
    pub(super) mib: u64,
}

/// What it took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Taken {
    /// From the start of the relay until the relay and all readers are over.
    pub(super) seconds: f64,
    /// The relay's, user and system, where the system tells.
    pub(super) cpu_seconds: Option<f64>,
    /// The most memory that the relay was seen with, where the system tells.
    pub(super) resident_bytes_max: Option<u64>,
    /// Which capacity the pipe behind the relay had in the end, if there is one and the system tells.
    pub(super) capacity: Option<u64>,
}

/// Takes a sample.
pub(super) fn take(place: &Place, sample: Sample) -> Result<Taken, String> {
    let program = program(place, sample)?;
    carry(place, sample, &program, &arguments(sample)).map_err(|error| explained(sample, &error))
}

/// What the relay calls in a whole run, all its threads.
pub(super) fn count(place: &Place, sample: Sample) -> Result<Totals, String> {
    let file = place.path(COUNTS);
    let counter = place.counter()?;
    let counting = counter.command(&file);
    let mut words: Vec<OsString> = counting.get_args().map(OsString::from).collect();
    words.push(program(place, sample)?);
    words.extend(arguments(sample));
    let program = counting.get_program();
    carry(place, sample, program, &words).map_err(|error| explained(sample, &error))?;
    counter.read(&file)
}

fn program(place: &Place, sample: Sample) -> Result<OsString, String> {
    let found = place.program(sample.tool);
    let missing = || format!("{} is not here", sample.tool.name());
    found.map(OsString::from).ok_or_else(missing)
}

fn arguments(sample: Sample) -> Vec<OsString> {
    let words = sample.tool.arguments(sample.flow, sample.mib);
    words.into_iter().map(OsString::from).collect()
}

fn explained(sample: Sample, error: &str) -> String {
    let Sample { flow, tool, mib } = sample;
    format!("{}, {}, {mib} MiB: {error}", flow.title(), tool.name())
}

fn carry(
    place: &Place,
    sample: Sample,
    program: &OsStr,
    words: &[OsString],
) -> Result<Taken, String> {
    let deadline = Instant::now() + WITHIN;
    place.remove_target().map_err(text)?;
    let (stdin, producer) = source(place, sample)?;
    let (stdout, consumers) = sink(place, sample)?;
    let complaints = File::create(place.path(COMPLAINTS)).map_err(text)?;
    let streams = (stdin, stdout, Output::from_handle(complaints));
    let begin = Instant::now();
    let folder = place.folder_of(sample.flow);
    let mut relay = start(folder, Path::new(program), words, streams)?;
    let resident_bytes_max = watch(&relay, deadline)?;
    ended(&relay, deadline).map_err(|error| {
        let said = std::fs::read_to_string(place.path(COMPLAINTS)).unwrap_or_default();
        format!("{error}: {said}")
    })?;
    let expected = sample.mib * MIB;
    let mut capacity = None;
    for consumer in consumers {
        capacity = read_to_end(consumer, expected, deadline)?;
    }
    if sample.tool.sink(sample.flow) == Sink::Child {
        // Who reads was its child, and has said so there.
        capacity = counted(&said_by(&mut relay, deadline)?, expected)?;
    }
    let seconds = begin.elapsed().as_secs_f64();
    if let Some(producer) = producer {
        ended(&producer, deadline).map_err(|error| format!("who writes: {error}"))?;
    }
    check_target(place, sample)?;
    let usage = relay.usage();
    Ok(Taken {
        seconds,
        cpu_seconds: usage.map(|usage| (usage.user + usage.system).as_secs_f64()),
        resident_bytes_max,
        capacity,
    })
}

/// What the relay reads, and who writes it.
fn source(place: &Place, sample: Sample) -> Result<(Input, Option<Child>), String> {
    let Sample { flow, tool, mib } = sample;
    match tool.source(flow) {
        Source::File if !tool.opens_source() => {
            let file = File::open(place.path(source_name(mib))).map_err(text)?;
            Ok((Input::from_handle(file), None))
        }
        Source::File | Source::Nothing => Ok((Input::null(), None)),
        Source::Pipe => {
            let (from, into) = pipe(flow)?;
            let streams = (
                Input::null(),
                Output::from_handle(into),
                Output::inherited(),
            );
            let producer = if flow.is_vmspliced() {
                Stage::Vmsplice
            } else {
                Stage::Produce
            };
            let words = stage(producer, mib);
            let producer = start(place.folder(), place.this(), &words, streams)?;
            Ok((Input::from_handle(from), Some(producer)))
        }
    }
}

/// What the relay writes to as its standard output, and who reads what it writes.
fn sink(place: &Place, sample: Sample) -> Result<(Output, Vec<Child>), String> {
    let Sample { flow, tool, .. } = sample;
    let consumer = |stdin: Input, from: Option<&str>| {
        // It reads to the end, however much that is.
        let mut words = stage(Stage::Consume, 0);
        words.extend(from.map(|name| format!("--from={name}")));
        let streams = (stdin, Output::piped(), Output::inherited());
        start(place.folder(), place.this(), &words, streams)
    };
    match tool.sink(flow) {
        Sink::Child => Ok((Output::piped(), Vec::new())),
        Sink::File if !tool.opens_target() => {
            let file = File::create(place.target(flow)).map_err(text)?;
            Ok((Output::from_handle(file), Vec::new()))
        }
        Sink::File | Sink::Null => Ok((Output::null(), Vec::new())),
        Sink::Pipe => {
            let (from, into) = pipe(flow)?;
            let consumers = vec![consumer(Input::from_handle(from), None)?];
            Ok((Output::from_handle(into), consumers))
        }
        Sink::ThreePipes => {
            let (from, into) = pipe(flow)?;
            let mut consumers = Vec::new();
            for name in FIFOS {
                consumers.push(consumer(Input::null(), Some(name))?);
            }
            consumers.push(consumer(Input::from_handle(from), None)?);
            Ok((Output::from_handle(into), consumers))
        }
    }
}

fn pipe(flow: Flow) -> Result<(io::PipeReader, io::PipeWriter), String> {
    let (from, into) = io::pipe().map_err(text)?;
    if flow.is_wide() {
        kernel::set_capacity(&into, WIDE_BYTES).map_err(text)?;
    }
    Ok((from, into))
}

/// Starts a process of the pipeline. Its ends are nobody else's from then on.
fn start(
    folder: &Path,
    program: &Path,
    words: &[impl AsRef<OsStr>],
    (stdin, stdout, stderr): (Input, Output, Output),
) -> Result<Child, String> {
    let mut command = Command::new(program);
    command.args(words).current_dir(folder).kill_on_drop(true);
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    command.spawn().map_err(text)
}

/// Looks at the relay's memory until it is over.
fn watch(relay: &Child, deadline: Instant) -> Result<Option<u64>, String> {
    // None is less than any number.
    let mut most: Option<u64> = None;
    let mut pause = LOOK_FIRST;
    loop {
        match relay.until_exit().within(pause).wait() {
            Ok(_) => return Ok(most),
            Err(error) if error.kind != ErrorKind::TimedOut => return Err(text(error)),
            Err(_) if Instant::now() >= deadline => {
                return Err(format!("not over after {} s", WITHIN.as_secs()));
            }
            Err(_) => most = most.max(kernel::resident_bytes_max_of(relay.id()).ok()),
        }
        pause = (2 * pause).min(LOOK_EVERY);
    }
}

fn ended(child: &Child, deadline: Instant) -> Result<(), String> {
    let exit = child.wait().by(deadline).wait().map_err(text)?;
    if exit.is_success() {
        return Ok(());
    }
    Err(exit.status().map_or_else(
        || "its status is not to be had".to_owned(),
        |status| status.to_string(),
    ))
}

/// Waits for a reader, which must have got so many bytes. The capacity that its pipe had.
fn read_to_end(
    mut consumer: Child,
    expected: u64,
    deadline: Instant,
) -> Result<Option<u64>, String> {
    let said = said_by(&mut consumer, deadline)?;
    ended(&consumer, deadline).map_err(|error| format!("who reads: {error}"))?;
    counted(&said, expected)
}

/// What came to its standard output, up to the end.
fn said_by(child: &mut Child, deadline: Instant) -> Result<String, String> {
    let stdout = child.stdout.take().expect("it is piped");
    let mut said = Vec::new();
    let all = stdout.receive_to_end(&mut said, SAID_BYTES_MAX);
    all.by(deadline).wait().map_err(text)?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// That so many bytes came, in a reader's words. The capacity that its pipe had.
fn counted(said: &str, expected: u64) -> Result<Option<u64>, String> {
    match consumed(said) {
        Some((bytes, capacity)) if bytes == expected => Ok(capacity),
        Some((bytes, _)) => Err(format!("{bytes} bytes came, and not {expected}")),
        None => Err(format!("who reads said {said:?}")),
    }
}

fn check_target(place: &Place, sample: Sample) -> Result<(), String> {
    if sample.tool.sink(sample.flow) != Sink::File {
        return Ok(());
    }
    let target = place.target(sample.flow);
    let bytes = std::fs::metadata(target).map_err(text)?.len();
    let expected = sample.mib * MIB;
    if bytes == expected {
        Ok(())
    } else {
        Err(format!("the target has {bytes} bytes, and not {expected}"))
    }
}
