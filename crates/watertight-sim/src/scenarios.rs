//! The scenarios of the fault loop: everyday programs on each kind of pipe, small enough to fail every call of theirs.

use crate::kernel::Way;
use crate::peer::Deed;
use crate::pipe::Shape;
use crate::script::{Act, PipeSetup, ReadAct, ReaderSetup, Scenario, Watcher, WriterSetup};
use std::time::Duration;

const SOON: Duration = Duration::from_millis(5);
const LATER: Duration = Duration::from_secs(30);

/// A kind of pipe, and how it is served.
struct Ground {
    name: &'static str,
    shape: Shape,
    way: Way,
    is_windows: bool,
}

const GROUNDS: [Ground; 5] = [
    Ground {
        name: "pipe",
        shape: Shape::Pages {
            slots: 2,
            page: 100,
        },
        way: Way::Readiness,
        is_windows: false,
    },
    Ground {
        name: "socket",
        shape: Shape::Buffer { bytes: 150 },
        way: Way::Readiness,
        is_windows: false,
    },
    Ground {
        name: "thread",
        shape: Shape::Pages {
            slots: 2,
            page: 100,
        },
        way: Way::Thread,
        is_windows: false,
    },
    Ground {
        name: "overlapped",
        shape: Shape::Quota {
            bytes: 200,
            messages: false,
        },
        way: Way::Overlapped,
        is_windows: true,
    },
    Ground {
        name: "messages",
        shape: Shape::Quota {
            bytes: 0,
            messages: true,
        },
        way: Way::Overlapped,
        is_windows: true,
    },
];

/// A program on one pipe: what its writer does, or its reader, or both.
struct Program {
    name: &'static str,
    writes: &'static [Act],
    also_writes: &'static [Act],
    reads: &'static [ReadAct],
    deeds: &'static [Deed],
    is_stubborn: bool,
    watcher: Watcher,
}

const fn writes(name: &'static str, writes: &'static [Act], deeds: &'static [Deed]) -> Program {
    Program {
        name,
        writes,
        also_writes: &[],
        reads: &[],
        deeds,
        is_stubborn: false,
        watcher: Watcher::Looks,
    }
}

const fn reads(name: &'static str, reads: &'static [ReadAct], deeds: &'static [Deed]) -> Program {
    Program {
        reads,
        ..writes(name, &[], deeds)
    }
}

const fn unread(program: Program) -> Program {
    Program {
        is_stubborn: true,
        ..program
    }
}

