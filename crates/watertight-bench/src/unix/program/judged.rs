//! What must be and what is aimed at: each of it in words, with what was measured.

use super::flows::{Flow, Tool};
use super::rows::{Row, find};
use super::through::Through;
use crate::platform::stats::{Spread, ratios};

/// Ours may have so many times the calls of a raw loop, and so many times its processor time.
const RAW_MAX: f64 = 1.2;
/// Whose calls are compared with ours, for both find the same pipes; and whose processor time, for both make them as large. Larger pipes
/// let relay and reader run at once, on two processors, and that costs both of them: like is compared with like.
const WAITS_INSIDE: [Tool; 2] = [Tool::Splice, Tool::SpliceAlike];
/// As `WAITS_INSIDE`, of the loops that can be stopped, as ours can.
const CAN_BE_STOPPED: [Tool; 2] = [Tool::Polled, Tool::PolledAlike];
/// Memory stays below this.
const MEMORY_BYTES: u64 = 8 << 20;
const MIB: f64 = 1_048_576.0;
/// A pipe that nobody has made larger.
const ORDINARY_BYTES: u64 = 64 * 1024;
/// A copy with a hash may take so many times the slower of the copy alone and the hash alone.
const HASHED_MAX: f64 = 1.1;
/// So many times the speed of cat and of pv is aimed at between large pipes, with a producer that writes.
const WRITTEN_MIN: f64 = 1.6;
/// As `WRITTEN_MIN`, with a producer that fills its pipe by vmsplice.
const VMSPLICED_MIN: f64 = 4.0;
/// So many times the speed of a raw loop is aimed at, between large pipes.
const RAW_SPEED_MIN: f64 = 0.9;
/// So many times the speed of the best peer is aimed at, through a child.
const THROUGH_MIN: f64 = 1.2;

/// How many threads and processes an empty copy starts, or why that is not known.
pub(super) type Started = Result<f64, String>;

/// One must or aim, and what became of it.
#[derive(Debug, PartialEq)]
pub(super) struct Judgement {
    pub(super) text: String,
    pub(super) is_met: bool,
}

impl Judgement {
    pub(super) fn line(&self) -> String {
        let met = if self.is_met { "met" } else { "missed" };
        format!("{met}: {}", self.text)
    }
}

/// Whether a must is about it.
pub(super) fn is_in_a_must(tool: Tool) -> bool {
    tool.is_ours() || WAITS_INSIDE.contains(&tool)
}

/// Every must that was measured. Without perf and strace calls and threads are not, and without splice nothing that is compared with it.
pub(super) fn musts(rows: &[Row], started: &[(Flow, Started)]) -> Vec<Judgement> {
    let mut musts = Vec::new();
    for flow in Flow::ALL {
        let [calls, cpu] = beside_raw(rows, flow, WAITS_INSIDE, "must be");
        musts.extend(calls);
        // What a file on a disk costs depends on the disk: the must is about the one in memory.
        musts.extend(cpu.filter(|_| flow != Flow::PipeToFile));
    }
    musts.extend(rows.iter().filter_map(memory));
    for (flow, started) in started {
        let Ok(count) = started else {
            continue;
        };
        // Without a sign where it is a little below zero.
        let shown = count.max(0.0).abs();
        musts.push(Judgement {
            text: format!(
                "{}, an empty copy starts {shown:.0} threads, must be none",
                flow.title()
            ),
            is_met: *count < 0.5,
        });
    }
    musts
}

/// Ours beside a raw loop: calls, and processor time.
fn beside_raw(
    rows: &[Row],
    flow: Flow,
    [raw, alike]: [Tool; 2],
    wanted: &str,
) -> [Option<Judgement>; 2] {
    let Some((ours, raw)) = find(rows, flow, Tool::Ours).zip(find(rows, flow, raw)) else {
        return [None, None];
    };
    // Where everybody's pipes are wide there is no other.
    let alike = find(rows, flow, alike).unwrap_or(raw);
    [calls(ours, raw, wanted), cpu(ours, alike, wanted)]
}

fn calls(ours: &Row, raw: &Row, wanted: &str) -> Option<Judgement> {
    let (ours_calls, raw_calls) = ours.calls.zip(raw.calls)?;
    Some(Judgement {
        text: format!(
            "{}, {ours_calls:.2} calls per MiB, {:.2} of the {raw_calls:.2} of {}, {wanted} {RAW_MAX}",
            ours.flow.title(),
            ours_calls / raw_calls,
            raw.tool.name()
        ),
        is_met: ours_calls <= RAW_MAX * raw_calls,
    })
}

