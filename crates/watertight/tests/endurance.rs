//! Stop, drop, peer close and a panicking observer, each while an operation is in flight, over and over: nothing leaks,
//! nothing hangs, every ledger balances.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

mod common;

use common::{Accounted, PATIENCE, under_wine};
use std::sync::Arc;
use std::time::Duration;
use watertight::{
    Ending, ErrorKind, Ledger, Observer, PipeReader, PipeWriter, ReaderOptions, WriterOptions,
    pipe_with,
};

/// How often each ending is gone through. `WATERTIGHT_CYCLES` sets another number (the sanitizers' runs do).
/// Wine takes hundreds of microseconds for what a kernel does in one, so there it is fewer.
fn cycles() -> u32 {
    if let Ok(number) = std::env::var("WATERTIGHT_CYCLES") {
        return number.parse().expect("a number of cycles");
    }
    if under_wine() { 1_000 } else { 100_000 }
}

struct Panicker;

impl Observer for Panicker {
    fn progress(&self, _: Ledger) {
        std::panic::resume_unwind(Box::new("on purpose"));
    }
}

/// A pipe with an operation in flight: more is accepted than the kernel takes.
fn in_flight(data: &bytes::Bytes, options: WriterOptions) -> (PipeReader, PipeWriter) {
    let options = options.queue_bytes_max(1 << 20);
    let (reader, writer) = pipe_with(ReaderOptions::new(), options).unwrap();
    if let Err(refused) = writer.send_bytes(data.clone()).wait() {
        // The observer may hear of progress, and panic, before this call is over.
        assert_eq!(refused.error.kind, ErrorKind::ObserverPanicked);
    }
    (reader, writer)
}

/// How much memory the process may have more at the end than after its first cycles: what allocators keep, and far less
/// than a leak of a hundred bytes in each cycle.
const GROWTH_BYTES_MAX: u64 = 6 << 20;

/// Goes through `ending` over and over, and looks at the memory that stays.
fn endure(mut ending: impl FnMut(u32)) {
    let cycles = cycles();
    let first = cycles / 10;
    (0..first).for_each(&mut ending);
    let before = resident_bytes();
    (first..cycles).for_each(&mut ending);
    if let (Some(before), Some(after)) = (before, resident_bytes()) {
        let grown = after.saturating_sub(before);
        assert!(
            grown < GROWTH_BYTES_MAX,
            "{grown} bytes more after {cycles} cycles"
        );
    }
}

/// The memory this process has, where it can be asked; sanitizers keep freed memory on purpose.
fn resident_bytes() -> Option<u64> {
    if std::env::var_os("WATERTIGHT_CYCLES").is_some() {
        return None;
    }
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let resident: u64 = pages.split_whitespace().nth(1)?.parse().ok()?;
    Some(resident * 4096)
}

fn check(ledger: Ledger) {
    assert!(ledger.balances() && ledger.unsettled() == 0, "{ledger:?}");
    // Less, if it failed while it was being accepted.
    assert!(ledger.accepted() <= 150_000, "{ledger:?}");
}

fn data() -> bytes::Bytes {
    bytes::Bytes::from(vec![0x5A; 150_000])
}

#[test]
fn stop_in_flight() {
    let _accounted = Accounted::start();
    let data = data();
    endure(|_| {
        let (reader, writer) = in_flight(&data, WriterOptions::new());
        let receipt = writer.abort().within(PATIENCE).wait().unwrap();
        assert_eq!(receipt.ending(), Ending::Aborted);
        check(receipt.ledger());
        let back: usize = receipt
            .unsent()
            .iter()
            .chain(receipt.in_doubt())
            .map(|chunk| chunk.len())
            .sum();
        assert_eq!(back as u64, 150_000 - receipt.ledger().transferred());
        drop(reader);
    });
}

#[test]
fn drop_in_flight() {
    let _accounted = Accounted::start();
    let data = data();
    endure(|cycle| {
        let linger = Duration::from_secs(u64::from(cycle % 2));
        let (reader, writer) = in_flight(&data, WriterOptions::new().linger(linger));
        drop(writer);
        drop(reader);
    });
    watertight::settle().within(PATIENCE).wait().unwrap();
}

#[test]
fn peer_close_in_flight() {
    let _accounted = Accounted::start();
    let data = data();
    endure(|_| {
        let (reader, writer) = in_flight(&data, WriterOptions::new());
        drop(reader);
        let receipt = writer.finish().within(PATIENCE).wait().unwrap();
        assert!(
            matches!(receipt.ending(), Ending::Failed(cause) if cause.kind == ErrorKind::BrokenPipe)
        );
        check(receipt.ledger());
    });
}

#[test]
fn panic_in_flight() {
    let _accounted = Accounted::start();
    let data = data();
    endure(|_| {
        let options = WriterOptions::new().observer(Arc::new(Panicker));
        let (reader, writer) = in_flight(&data, options);
        // On Windows nothing is transferred until somebody reads.
        let mut buf = [0; 4096];
        let _ = reader.receive(&mut buf).within(PATIENCE).wait().unwrap();
        drop(reader);
        let receipt = writer.finish().within(PATIENCE).wait().unwrap();
        assert!(matches!(receipt.ending(), Ending::Failed(_)));
        check(receipt.ledger());
    });
}
