//! One sample: so many messages through a new pipe, and what it took. A wrong count is an error, never a figure.

use super::cell::Cell;
use super::machine::cpu_time;
use super::options::Placement;
use super::{ends, kernel};
use bytes::Bytes;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// What one sample took, from the first call to the end of the stream on the reader's side.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) elapsed: Duration,
    /// Of the whole process: the writer's thread, the reader's, and whatever threads a library has.
    pub(super) cpu: Duration,
}

/// Writes so many messages and waits until the reader has read them all and seen the end.
pub(super) fn take(cell: Cell, messages: u64, placement: Placement) -> Result<Sample, String> {
    let explain = |error: String| format!("{}, {}: {error}", cell.group_name(), cell.writer_name());
    let message = Bytes::from(pattern(cell.message_bytes));
    let bytes = messages * cell.message_bytes as u64;
    let (writer, reader) = ends::make(cell.contender, cell.reader).map_err(explain)?;

    let cores = placement.cores();
    if let Some((core, _)) = cores {
        kernel::stay_on_core(core)?;
    }
    // Neither making the pipe nor starting the thread is measured.
    let ready = Barrier::new(2);
    let (outcome, elapsed, cpu) = thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let placed = cores.map_or(Ok(()), |(_, core)| kernel::stay_on_core(core));
            ready.wait();
            placed?;
            reader.read_to_end()
        });
        ready.wait();
        let (start, cpu_start) = (Instant::now(), cpu_time());
        let written = writer.write(&message, messages);
        // The writer is gone by now, so the reader ends even if writing failed.
        let read = reading.join().expect("a reader does not panic");
        (
            written.and(read),
            start.elapsed(),
            cpu_time().saturating_sub(cpu_start),
        )
    });
    let bytes_read = outcome.map_err(explain)?;
    check(bytes, bytes_read).map_err(explain)?;
    Ok(Sample {
        messages,
        bytes,
        elapsed,
        cpu,
    })
}

fn check(bytes_written: u64, bytes_read: u64) -> Result<(), String> {
    if bytes_written == bytes_read {
        return Ok(());
    }
    Err(format!(
        "{bytes_written} bytes were written, {bytes_read} were read"
    ))
}

/// Something else than zeros, lest anybody be clever.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..=250).cycle().take(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::cell;
    use crate::platform::options::Options;
    use clap::Parser;

    #[test]
    fn a_wrong_count_is_an_error() {
        assert!(check(64, 64).is_ok());
        assert!(check(64, 63).unwrap_err().contains("63 were read"));
        assert!(check(64, 65).is_err());
    }

    #[test]
    fn every_cell_brings_every_byte_to_the_reader() {
        let options = Options::try_parse_from(["watertight-bench"]).unwrap();
        for cell in cell::chosen(&options) {
            let sample = take(cell, 33, Placement::Free).unwrap();
            assert_eq!(sample.bytes, 33 * cell.message_bytes as u64, "{cell:?}");
        }
    }
}