fn cpu(ours: &Row, raw: &Row, wanted: &str) -> Option<Judgement> {
    let Spread { median, min, max } = Spread::of(ratios(&ours.cpu_per_gb(), &raw.cpu_per_gb()))?;
    Some(Judgement {
        text: format!(
            "{}, relay CPU per GB {median:.2} ({min:.2} to {max:.2}) of that of {}, {wanted} {RAW_MAX}",
            ours.flow.title(),
            raw.tool.name()
        ),
        is_met: median <= RAW_MAX,
    })
}

fn memory(row: &Row) -> Option<Judgement> {
    let most = row.resident_bytes_max().filter(|_| row.tool.is_ours())?;
    Some(Judgement {
        text: format!(
            "{}, {}: {:.1} MiB of memory, must be below {:.0}",
            row.flow.title(),
            row.tool.name(),
            most as f64 / MIB,
            MEMORY_BYTES as f64 / MIB
        ),
        is_met: most < MEMORY_BYTES,
    })
}

/// Of which samples of ours the memory was not seen, in words: for those the must was not judged.
pub(super) fn unseen(rows: &[Row]) -> Vec<String> {
    let is_unseen = |row: &&Row| row.tool.is_ours() && row.resident_bytes_max().is_none();
    let name = |row: &Row| format!("{}, {}", row.flow.title(), row.tool.name());
    rows.iter().filter(is_unseen).map(name).collect()
}

/// Every aim that was measured.
pub(super) fn aims(rows: &[Row], through: &Through) -> Vec<Judgement> {
    let mut aims: Vec<Judgement> = aimed_at(rows)
        .into_iter()
        .filter_map(|(flow, tool, factor)| speed(rows, flow, tool, factor))
        .collect();
    aims.extend(hashed(rows));
    aims.extend(through_child(through));
    let [_, on_disk] = beside_raw(rows, Flow::PipeToFile, WAITS_INSIDE, "aim");
    aims.extend(on_disk);
    for flow in Flow::ALL {
        aims.extend(
            beside_raw(rows, flow, CAN_BE_STOPPED, "aim")
                .into_iter()
                .flatten(),
        );
    }
    aims
}

/// In which flow ours is to be so many times as fast as that tool.
fn aimed_at(rows: &[Row]) -> Vec<(Flow, Tool, f64)> {
    let mut aims = vec![
        (Flow::FileToFile, Tool::Cp, 0.95),
        (Flow::FileToNull, Tool::Cat, 0.9),
        (Flow::PipeToNull, Tool::Cat, 0.9),
        (Flow::OneToThree, Tool::Tee, 1.5),
    ];
    for (ordinary, wide, peers_min) in [
        (Flow::PipeToPipe, Flow::WidePipes, WRITTEN_MIN),
        (Flow::Vmspliced, Flow::VmsplicedWide, VMSPLICED_MIN),
    ] {
        let between_large = |flow, raw| {
            let peers = [(flow, Tool::Cat, peers_min), (flow, Tool::Pv, peers_min)];
            [(flow, raw, RAW_SPEED_MIN)].into_iter().chain(peers)
        };
        aims.extend(between_large(wide, Tool::Splice));
        let capacity = find(rows, ordinary, Tool::Ours).and_then(Row::capacity);
        if capacity.is_some_and(|bytes| bytes <= ORDINARY_BYTES) {
            aims.push((ordinary, Tool::Pv, 1.0));
        } else {
            aims.extend(between_large(ordinary, Tool::SpliceWide));
        }
    }
    aims
}

fn speed(rows: &[Row], flow: Flow, tool: Tool, factor: f64) -> Option<Judgement> {
    let (ours, other) = find(rows, flow, Tool::Ours).zip(find(rows, flow, tool))?;
    let Spread { median, min, max } = ours_to(other, ours)?;
    Some(Judgement {
        text: format!(
            "{}, {median:.2} ({min:.2} to {max:.2}) of the speed of {}, aim {factor}",
            flow.title(),
            tool.name()
        ),
        is_met: median >= factor,
    })
}