const PROGRAMS: &[Program] = &[
    writes("finish at once", &[Act::Finish], &[]),
    writes("abort at once", &[Act::Abort], &[]),
    writes("drop at once", &[Act::Drop], &[]),
    writes("write, finish", &[Act::Write(50), Act::Finish], &[]),
    writes("write, drop", &[Act::Write(50), Act::Drop], &[]),
    writes(
        "write, flush, finish",
        &[Act::WriteOwned(150), Act::Flush, Act::Finish],
        &[],
    ),
    writes(
        "large, finish",
        &[Act::Write(900), Act::Finish],
        &[Deed::Read(300), Deed::Read(600)],
    ),
    writes(
        "larger than the queue",
        &[Act::Write(2_500), Act::Flush, Act::Finish],
        &[Deed::Read(700)],
    ),
    writes(
        "vectored, until read",
        &[Act::WriteVectored(90, 3), Act::UntilRead, Act::Finish],
        &[Deed::Read(90)],
    ),
    writes(
        "until read by a deadline",
        &[Act::Write(90), Act::UntilReadWithin(SOON), Act::Finish],
        &[Deed::Read(10)],
    ),
    unread(writes("full, abort", &[Act::Write(900), Act::Abort], &[])),
    unread(writes("full, drop", &[Act::Write(900), Act::Drop], &[])),
    unread(writes(
        "full, finish by a deadline",
        &[Act::Write(900), Act::FinishWithin(SOON)],
        &[],
    )),
    unread(writes(
        "full, flush by a deadline, abort",
        &[
            Act::Write(900),
            Act::FlushWithin(SOON),
            Act::AbortWithin(SOON),
        ],
        &[],
    )),
    unread(writes(
        "full, refused, abort",
        &[
            Act::Write(900),
            Act::Try(500),
            Act::WriteWithin(500, SOON),
            Act::Abort,
        ],
        &[],
    )),
    writes(
        "given up in the line",
        &[
            Act::Write(900),
            Act::GiveUpWrite(400),
            Act::Write(10),
            Act::Finish,
        ],
        &[Deed::Read(50)],
    ),
    writes(
        "the peer leaves first",
        &[Act::Sleep(SOON), Act::Write(50), Act::Flush, Act::Finish],
        &[Deed::Close],
    ),
    writes(
        "the peer leaves in the middle",
        &[Act::Write(900), Act::Flush, Act::Finish],
        &[Deed::Read(120), Deed::Close],
    ),
    Program {
        also_writes: &[Act::Write(300), Act::Write(60), Act::Flush, Act::Drop],
        ..writes(
            "two tasks",
            &[Act::Write(200), Act::Write(700), Act::Flush, Act::Drop],
            &[Deed::Read(100)],
        )
    },
    Program {
        watcher: Watcher::Panics(1),
        ..writes(
            "an observer that panics",
            &[Act::Write(50), Act::Flush, Act::Write(50), Act::Finish],
            &[],
        )
    },
    reads(
        "read to the end",
        &[ReadAct::ReadToEnd(40), ReadAct::Abort],
        &[Deed::Write(100), Deed::Write(30)],
    ),
    reads(
        "read by a deadline",
        &[
            ReadAct::ReadWithin(40, SOON),
            ReadAct::ReadWithin(40, LATER),
            ReadAct::Drop,
        ],
        &[Deed::Write(10)],
    ),
    unread(reads(
        "read nothing, abort",
        &[ReadAct::GiveUpRead(10), ReadAct::Abort],
        &[],
    )),
    unread(reads(
        "read nothing, drop",
        &[ReadAct::GiveUpRead(10), ReadAct::Drop],
        &[],
    )),
    reads(
        "read some, abort",
        &[ReadAct::Read(5), ReadAct::Sleep(SOON), ReadAct::Abort],
        &[Deed::Write(100)],
    ),
    Program {
        reads: &[ReadAct::ReadToEnd(64), ReadAct::Abort],
        ..writes(
            "from end to end",
            &[
                Act::Write(300),
                Act::Flush,
                Act::WriteOwned(40),
                Act::Finish,
            ],
            &[],
        )
    },
    Program {
        reads: &[ReadAct::Read(30), ReadAct::Drop],
        ..writes(
            "the own reader leaves",
            &[Act::Write(400), Act::Flush, Act::Finish],
            &[],
        )
    },
];

/// A program that passes on what comes out of one pipe to another, and what the peers of both do.
struct Passing {
    name: &'static str,
    acts: &'static [Act],
    feeds: &'static [Deed],
    /// Whoever feeds does nothing after that until the run is to end.
    is_slow: bool,
    takes: &'static [Deed],
    /// Whoever takes does nothing after that until the run is to end.
    is_full: bool,
}

