//! What is compared with what: workloads, contenders, and the cells of the table they make.

use super::options::Options;
use clap::ValueEnum;

const KIB: usize = 1024;

/// What is written. The names are those of the project's performance targets (W1 to W7); the others are measured by `library`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Workload {
    /// W1: large chunks, as fast as they go.
    Bulk,
    /// W2: small messages, one call each, from one producer.
    Small,
}

impl Workload {
    const ALL: [Workload; 2] = [Workload::Bulk, Workload::Small];

    pub(super) fn name(self) -> &'static str {
        match self {
            Workload::Bulk => "W1 bulk",
            Workload::Small => "W2 small",
        }
    }

    fn sizes(self) -> &'static [usize] {
        match self {
            Workload::Bulk => &[64 * KIB, 1024 * KIB],
            Workload::Small => &[16, 64, 256],
        }
    }

    /// Who takes part, and which kind of reader it writes to. The raw loop is the measure of all others.
    fn pairs(self) -> &'static [(Contender, ReaderKind)] {
        use Contender::{PrivateBuffer, Raw, Tokio, TokioBuffered, Watertight, WatertightBytes};
        match self {
            Workload::Bulk => &[
                (Raw, ReaderKind::Raw),
                (Watertight, ReaderKind::Raw),
                (WatertightBytes, ReaderKind::Raw),
                (Tokio, ReaderKind::Raw),
                (Watertight, ReaderKind::Own),
                (WatertightBytes, ReaderKind::Own),
                (Tokio, ReaderKind::Own),
            ],
            Workload::Small => &[
                (Raw, ReaderKind::Raw),
                (Watertight, ReaderKind::Raw),
                (Tokio, ReaderKind::Raw),
                (TokioBuffered, ReaderKind::Raw),
                (PrivateBuffer, ReaderKind::Raw),
                (Watertight, ReaderKind::Own),
                (Tokio, ReaderKind::Own),
            ],
        }
    }
}

/// Who writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Contender {
    /// std's `BufWriter` of 64 KiB over the raw loop: an upper bound, for what it holds is in nobody's account.
    PrivateBuffer,
    /// write(2) in a loop, on a blocking descriptor.
    Raw,
    /// tokio's `net::unix::pipe`, `write_all` on a current-thread runtime.
    Tokio,
    /// As `tokio`, behind tokio's `BufWriter` of 64 KiB.
    TokioBuffered,
    /// `PipeWriter::send(..).wait()`, borrowed bytes.
    Watertight,
    /// `PipeWriter::send_bytes(..).wait()`, owned bytes.
    WatertightBytes,
}

/// Who reads, always 64 KiB at a time and on a thread of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum ReaderKind {
    /// The contender's own type.
    Own,
    /// read(2) in a loop, on a blocking descriptor.
    Raw,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Cell {
    pub(super) workload: Workload,
    pub(super) message_bytes: usize,
    pub(super) contender: Contender,
    pub(super) reader: ReaderKind,
}

impl Cell {
    /// Whether they write the same, so that their rates can be compared.
    pub(super) fn is_compared_with(self, other: Cell) -> bool {
        (self.workload, self.message_bytes) == (other.workload, other.message_bytes)
    }

    /// Whether the others are measured by this one.
    pub(super) fn is_baseline(self) -> bool {
        self.contender == Contender::Raw && self.reader == ReaderKind::Raw
    }

    /// How many messages have that many bytes together, rounded up.
    pub(super) fn messages_in(self, bytes: u64) -> u64 {
        bytes.div_ceil(self.message_bytes as u64)
    }

    pub(super) fn writer_name(self) -> &'static str {
        match self.contender {
            Contender::PrivateBuffer => "private buffer",
            Contender::Raw => "raw",
            Contender::Tokio => "tokio",
            Contender::TokioBuffered => "tokio BufWriter",
            Contender::Watertight => "watertight send",
            Contender::WatertightBytes => "watertight send_bytes",
        }
    }

    pub(super) fn reader_name(self) -> &'static str {
        match self.reader {
            ReaderKind::Own => "own",
            ReaderKind::Raw => "raw",
        }
    }

    /// What the group of cells that are compared with each other writes.
    pub(super) fn group_name(self) -> String {
        let size = match self.message_bytes {
            bytes if bytes >= KIB * KIB => format!("{} MiB", bytes / (KIB * KIB)),
            bytes if bytes >= KIB => format!("{} KiB", bytes / KIB),
            bytes => format!("{bytes} bytes"),
        };
        match self.workload {
            Workload::Bulk => format!("{}, chunks of {size}", self.workload.name()),
            Workload::Small => format!("{}, messages of {size}", self.workload.name()),
        }
    }
}

/// The cells that the options ask for, those that are compared with each other side by side.
pub(super) fn chosen(options: &Options) -> Vec<Cell> {
    let mut cells = Vec::new();
    for workload in Workload::ALL {
        for &message_bytes in workload.sizes() {
            for &(contender, reader) in workload.pairs() {
                cells.push(Cell {
                    workload,
                    message_bytes,
                    contender,
                    reader,
                });
            }
        }
    }
    cells.retain(|cell| {
        options.only.is_none_or(|only| only == cell.workload)
            && options
                .size
                .is_none_or(|size| size == cell.message_bytes as u64)
            && options.reader.is_none_or(|reader| reader == cell.reader)
            && (options.contender.is_empty() || options.contender.contains(&cell.contender))
    });
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn chosen_by(arguments: &[&str]) -> Vec<Cell> {
        let arguments = ["watertight-bench"].iter().chain(arguments);
        chosen(&Options::try_parse_from(arguments).unwrap())
    }

    #[test]
    fn every_group_has_exactly_one_baseline_and_it_is_first() {
        let cells = chosen_by(&[]);
        for group in cells.chunk_by(|a, b| a.is_compared_with(*b)) {
            assert!(group[0].is_baseline());
            assert_eq!(group.iter().filter(|cell| cell.is_baseline()).count(), 1);
        }
        assert_eq!(cells.chunk_by(|a, b| a.is_compared_with(*b)).count(), 5);
    }

    #[test]
    fn the_options_narrow_the_choice() {
        let cells = chosen_by(&[
            "--only",
            "small",
            "--size",
            "64",
            "--contender",
            "raw,tokio",
        ]);
        assert_eq!(cells.len(), 3);
        assert!(cells.iter().all(|cell| cell.message_bytes == 64));
        assert_eq!(chosen_by(&["--reader", "own", "--size", "64K"]).len(), 3);
        assert!(chosen_by(&["--contender", "private-buffer", "--only", "bulk"]).is_empty());
    }
}
