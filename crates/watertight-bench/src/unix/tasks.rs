//! What `library` measures: one table of who does what, how often and where, and what it costs at most.

use super::machine;
use super::options::Placement;
use super::probe::{CHUNK_BYTES, Deed, End, MESSAGE_BYTES, With, Work};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// The capacity that all have where all are to have the same.
const EQUAL_CAPACITY: usize = MIB;
/// Files that a process has open beside its pipes.
const OTHER_FILES: u64 = 100;

/// Where a probe runs that has another process as its other end.
const WITH_PEER: &[Placement] = &[Placement::Free, Placement::TwoCores, Placement::OneCore];
/// Where a probe runs that has both ends itself.
const ALONE: &[Placement] = &[Placement::Free, Placement::OneCore];

/// The parts of the project's performance targets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Section {
    Bulk,
    Small,
    RoundTrips,
    Many,
    Cycle,
    Frames,
}

impl Section {
    pub(super) const ALL: [Section; 6] = [
        Section::Bulk,
        Section::Small,
        Section::RoundTrips,
        Section::Many,
        Section::Cycle,
        Section::Frames,
    ];

    pub(super) fn title(self) -> &'static str {
        match self {
            Section::Bulk => "W1 bulk",
            Section::Small => "W2 small messages",
            Section::RoundTrips => "W3 round trips",
            Section::Many => "W4 many pipes",
            Section::Cycle => "W7 create, write, abort",
            Section::Frames => "Frames under tokio",
        }
    }

    /// What its picture's file name ends with.
    pub(super) fn file_name(self) -> &'static str {
        match self {
            Section::Bulk => "w1",
            Section::Small => "w2",
            Section::RoundTrips => "w3",
            Section::Many => "w4",
            Section::Cycle => "w7",
            Section::Frames => "frames",
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Figure {
    Allocations,
    Calls,
    Instructions,
    Switches,
}

/// What one operation costs at most, if this is to be fast.
#[derive(Clone, Copy, Debug)]
pub(super) struct Must {
    pub(super) with: With,
    pub(super) figure: Figure,
    pub(super) most: f64,
}

/// A must of watertight's, with blocking waits.
const fn must(figure: Figure, most: f64) -> Must {
    Must {
        with: With::Wait,
        figure,
        most,
    }
}

/// A must of watertight's under tokio, in its reactor.
const fn must_awaiting(figure: Figure, most: f64) -> Must {
    Must {
        with: With::Await,
        figure,
        most,
    }
}

/// The must of a reader that spins: nobody is switched away. Each read in vain is a call, so calls have none.
const SPINNING: Must = Must {
    with: With::WaitSpinning,
    figure: Figure::Switches,
    most: 0.0,
};

/// Which kernel answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kernel {
    /// One without RWF_NOSIGNAL: strace answers in its place. Counted, but not timed.
    Before6_18,
    /// The one that runs here.
    ThisOne,
}

/// One table.
pub(super) struct Task {
    pub(super) section: Section,
    pub(super) title: String,
    pub(super) unit: &'static str,
    pub(super) work: Work,
    /// Raw comes first: it is the measure of all others.
    pub(super) with: &'static [With],
    /// How often in a short run and in a long one, for counting. The short one is also the trial before timing.
    pub(super) times: (u64, u64),
    pub(super) places: &'static [Placement],
    /// Where it is counted, unless that needs two cores.
    pub(super) counted_on: Placement,
    pub(super) kernel: Kernel,
    pub(super) musts: &'static [Must],
}

impl Task {
    pub(super) fn musts_of(&self, with: With) -> impl Iterator<Item = &'static Must> {
        self.musts.iter().filter(move |must| must.with == with)
    }

    /// The contenders that are not in the table, in words, or nothing.
    pub(super) fn without(&self) -> Option<String> {
        use clap::ValueEnum;
        let absent = With::value_variants().iter();
        // To spin is an option of one of the others, and no contender of its own.
        let absent = absent.filter(|with| **with != With::WaitSpinning);
        let absent = absent.filter(|with| !self.with.contains(with));
        let names: Vec<&str> = absent.map(|with| with.name()).collect();
        (!names.is_empty()).then(|| format!("Not done with: {}.", names.join("; ")))
    }
}

