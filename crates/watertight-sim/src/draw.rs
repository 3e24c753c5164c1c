//! Draws a scenario and a plan from a seed: which pipes, which program, which faults and cruelties (swarm testing).

use crate::chance::Chance;
use crate::codes::Code;
use crate::faults::Storm;
use crate::kernel::Way;
use crate::manner::Manner;
use crate::peer::Deed;
use crate::pipe::Shape;
use crate::run::Plan;
use crate::script::{Act, PipeSetup, ReadAct, ReaderSetup, Scenario, Watcher, WriterSetup};
use std::time::Duration;

/// The scenario and the plan of a seed.
#[must_use]
pub fn draw(seed: u64) -> (Scenario, Plan) {
    draw_with(seed, Chance::new(seed), Vec::new())
}

/// The scenario and the plan of a tape of bytes: its first half decides the scenario, its second one who runs when.
#[must_use]
pub fn draw_from(tape: &[u8]) -> (Scenario, Plan) {
    let (first, second) = tape.split_at(tape.len() / 2);
    draw_with(0, Chance::with_tape(0, first.to_vec()), second.to_vec())
}

fn draw_with(seed: u64, mut chance: Chance, tape: Vec<u8>) -> (Scenario, Plan) {
    let is_windows = chance.one_in(2);
    let pipes = chance.length(1, 3);
    let pipes = (0..pipes).map(|_| pipe(&mut chance, is_windows)).collect();
    let mut scenario = Scenario {
        name: format!("seed {seed}"),
        is_windows,
        settles: chance
            .one_in(4)
            .then(|| (soon(&mut chance), soon(&mut chance))),
        pipes,
    };
    let manner = if chance.one_in(8) {
        Manner::kind()
    } else {
        Manner::draw(&mut chance)
    };
    let plan = Plan {
        nth: Vec::new(),
        storm: storm(&mut chance),
        manner,
        seed: seed ^ 0x5DEE_CE66_D1CE_1E57,
        tape,
        is_told: false,
    };
    if chance.one_in(3) {
        connect(&mut chance, &mut scenario);
    }
    (scenario, plan)
}

/// Two more pipes, whose one is passed on to the other.
fn connect(chance: &mut Chance, scenario: &mut Scenario) {
    let is_windows = scenario.is_windows;
    let mut source = pipe_of(chance, is_windows, &[(false, true), (true, true)]);
    source.opens = Duration::ZERO;
    if let Some(reader) = &mut source.reader {
        // Whoever passes it on reads it, and nobody else.
        reader.also = Vec::new();
        reader.acts = stops(chance, ReadAct::Sleep, ReadAct::Abort);
    }
    let mut destination = pipe_of(chance, is_windows, &[(true, false), (true, true)]);
    destination.opens = Duration::ZERO;
    if let Some(writer) = &mut destination.writer {
        writer.source = Some(scenario.pipes.len());
        let stops = stops(chance, Act::Sleep, Act::Abort);
        writer.tasks = vec![passes_on(chance)];
        if !stops.is_empty() {
            writer.tasks.push(stops);
        }
    }
    for mut pipe in [source, destination] {
        widen(&mut pipe);
        scenario.pipes.push(pipe);
    }
}

/// Two pipes in a row that pass on a byte at a time would take more steps than a run has.
fn widen(pipe: &mut PipeSetup) {
    if let Shape::Buffer { bytes } = &mut pipe.shape {
        *bytes = (*bytes).max(100);
    }
    if let Some(writer) = &mut pipe.writer {
        writer.op_bytes_max = writer.op_bytes_max.max(50);
    }
    if let Some(reader) = &mut pipe.reader {
        reader.read_ahead_bytes_max = reader.read_ahead_bytes_max.max(16);
    }
}

/// Now and then somebody stops it meanwhile.
fn stops<A>(chance: &mut Chance, sleep: fn(Duration) -> A, abort: A) -> Vec<A> {
    if chance.one_in(4) {
        vec![sleep(soon(chance)), abort]
    } else {
        Vec::new()
    }
}

fn passes_on(chance: &mut Chance) -> Vec<Act> {
    let mut acts: Vec<Act> = (0..chance.length(1, 6)).map(|_| passing(chance)).collect();
    if chance.one_in(2) {
        acts.push(Act::Transfer(usize::MAX));
    }
    acts.push(last_act(chance));
    acts
}

fn passing(chance: &mut Chance) -> Act {
    let len = size(chance);
    match chance.index(14) {
        0..=3 => Act::Transfer(len),
        4 | 5 => Act::TransferWithin(len, soon(chance)),
        6 => Act::TransferWithin(usize::MAX, soon(chance)),
        7 | 8 => Act::GiveUpTransfer(len),
        9 => Act::Source(ReadAct::ReadWithin(len, soon(chance))),
        10 => Act::Source(ReadAct::GiveUpRead(len)),
        11 if chance.one_in(4) => Act::Source(ReadAct::Abort),
        _ => act(chance),
    }
}

fn storm(chance: &mut Chance) -> Storm {
    if chance.one_in(3) {
        return Storm::default();
    }
    let from = chance.between(0, 60);
    let lasts = chance.pick(&[3, 20, u64::from(u32::MAX)]);
    let few = chance.one_in(2);
    let codes = if few {
        (0..chance.length(1, 3))
            .map(|_| Code(chance.index(64)))
            .collect()
    } else {
        Vec::new()
    };
    Storm {
        one_in: chance.pick(&[2, 6, 20, 60]),
        from,
        until: from + lasts,
        codes,
    }
}

fn pipe(chance: &mut Chance, is_windows: bool) -> PipeSetup {
    let ends = [(true, false), (true, false), (false, true), (true, true)];
    pipe_of(chance, is_windows, &ends)
}