const PASSING: &[Passing] = &[
    Passing {
        name: "transfer, finish",
        acts: &[Act::Transfer(usize::MAX), Act::Finish],
        feeds: &[Deed::Write(120), Deed::Write(300)],
        is_slow: false,
        takes: &[Deed::Read(30)],
        is_full: false,
    },
    Passing {
        name: "a header, a deadline, the rest",
        acts: &[
            Act::Transfer(40),
            Act::Write(20),
            Act::TransferWithin(usize::MAX, SOON),
            Act::GiveUpTransfer(10),
            Act::Source(ReadAct::ReadWithin(15, SOON)),
            Act::Transfer(usize::MAX),
            Act::Finish,
        ],
        feeds: &[Deed::Write(100)],
        is_slow: true,
        takes: &[],
        is_full: false,
    },
    Passing {
        name: "transfer into a full pipe, abort",
        acts: &[
            Act::TransferWithin(usize::MAX, SOON),
            Act::Source(ReadAct::Abort),
            Act::Transfer(5),
            Act::Abort,
        ],
        feeds: &[Deed::Write(900)],
        is_slow: false,
        takes: &[],
        is_full: true,
    },
    Passing {
        name: "transfer, and the peer leaves",
        acts: &[Act::Transfer(usize::MAX), Act::Finish],
        feeds: &[Deed::Write(500)],
        is_slow: false,
        takes: &[Deed::Read(120), Deed::Close],
        is_full: false,
    },
];

/// Every scenario: each program on each ground.
#[must_use]
pub fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    for program in PROGRAMS {
        for ground in &GROUNDS {
            all.push(Scenario {
                name: format!("{}: {}", ground.name, program.name),
                is_windows: ground.is_windows,
                settles: None,
                pipes: vec![pipe(program, ground)],
            });
        }
    }
    for passing in PASSING {
        // From and to messages it is the same as from and to other pipes that are served by operations.
        all.extend(GROUNDS[..4].iter().map(|ground| pass_on(passing, ground)));
    }
    all.extend(ends_of_windows());
    all
}

fn pass_on(passing: &Passing, ground: &Ground) -> Scenario {
    let mut source = pipe(
        &reads(passing.name, &[ReadAct::Drop], passing.feeds),
        ground,
    );
    source.stubborn = passing.is_slow;
    let mut destination = pipe(&writes(passing.name, passing.acts, passing.takes), ground);
    destination.stubborn = passing.is_full;
    if let Some(writer) = &mut destination.writer {
        writer.source = Some(0);
    }
    Scenario {
        name: format!("{}: {}", ground.name, passing.name),
        is_windows: ground.is_windows,
        settles: None,
        pipes: vec![source, destination],
    }
}

fn pipe(program: &Program, ground: &Ground) -> PipeSetup {
    let mut writer = WriterSetup::of(program.writes);
    writer.watcher = program.watcher;
    if !program.also_writes.is_empty() {
        writer.tasks.push(program.also_writes.to_vec());
    }
    let has_writer = !program.writes.is_empty();
    PipeSetup {
        shape: ground.shape,
        way: ground.way,
        listening: false,
        opens: Duration::ZERO,
        writer: has_writer.then_some(writer),
        reader: (!program.reads.is_empty()).then(|| ReaderSetup::of(program.reads)),
        deeds: program.deeds.to_vec(),
        stubborn: program.is_stubborn,
    }
}

/// What only Windows has: a server that cuts the connection, a client that has not come, empty messages.
fn ends_of_windows() -> Vec<Scenario> {
    let disconnected = writes(
        "disconnected",
        &[Act::Write(600), Act::Flush, Act::Finish],
        &[Deed::Read(50), Deed::Disconnect],
    );
    let early = writes(
        "nobody has come",
        &[Act::Write(60), Act::Flush, Act::Finish],
        &[Deed::Connect],
    );
    let empty = reads(
        "empty messages",
        &[ReadAct::ReadToEnd(20), ReadAct::Abort],
        &[Deed::Empty, Deed::Write(10), Deed::Empty, Deed::Write(40)],
    );
    let cut = reads(
        "a cut connection",
        &[ReadAct::ReadToEnd(20), ReadAct::Abort],
        &[Deed::Write(10), Deed::Disconnect],
    );
    let ground = &GROUNDS[4];
    [disconnected, early, empty, cut]
        .iter()
        .map(|program| {
            let mut pipe = pipe(program, ground);
            pipe.listening = program.name == "nobody has come";
            Scenario {
                name: format!("{}: {}", ground.name, program.name),
                is_windows: true,
                settles: None,
                pipes: vec![pipe],
            }
        })
        .collect()
}