/// How many times as fast as the other ours is: the other's time over ours, round by round.
pub(super) fn ours_to(other: &Row, ours: &Row) -> Option<Spread> {
    let scale = ours.mib as f64 / other.mib as f64;
    let ratios = ratios(&other.seconds(), &ours.seconds());
    Spread::of(ratios.into_iter().map(|ratio| ratio * scale))
}

/// The time of a copy with a hash, beside the slower of the copy alone and the hash alone.
fn hashed(rows: &[Row]) -> Option<Judgement> {
    let seconds = |tool| Some(find(rows, Flow::Hashed, tool)?.seconds());
    let (copy, hash) = (seconds(Tool::Ours)?, seconds(Tool::HashAlone)?);
    let slower: Vec<f64> = copy.iter().zip(&hash).map(|(a, b)| a.max(*b)).collect();
    let Spread { median, min, max } = Spread::of(ratios(&seconds(Tool::OursHashed)?, &slower))?;
    Some(Judgement {
        text: format!(
            "{}, {median:.2} ({min:.2} to {max:.2}) of the time of the slower of copy and hash alone, aim {HASHED_MAX}",
            Flow::Hashed.title()
        ),
        is_met: median <= HASHED_MAX,
    })
}

/// The library's own way through a child.
fn through_child(through: &Through) -> impl Iterator<Item = Judgement> {
    through.to_best().into_iter().map(|(with, best, spread)| {
        let Spread { median, min, max } = spread;
        Judgement {
            text: format!(
                "through a child, {}: {median:.2} ({min:.2} to {max:.2}) of the speed of {}, the best peer, aim {THROUGH_MIN}",
                with.name(),
                best.name()
            ),
            is_met: median >= THROUGH_MIN,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::relay::Taken;
    use super::*;

    fn row(flow: Flow, tool: Tool, seconds: [f64; 3]) -> Row {
        let taken = seconds.map(|seconds| Taken {
            seconds,
            cpu_seconds: Some(seconds / 2.0),
            resident_bytes_max: Some(3 << 20),
            capacity: Some(ORDINARY_BYTES),
        });
        Row {
            flow,
            tool,
            mib: 1024,
            taken: taken.to_vec(),
            calls: None,
        }
    }

    fn one<'a>(judgements: &'a [Judgement], start: &str) -> &'a Judgement {
        let found = judgements.iter().find(|one| one.text.starts_with(start));
        found.unwrap_or_else(|| panic!("{start}: {judgements:?}"))
    }

    fn is_met(judgements: &[Judgement], start: &str) -> bool {
        one(judgements, start).is_met
    }

    #[test]
    fn calls_and_processor_time_are_compared_with_the_raw_loop() {
        let flow = Flow::PipeToPipe;
        let mut rows = [
            row(flow, Tool::Ours, [1.0, 1.0, 1.3]),
            row(flow, Tool::Splice, [1.0, 1.0, 1.0]),
        ];
        (rows[0].calls, rows[1].calls) = (Some(2.5), Some(2.0));
        let judged = musts(&rows, &[]);
        assert_eq!(
            one(&judged, "Pipe to pipe, 2.50 calls").line(),
            "missed: Pipe to pipe, 2.50 calls per MiB, 1.25 of the 2.00 of raw loop, must be 1.2"
        );
        assert!(is_met(&judged, "Pipe to pipe, relay CPU"));
        assert!(is_met(&judged, "Pipe to pipe, watertight copy: 3.0 MiB"));
        rows[0].calls = Some(2.4);
        assert!(is_met(&musts(&rows, &[]), "Pipe to pipe, 2.40 calls"));
    }

    #[test]
    fn processor_time_is_compared_where_the_pipes_are_alike() {
        let flow = Flow::PipeToPipe;
        let tools = [Tool::Ours, Tool::Splice, Tool::SpliceAlike];
        assert!(tools.into_iter().all(is_in_a_must));
        let rows = tools.map(|tool| row(flow, tool, [1.0; 3]));
        let judged = musts(&rows, &[]);
        let cpu: Vec<_> = judged
            .iter()
            .filter(|must| must.text.contains("relay CPU"))
            .collect();
        let [must] = cpu[..] else {
            panic!("one of each flow: {judged:?}");
        };
        assert!(must.text.contains(Tool::SpliceAlike.name()), "{must:?}");
    }

    /// Those who wait where nobody can stop them are in the musts, the others in the aims.
    #[test]
    fn both_kinds_of_raw_loops_are_compared_with_ours() {
        let flow = Flow::OneToThree;
        let mut rows =
            [Tool::Ours, Tool::Splice, Tool::Polled].map(|tool| row(flow, tool, [1.0; 3]));
        for (row, calls) in rows.iter_mut().zip([60.0, 48.0, 64.0]) {
            row.calls = Some(calls);
        }
        let start = "One pipe to three, 60.00 calls";
        assert!(!is_met(&musts(&rows, &[]), start));
        let aims = aims(&rows, &Through::default());
        assert!(is_met(&aims, start));
        assert!(is_met(&aims, "One pipe to three, relay CPU"));
    }

    #[test]
    fn processor_time_is_a_must_where_no_disk_has_a_part_in_it() {
        let has_cpu =
            |judged: &[Judgement]| judged.iter().any(|one| one.text.contains("relay CPU"));
        for (flow, is_must) in [(Flow::PipeToFile, false), (Flow::PipeToMemory, true)] {
            let tools = [Tool::Ours, Tool::Splice, Tool::SpliceAlike];
            let rows = tools.map(|tool| row(flow, tool, [1.0; 3]));
            assert_eq!(has_cpu(&musts(&rows, &[])), is_must);
            assert_eq!(has_cpu(&aims(&rows, &Through::default())), !is_must);
        }
    }

    #[test]
    fn memory_that_nobody_saw_is_told() {
        let mut rows = [Tool::Ours, Tool::Cat].map(|tool| row(Flow::FileToNull, tool, [1.0; 3]));
        assert!(unseen(&rows).is_empty());
        for taken in rows.iter_mut().flat_map(|row| &mut row.taken) {
            taken.resident_bytes_max = None;
        }
        assert_eq!(unseen(&rows), ["File to /dev/null, watertight copy"]);
    }

    #[test]
    fn an_empty_copy_starts_nothing() {
        let flow = Flow::FileToFile;
        assert!(musts(&[], &[(flow, Ok(0.0))])[0].is_met);
        assert!(!musts(&[], &[(flow, Ok(1.0))])[0].is_met);
        assert!(musts(&[], &[(flow, Err("no strace".into()))]).is_empty());
    }

    #[test]
    fn speeds_are_compared_round_by_round() {
        let flow = Flow::FileToFile;
        let rows = [
            row(flow, Tool::Ours, [1.0, 2.0, 1.0]),
            row(flow, Tool::Cp, [0.9, 2.0, 0.96]),
        ];
        let judged = aims(&rows, &Through::default());
        assert_eq!(judged.len(), 1, "{judged:?}");
        assert_eq!(
            judged[0].line(),
            "met: File to file, 0.96 (0.90 to 1.00) of the speed of cp, aim 0.95"
        );
    }

    #[test]
    fn ordinary_pipes_are_compared_with_pv_only() {
        let flow = Flow::PipeToPipe;
        let tools = [Tool::Ours, Tool::Cat, Tool::Pv, Tool::SpliceWide];
        let mut rows = tools.map(|tool| row(flow, tool, [1.0; 3]));
        assert_eq!(aims(&rows, &Through::default()).len(), 1);
        for taken in &mut rows[0].taken {
            taken.capacity = Some(1 << 20);
        }
        assert_eq!(aims(&rows, &Through::default()).len(), 3);
    }

    #[test]
    fn what_vmsplice_fills_is_to_go_four_times_as_fast() {
        let flow = Flow::VmsplicedWide;
        let rows = [
            row(flow, Tool::Ours, [1.0; 3]),
            row(flow, Tool::Splice, [0.95; 3]),
            row(flow, Tool::Cat, [4.1; 3]),
            row(flow, Tool::Pv, [3.9; 3]),
        ];
        let aims = aims(&rows, &Through::default());
        let met: Vec<bool> = aims.iter().map(|aim| aim.is_met).collect();
        assert_eq!(met, [true, true, false], "{aims:?}");
    }

    #[test]
    fn a_hash_is_compared_with_the_slower_of_its_parts() {
        let flow = Flow::Hashed;
        let rows = [
            row(flow, Tool::OursHashed, [2.1, 2.1, 2.1]),
            row(flow, Tool::Ours, [1.0, 1.0, 1.0]),
            row(flow, Tool::HashAlone, [2.0, 2.0, 2.0]),
        ];
        assert!(is_met(
            &aims(&rows, &Through::default()),
            "Pipe to pipe with"
        ));
    }
}
