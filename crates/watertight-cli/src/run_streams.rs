//! The streams of `watertight run`'s command: where they come from and go to, opened before it is started.
//!
//! What is opened here is handed to the command as it is. Only what an option of ours has to see goes through our hands
//! (`supervise.rs`). All or nothing: no file is emptied before everything else is open.

use crate::address::{Address, ExecOptions, Place};
use crate::claimed::Claimed;
use crate::discarded::{Discarded, closed};
use crate::end::End;
use crate::end::NotOpened;
use crate::event::{Inbox, Mailbox};
use crate::identity::{REPORT, Thing, of_address, same_file, standard_error};
use crate::paths::{Beginning, Paths, Patience};
use crate::platform;
use crate::report_to::ReportFile;
use crate::run_flags::RunFlags;
use std::time::Instant;
use watertight::OsHandle;

const OUR_STANDARD_ERROR: &str = "our standard error";

const STDIN: End = End::Source;
const STDOUT: End = End::Destination(0);
const STDERR: End = End::Destination(1);

/// The command's streams as the flags have them; what no flag names is our own.
pub(crate) struct Wanted {
    stdin: Address,
    stdout: Address,
    stderr: Address,
    /// Standard error goes where standard output goes: one handle for both keeps the order.
    is_joined: bool,
}

/// The command's streams, open.
pub(crate) struct RunStreams {
    /// What it reads; none: what we read.
    pub(crate) stdin: Option<OsHandle>,
    /// What it writes to; none: our own stream of the same name.
    pub(crate) stdout: Option<OsHandle>,
    pub(crate) stderr: Option<OsHandle>,
    /// Standard error goes where standard output goes.
    pub(crate) is_joined: bool,
    /// What of its outputs goes nowhere.
    pub(crate) discarded: Discarded,
    /// The files to be emptied, and those that were made: they are removed again if the command is not started.
    beginning: Beginning,
}

/// One of the command's streams, or what else must not be written into.
struct Part {
    thing: Thing,
    name: String,
    end: Option<End>,
    /// We opened it. What we were started with is for whoever started us to know.
    is_opened: bool,
    is_appended: bool,
    /// It is no stream, but the report's file.
    is_report: bool,
}

impl Wanted {
    pub(crate) fn new(flags: &RunFlags) -> Self {
        let or_ours = |address: &Option<Address>, number: u32, name: &str| {
            let ours = || Address {
                text: name.to_owned(),
                bytes: None,
                place: Place::Fd(number),
                exec: ExecOptions::default(),
            };
            address.clone().unwrap_or_else(ours)
        };
        let stdout = or_ours(&flags.stdout, 1, "standard output");
        let stderr = or_ours(&flags.stderr, 2, "standard error");
        let is_one = match (number_of(&stdout), number_of(&stderr)) {
            (None, None) => stdout.text == stderr.text,
            (one, other) => one == other,
        };
        Self {
            stdin: or_ours(&flags.stdin, 0, "standard input"),
            stdout,
            stderr,
            is_joined: is_one || flags.is_one_stream(),
        }
    }

    /// The descriptors above the standard streams, to be taken before anything else could get their numbers.
    pub(crate) fn claim(&self) -> Claimed {
        Claimed::take(self.ends())
    }

    /// Those that are to be opened.
    fn ends(&self) -> Vec<(End, &Address)> {
        let mut ends = vec![(STDIN, &self.stdin), (STDOUT, &self.stdout)];
        if !self.is_joined {
            ends.push((STDERR, &self.stderr));
        }
        ends
    }

    /// Refuses a report that would be written into a stream of the command's or into our standard error. To be asked before anything else is
    /// opened: without this, the report of whatever fails next would be written there.
    pub(crate) fn refuse_report(
        &self,
        claimed: &Claimed,
        report: Option<&ReportFile>,
    ) -> Result<(), NotOpened> {
        let is_emptied = report.is_some_and(ReportFile::is_emptied);
        let thing = report.and_then(ReportFile::thing);
        let Some(thing) = thing.filter(|thing| !thing.may_be_named_twice()) else {
            return Ok(());
        };
        for (end, address) in self.ends() {
            // What is written behind what is there may go to a stream that we were started with.
            let counts = (is_emptied && thing.is_file()) || number_of(address).is_none();
            if counts && of_address(address, claimed).as_ref() == Some(&thing) {
                let text = same_file(&address.to_string(), REPORT);
                return Err(NotOpened::ReportRefused(end, text));
            }
        }
        if is_emptied && standard_error(claimed).as_ref() == Some(&thing) {
            let text = same_file(REPORT, OUR_STANDARD_ERROR);
            return Err(NotOpened::ReportRefused(STDERR, text));
        }
        Ok(())
    }

    /// Opens them all. Opening a FIFO waits for its other side: until then at most, and until a signal comes.
    pub(crate) fn open(
        mut self,
        mut claimed: Claimed,
        report: Option<&ReportFile>,
        until: Option<Instant>,
        (mailbox, inbox): (&Mailbox, &Inbox),
    ) -> Result<RunStreams, NotOpened> {
        if let Some(failure) = claimed.take_failure() {
            return Err(failure.into());
        }
        let mut paths = Paths::new(2);
        paths.open(&self.ends(), Patience::Until(until), mailbox, inbox)?;
        self.is_joined |= self.refuse_clashes(&paths, &claimed, report)?;
        let beginning = paths.beginning(&self.ends(), false)?;
        let mut take =
            |end, address: &Address, number| take(end, address, number, &mut paths, &mut claimed);
        let stdin = take(STDIN, &self.stdin, 0)?;
        let stdout = take(STDOUT, &self.stdout, 1)?;
        let stderr = if self.is_joined {
            None
        } else {
            take(STDERR, &self.stderr, 2)?
        };
        Ok(RunStreams {
            stdin,
            stdout,
            stderr,
            is_joined: self.is_joined,
            discarded: self.discarded(),
            beginning,
        })
    }