/// A task from which the others differ in a few fields.
fn task(section: Section, deed: Deed) -> Task {
    Task {
        section,
        title: String::new(),
        unit: "message",
        work: Work {
            deed,
            bytes: MESSAGE_BYTES,
            count: 1,
            end: End::Pipe,
            capacity: None,
            join: false,
            peer_spins: false,
        },
        with: &[],
        times: (2_000, 12_000),
        places: WITH_PEER,
        counted_on: Placement::Free,
        kernel: Kernel::ThisOne,
        musts: &[],
    }
}

/// All of them, those of a section side by side.
pub(super) fn tasks() -> Vec<Task> {
    let mut tasks = bulk();
    tasks.extend(small());
    tasks.push(small_on_one_core());
    tasks.extend(lone());
    tasks.extend(bursts());
    tasks.push(round_trips());
    tasks.push(spinning());
    tasks.extend(many());
    tasks.push(cycle());
    tasks.push(frames());
    tasks
}

fn bulk() -> Vec<Task> {
    use With::{AsyncIo, Await, Interprocess, Raw, StdBuffered, Tokio, TokioBuffered, Wait};
    const READERS: &[With] = &[Raw, Tokio, AsyncIo, Interprocess, Wait, Await];
    const WRITERS: &[With] = &[
        Raw,
        Tokio,
        AsyncIo,
        Interprocess,
        Wait,
        With::WaitBytes,
        Await,
    ];
    /// What has no less than a buffer holds passes by the buffer: only smaller chunks go through one.
    const ALL: &[With] = &[
        Raw,
        StdBuffered,
        Tokio,
        TokioBuffered,
        AsyncIo,
        Interprocess,
        Wait,
        With::WaitBytes,
        Await,
    ];
    let sizes = [
        (8 * KIB, None),
        (CHUNK_BYTES, None),
        (CHUNK_BYTES, Some(EQUAL_CAPACITY)),
        (MIB, None),
    ];
    let mut tasks = Vec::new();
    for (deed, what) in [(Deed::BulkRead, "a reader"), (Deed::BulkWrite, "a writer")] {
        for (bytes, capacity) in sizes {
            let pipe = capacity.map_or("", |_| ", everybody's pipe of 1 MiB");
            let mut task = task(Section::Bulk, deed);
            task.title = format!("W1 bulk, {what} of {}{pipe}", size(bytes));
            task.unit = "MiB";
            (task.work.bytes, task.work.capacity) = (bytes, capacity);
            task.with = match (deed, bytes) {
                (Deed::BulkRead, _) => READERS,
                (_, CHUNK_BYTES..) => WRITERS,
                _ => ALL,
            };
            task.times = (8, 32);
            if (deed, bytes, capacity) == (Deed::BulkRead, CHUNK_BYTES, None) {
                task.musts = const { &[must(Figure::Calls, 46.0)] };
                task.times = (20, 120);
            }
            tasks.push(task);
        }
    }
    tasks
}

/// Each of size, producers and end changes while the others stay: not every one with every other.
fn small() -> Vec<Task> {
    use With::{AsyncIo, Await, Interprocess, Raw, StdBuffered, Tokio, TokioBuffered, Wait};
    /// One producer, into a pipe.
    const ONE: &[With] = &[
        Raw,
        StdBuffered,
        Tokio,
        TokioBuffered,
        AsyncIo,
        Interprocess,
        Wait,
        With::WaitBytes,
        Await,
    ];
    /// A buffer has one owner.
    const SEVERAL: &[With] = &[Raw, Tokio, AsyncIo, Wait, With::WaitBytes, Await];
    const DENSE: &[Must] = &[
        must(Figure::Calls, 0.02),
        must_awaiting(Figure::Calls, 0.02),
    ];
    /// A write is a pipe's atomic bytes at most: 64 messages.
    const DENSE_SHARED: &[Must] = &[
        must(Figure::Calls, 0.03),
        must_awaiting(Figure::Calls, 0.03),
    ];
    /// For all others it is the pipe of before.
    const SHARED: &[With] = &[Raw, Wait, Await];
    const SOCKET: &[With] = &[Raw, StdBuffered, Tokio, TokioBuffered, AsyncIo, Wait, Await];
    let table = [
        (16, 1, End::Pipe, ONE),
        (64, 1, End::Pipe, ONE),
        (256, 1, End::Pipe, ONE),
        (64, 2, End::Pipe, SEVERAL),
        (64, 4, End::Pipe, SEVERAL),
        (64, 1, End::SharedPipe, SHARED),
        (64, 4, End::SharedPipe, SHARED),
        (64, 1, End::Socket, SOCKET),
    ];
    table
        .into_iter()
        .map(|(bytes, producers, end, with)| {
            let from = if producers == 1 {
                "one producer".to_owned()
            } else {
                format!("{producers} producers")
            };
            let into = match end {
                End::Pipe => "a pipe of its own",
                End::SharedPipe => "a shared pipe",
                End::Socket => "a local socket",
            };
            let mut task = task(Section::Small, Deed::Small);
            task.title = format!("W2 messages of {}, {from}, {into}", size(bytes));
            (task.work.bytes, task.work.count) = (bytes, producers);
            (task.work.end, task.with) = (end, with);
            task.times = (2_000, 12_000);
            task.musts = match (bytes, producers, end) {
                (64, 1, End::Pipe | End::Socket) => DENSE,
                (64, 1, End::SharedPipe) => DENSE_SHARED,
                _ => &[],
            };
            if !task.musts.is_empty() {
                // The first ones go by themselves.
                task.times = (20_000, 120_000);
            }
            task
        })
        .collect()
}