/// A pipe that has one of these pairs of ends of ours: the writing one, the reading one.
fn pipe_of(chance: &mut Chance, is_windows: bool, ends: &[(bool, bool)]) -> PipeSetup {
    let way = match (chance.one_in(4), is_windows) {
        (true, false) => Way::Thread,
        (false, false) => Way::Readiness,
        (_, true) => Way::Overlapped,
    };
    let shape = if is_windows {
        Shape::Quota {
            bytes: chance.pick(&[0, 1, 100, 700]),
            messages: chance.one_in(3),
        }
    } else if chance.one_in(3) {
        Shape::Buffer {
            bytes: chance.pick(&[1, 100, 500]),
        }
    } else {
        Shape::Pages {
            slots: chance.pick(&[1, 2, 4, 16]),
            page: chance.pick(&[8, 64, 256]),
        }
    };
    let (writes, reads) = chance.pick(ends);
    PipeSetup {
        shape,
        way,
        opens: if chance.one_in(4) {
            soon(chance)
        } else {
            Duration::ZERO
        },
        listening: is_windows && writes != reads && chance.one_in(12),
        writer: writes.then(|| writer(chance)),
        reader: reads.then(|| reader(chance)),
        deeds: deeds(chance, writes, is_windows),
        stubborn: chance.one_in(3),
    }
}

fn writer(chance: &mut Chance) -> WriterSetup {
    let tasks = if chance.one_in(3) {
        chance.length(2, 3)
    } else {
        1
    };
    let watcher = match chance.index(6) {
        0 | 1 => Watcher::None,
        2 => Watcher::Panics(chance.between(1, 3) as u32),
        _ => Watcher::Looks,
    };
    WriterSetup {
        queue_bytes_max: chance.pick(&[64, 64, 500, 4_000]),
        op_bytes_max: chance.pick(&[1, 50, 1_000]),
        linger: chance.pick(&[
            Duration::ZERO,
            Duration::from_secs(1),
            Duration::from_secs(100),
        ]),
        stop_within: Duration::from_millis(chance.pick(&[50, 5_000])),
        watcher,
        source: None,
        tasks: (0..tasks).map(|_| writes(chance)).collect(),
    }
}

fn writes(chance: &mut Chance) -> Vec<Act> {
    let mut acts: Vec<Act> = (0..chance.length(0, 7)).map(|_| act(chance)).collect();
    acts.push(last_act(chance));
    acts
}

fn last_act(chance: &mut Chance) -> Act {
    match chance.index(8) {
        0..=2 => Act::Finish,
        3 => Act::Abort,
        4 => Act::AbortWithin(soon(chance)),
        5 => Act::FinishWithin(soon(chance)),
        6 => Act::FinishUnheard,
        _ => Act::Drop,
    }
}

fn act(chance: &mut Chance) -> Act {
    let len = size(chance);
    match chance.index(16) {
        0..=3 => Act::Write(len),
        4 => Act::WriteOwned(len),
        5 => Act::WriteVectored(len, chance.length(1, 5)),
        6 => Act::WriteWithin(len, soon(chance)),
        7 | 8 => Act::Try(len),
        9 => Act::GiveUpWrite(len),
        10 => Act::Flush,
        11 => Act::FlushWithin(soon(chance)),
        12 => Act::UntilRead,
        13 => Act::UntilReadWithin(soon(chance)),
        14 => Act::Sleep(soon(chance)),
        _ if chance.one_in(4) => Act::Abort,
        _ => Act::Write(len),
    }
}

fn reader(chance: &mut Chance) -> ReaderSetup {
    let mut acts: Vec<ReadAct> = (0..chance.length(0, 6)).map(|_| read_act(chance)).collect();
    if chance.one_in(2) {
        acts.push(ReadAct::ReadToEnd(chance.pick(&[1, 64, 1_000])));
    }
    acts.push(if chance.one_in(2) {
        ReadAct::Abort
    } else {
        ReadAct::Drop
    });
    ReaderSetup {
        read_ahead_bytes_max: chance.pick(&[1, 16, 500]),
        stop_within: Duration::from_millis(chance.pick(&[50, 5_000])),
        acts,
        also: if chance.one_in(4) {
            vec![ReadAct::Sleep(soon(chance)), ReadAct::Abort]
        } else {
            Vec::new()
        },
    }
}

fn read_act(chance: &mut Chance) -> ReadAct {
    let len = size(chance);
    match chance.index(6) {
        0 => ReadAct::GiveUpRead(len),
        1 => ReadAct::ReadWithin(len, soon(chance)),
        2 => ReadAct::Sleep(soon(chance)),
        _ => ReadAct::Read(len),
    }
}

fn deeds(chance: &mut Chance, reads: bool, is_windows: bool) -> Vec<Deed> {
    let many = chance.length(0, 6);
    (0..many)
        .map(|_| match (chance.index(12), reads) {
            (0, _) if chance.one_in(2) => Deed::Close,
            (1, _) if is_windows && chance.one_in(3) => Deed::Disconnect,
            (2, false) if is_windows => Deed::Empty,
            (2, false) => Deed::Reset,
            (2, true) => Deed::Intrude(size(chance)),
            (_, true) => Deed::Read(size(chance)),
            (_, false) => Deed::Write(size(chance)),
        })
        .collect()
}

fn size(chance: &mut Chance) -> usize {
    let most = chance.pick(&[1, 16, 70, 600]);
    chance.length(1, most)
}

fn soon(chance: &mut Chance) -> Duration {
    Duration::from_micros(chance.pick(&[0, 5, 500, 40_000, 3_000_000]))
}