    /// What the command writes to a standard stream of ours that was closed at the start goes nowhere.
    fn discarded(&self) -> Discarded {
        let why = |address: &Address| {
            let number = number_of(address).filter(|number| *number < 3)?;
            let is_closed = platform::standard_at_start(number).is_err();
            is_closed.then(|| closed(number))
        };
        let output = why(&self.stdout);
        let stderr = if self.is_joined {
            output
        } else {
            why(&self.stderr)
        };
        Discarded { output, stderr }
    }

    /// Refuses what would destroy itself, or feed itself. Whether both outputs turned out to be one file.
    fn refuse_clashes(
        &self,
        paths: &Paths,
        claimed: &Claimed,
        report: Option<&ReportFile>,
    ) -> Result<bool, NotOpened> {
        let ends = self.ends().into_iter();
        let of_ends = ends.filter_map(|(end, address)| Part::of(end, address, paths, claimed));
        let parts: Vec<Part> = of_ends.chain(others(claimed, report)).collect();
        let mut is_joined = false;
        for (index, one) in parts.iter().enumerate() {
            for other in &parts[..index] {
                if one.thing != other.thing || !(one.is_opened || other.is_opened) {
                    continue;
                }
                let ends = (other.end, one.end);
                let is_both_outputs = ends == (Some(STDOUT), Some(STDERR));
                if is_both_outputs && one.is_opened && other.is_opened {
                    if one.is_appended != other.is_appended {
                        return Err(unlike(other, one));
                    }
                    is_joined = true;
                } else if one.thing.is_file() {
                    return Err(clash(other, one));
                } else if other.end == Some(STDIN) {
                    return Err(fed_back(other, one));
                }
            }
        }
        Ok(is_joined)
    }
}

impl RunStreams {
    /// Empties the files that are to be overwritten: everything else has gone well, and the command is started next.
    pub(crate) fn empty_files(&mut self) -> Result<(), String> {
        let emptied = self.beginning.empty_files();
        emptied.map_err(|(_, text)| format!("an output: {text}"))
    }

    /// The command was started: the files that were made for it stay.
    pub(crate) fn keep_created(self) {
        self.beginning.keep_created();
    }
}

impl Part {
    fn of(end: End, address: &Address, paths: &Paths, claimed: &Claimed) -> Option<Self> {
        let opened = match end {
            End::Destination(index) => paths.destinations[index].as_ref(),
            End::Source => paths.source.as_ref(),
        };
        let thing = match opened {
            Some(opened) => Thing::of(&opened.file),
            None => of_address(address, claimed),
        };
        Some(Self {
            thing: thing.filter(|thing| !thing.may_be_named_twice())?,
            name: address.to_string(),
            end: Some(end),
            is_opened: opened.is_some(),
            is_appended: opened.is_some_and(|opened| opened.is_appended),
            is_report: false,
        })
    }
}

/// The number, if the address is one that we were started with.
fn number_of(address: &Address) -> Option<u32> {
    match address.place {
        Place::Fd(number) => Some(number),
        Place::Exec(_) | Place::Fifo(_) | Place::File(..) => None,
    }
}

/// The report's file, and our standard error, where our messages go.
fn others(claimed: &Claimed, report: Option<&ReportFile>) -> impl Iterator<Item = Part> {
    let part = |thing: Thing, name: &str, is_opened: bool| Part {
        thing,
        name: name.to_owned(),
        end: None,
        is_opened,
        is_appended: false,
        is_report: name == REPORT,
    };
    let is_opened = report.is_some_and(ReportFile::is_emptied);
    let report = report.and_then(ReportFile::file).and_then(Thing::of);
    let report = report.filter(Thing::is_file);
    let report = report.map(|thing| part(thing, REPORT, is_opened));
    let errors = standard_error(claimed).map(|thing| part(thing, OUR_STANDARD_ERROR, false));
    report.into_iter().chain(errors)
}

fn clash(one: &Part, other: &Part) -> NotOpened {
    let end = other.end.or(one.end).unwrap_or(STDOUT);
    let text = same_file(&one.name, &other.name);
    if one.is_report || other.is_report {
        NotOpened::ReportRefused(end, text)
    } else {
        NotOpened::Failed(end, text)
    }
}

fn fed_back(one: &Part, other: &Part) -> NotOpened {
    let (end, one, other) = (other.end.unwrap_or(STDOUT), &one.name, &other.name);
    let text = format!("{one} and {other} are the same FIFO or device; write to another one");
    NotOpened::Failed(end, text)
}

fn unlike(one: &Part, other: &Part) -> NotOpened {
    let (one, other) = (&one.name, &other.name);
    let text = format!(
        "{one} and {other} are the same file, once overwritten and once appended to; write both the same way"
    );
    NotOpened::Failed(STDERR, text)
}

/// The handle of what is open already; none for our own stream of that number.
fn take(
    end: End,
    address: &Address,
    number: u32,
    paths: &mut Paths,
    claimed: &mut Claimed,
) -> Result<Option<OsHandle>, NotOpened> {
    match address.place {
        Place::Fd(own) if own == number => Ok(None),
        Place::Fd(other) => match claimed.remove(other) {
            Some(handle) => Ok(Some(handle)),
            None => platform::standard_copy(other)
                .map(Some)
                .map_err(|error| NotOpened::Failed(end, format!("cannot use {address}: {error}"))),
        },
        Place::Exec(_) | Place::Fifo(_) | Place::File(..) => {
            let opened = paths.slot(end).take().expect("every path is open by now");
            Ok(Some(opened.file.into()))
        }
    }
}