/// Who takes turns with its reader finds less to join.
fn small_on_one_core() -> Task {
    use With::{Await, Wait};
    Task {
        title: "W2 messages of 64 bytes, one producer, a pipe of its own, counted on one CPU"
            .into(),
        with: const { &[Wait, Await] },
        times: (20_000, 120_000),
        places: &[],
        counted_on: Placement::OneCore,
        musts: const {
            &[
                must(Figure::Calls, 0.05),
                must_awaiting(Figure::Calls, 0.05),
            ]
        },
        ..task(Section::Small, Deed::Small)
    }
}

fn lone() -> Vec<Task> {
    use With::{AsyncIo, Await, Interprocess, Raw, Tokio, Wait};
    const MUSTS: &[Must] = &[
        must(Figure::Calls, 1.0),
        must(Figure::Instructions, 900.0),
        must(Figure::Allocations, 0.0),
    ];
    let lone = || Task {
        times: (1_024, 9_216),
        places: ALONE,
        ..task(Section::Small, Deed::Lone)
    };
    let mut pipe = lone();
    pipe.title = "W2 a lone message of 64 bytes, a pipe".into();
    pipe.with = const { &[Raw, Tokio, AsyncIo, Interprocess, Wait, Await] };
    pipe.musts = MUSTS;
    let mut socket = lone();
    socket.title = "W2 a lone message of 64 bytes, a local socket".into();
    socket.work.end = End::Socket;
    socket.with = const { &[Raw, Tokio, AsyncIo, Wait, Await] };
    let mut before = lone();
    before.title = "W2 a lone message of 64 bytes, a pipe, a kernel before 6.18".into();
    before.with = const { &[Wait] };
    before.places = &[];
    before.kernel = Kernel::Before6_18;
    before.musts = const { &[must(Figure::Calls, 3.0)] };
    vec![pipe, socket, before]
}

fn bursts() -> Vec<Task> {
    use With::{AsyncIo, Await, Interprocess, Raw, StdBuffered, Tokio, TokioBuffered, Wait};
    let messages = [4, 16, 64];
    messages
        .into_iter()
        .map(|count| {
            let mut task = task(Section::Small, Deed::Burst);
            task.title =
                format!("W2 bursts of {count} messages of 64 bytes, until the reader has them all");
            task.unit = "burst";
            task.work.count = count;
            task.with = const {
                &[
                    Raw,
                    StdBuffered,
                    Tokio,
                    TokioBuffered,
                    AsyncIo,
                    Interprocess,
                    Wait,
                    Await,
                ]
            };
            task.times = (500, 2_500);
            task
        })
        .collect()
}

fn round_trips() -> Task {
    use With::{AsyncIo, Await, Interprocess, Raw, Tokio, Wait, WaitSpinning};
    Task {
        title: "W3 round trips of 64 bytes, one side".into(),
        unit: "round",
        with: const { &[Raw, Tokio, AsyncIo, Interprocess, Wait, WaitSpinning, Await] },
        musts: const {
            &[
                must(Figure::Calls, 4.0),
                must(Figure::Switches, 1.0),
                SPINNING,
                must_awaiting(Figure::Calls, 5.0),
                must_awaiting(Figure::Switches, 1.0),
            ]
        },
        ..task(Section::RoundTrips, Deed::RoundTrip)
    }
}

/// On two cores only: a peer that spins would keep a contender away on one.
fn spinning() -> Task {
    let mut task = task(Section::RoundTrips, Deed::RoundTrip);
    task.title = "W3 round trips of 64 bytes, one side, with an other end that spins".into();
    task.unit = "round";
    task.work.peer_spins = true;
    task.with = const { &[With::Raw, With::Tokio, With::Wait, With::WaitSpinning] };
    task.places = const { &[Placement::TwoCores] };
    task.musts = const { &[SPINNING] };
    task
}

fn many() -> Vec<Task> {
    let counts = pipe_counts(machine::open_files_max());
    counts
        .into_iter()
        .map(|count| {
            let mut task = task(Section::Many, Deed::Many);
            task.title = format!("W4 a message of 64 bytes in one of {count} pipes, in turn");
            task.work.count = count;
            task.with = const { &[With::Raw, With::Tokio, With::Await] };
            task.times = (count as u64, 4 * count as u64);
            task.places = ALONE;
            task
        })
        .collect()
}

/// The ends of a pipe, and a reader's second descriptor in a runtime's reactor.
const FILES_PER_PIPE: u64 = 3;

/// How many pipes a process can have: of 1,000 and 9,000, what the limit of open files allows.
pub(super) fn pipe_counts(open_files_max: u64) -> Vec<usize> {
    let counts = [1_000, 9_000].into_iter();
    counts
        .filter(|count| FILES_PER_PIPE * *count as u64 + OTHER_FILES <= open_files_max)
        .collect()
}

fn cycle() -> Task {
    use With::{AsyncIo, Await, Raw, Tokio, Wait};
    Task {
        title: "W7 create, fill, write, abort, close".into(),
        unit: "cycle",
        with: const { &[Raw, Tokio, AsyncIo, Wait, Await] },
        times: (200, 1_200),
        places: ALONE,
        musts: const { &[must(Figure::Calls, 12.0)] },
        ..task(Section::Cycle, Deed::Cycle)
    }
}

fn frames() -> Task {
    Task {
        title: "Frames under tokio: round trips of 4 bytes of length and 60 of content, one side"
            .into(),
        unit: "round",
        with: const { &[With::Raw, With::Tokio, With::Await] },
        ..task(Section::Frames, Deed::Frame)
    }
}

fn size(bytes: usize) -> String {
    match bytes {
        MIB.. => format!("{} MiB", bytes / MIB),
        KIB.. => format!("{} KiB", bytes / KIB),
        _ => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_timed_is_compared_with_raw() {
        for task in tasks() {
            let is_timed = !task.places.is_empty();
            assert_eq!(
                is_timed,
                task.with.first() == Some(&With::Raw),
                "{}",
                task.title
            );
        }
    }

    #[test]
    fn every_title_is_there_once() {
        let tasks = tasks();
        for task in &tasks {
            let same = tasks.iter().filter(|other| other.title == task.title);
            assert_eq!(same.count(), 1, "{}", task.title);
            assert!(task.times.0 < task.times.1);
        }
    }

    #[test]
    fn every_must_is_of_somebody_in_its_table() {
        for task in tasks() {
            assert!(task.musts.iter().all(|must| task.with.contains(&must.with)));
        }
    }

    #[test]
    fn tasks_of_a_section_stand_side_by_side() {
        let tasks = tasks();
        let sections = tasks.chunk_by(|a, b| a.section == b.section);
        let sections: Vec<Section> = sections.map(|tasks| tasks[0].section).collect();
        // Where few files may be open there are no many pipes.
        let mut expected = Section::ALL.to_vec();
        expected.retain(|section| *section != Section::Many || sections.contains(section));
        assert_eq!(sections, expected);
    }

    #[test]
    fn who_is_not_in_a_table_is_named() {
        assert_eq!(
            frames().without().unwrap(),
            "Not done with: std BufWriter; tokio BufWriter; async-io; interprocess; \
             watertight, .wait(); watertight, send_bytes, .wait()."
        );
        assert_eq!(bulk()[4].without(), None);
    }

    #[test]
    fn no_more_pipes_than_files_may_be_open() {
        assert!(pipe_counts(1_024).is_empty());
        assert_eq!(pipe_counts(4_096), [1_000]);
        assert_eq!(pipe_counts(20_000), [1_000]);
        assert_eq!(pipe_counts(30_000), [1_000, 9_000]);
        assert_eq!(pipe_counts(u64::MAX), [1_000, 9_000]);
    }
}
