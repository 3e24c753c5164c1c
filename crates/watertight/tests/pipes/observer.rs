//! Observers may call anything, drop the last handle, and panic.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::{Accounted, PATIENCE, fill_up, noise, read_to_end};
use std::future::Future;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Wake};
use std::time::Duration;
use watertight::{
    Ending, ErrorKind, Ledger, Observer, PipeReader, PipeWriter, ReaderOptions, Receipt,
    WriterOptions, census, pipe_with,
};

/// Passes the news on.
struct Recorder {
    progress: Sender<Ledger>,
    ended: Sender<Receipt>,
}

impl Observer for Recorder {
    fn progress(&self, ledger: Ledger) {
        self.progress.send(ledger).unwrap();
    }

    fn ended(&self, receipt: &Receipt) {
        self.ended.send(receipt.clone()).unwrap();
    }
}

fn recorder() -> (Arc<Recorder>, Receiver<Ledger>, Receiver<Receipt>) {
    let (progress, told) = channel();
    let (ended, over) = channel();
    (Arc::new(Recorder { progress, ended }), told, over)
}

fn observed(observer: Arc<dyn Observer>, options: WriterOptions) -> (PipeReader, PipeWriter) {
    pipe_with(ReaderOptions::new(), options.observer(observer)).unwrap()
}

#[test]
fn an_observer_hears_progress_in_order_and_the_end_once() {
    let _accounted = Accounted::start();
    let (recorder, told, over) = recorder();
    let (reader, writer) = observed(recorder, WriterOptions::new());
    let collector = std::thread::spawn(move || read_to_end(&reader));
    for _ in 0..20 {
        writer.send(&noise(30_000, 1)).wait().unwrap();
    }
    let receipt = writer.finish().within(PATIENCE).wait().unwrap();
    drop(writer);
    collector.join().unwrap();
    let last = over.recv_timeout(PATIENCE).unwrap();
    assert_eq!(last.ledger(), receipt.ledger());
    // The pipe dropped the observer with the last news, so both channels end.
    assert!(over.recv_timeout(PATIENCE).is_err());
    let told: Vec<u64> = told.iter().map(|ledger| ledger.transferred()).collect();
    assert!(told.windows(2).all(|pair| pair[0] < pair[1]), "{told:?}");
    assert_eq!(
        told.last(),
        Some(&600_000),
        "the last step is told before the end"
    );
}

#[test]
fn a_drop_that_nobody_waits_for_reports_to_the_observer() {
    let _accounted = Accounted::start();
    let (recorder, _told, over) = recorder();
    let options = WriterOptions::new().linger(Duration::from_millis(20));
    let (reader, writer) = observed(recorder, options);
    writer.send(&noise(200_000, 2)).wait().unwrap();
    drop(writer);
    let receipt = over.recv_timeout(PATIENCE).unwrap();
    assert_eq!(receipt.ending(), Ending::LingerExpired);
    let ledger = receipt.ledger();
    assert_eq!(ledger.accepted(), 200_000);
    assert!(ledger.discarded() > 0 && ledger.unsettled() == 0);
    drop(reader);
}

#[test]
fn settle_returns_after_the_observers_have_heard() {
    let _accounted = Accounted::start();
    for _ in 0..200 {
        let (recorder, _told, over) = recorder();
        let (reader, writer) = observed(recorder, WriterOptions::new());
        writer.send(&noise(150_000, 2)).wait().unwrap();
        drop(writer);
        let collector = std::thread::spawn(move || read_to_end(&reader));
        watertight::settle().within(PATIENCE).wait().unwrap();
        let receipt = over.try_recv().expect("settled, so its observer has heard");
        assert!(receipt.is_complete());
        collector.join().unwrap();
    }
}

/// Is busy with the ending until the test lets it go.
struct Slow {
    begun: Sender<()>,
    release: Mutex<Receiver<()>>,
}

impl Observer for Slow {
    fn ended(&self, _: &Receipt) {
        self.begun.send(()).unwrap();
        self.release.lock().unwrap().recv().unwrap();
    }
}

#[test]
fn settle_waits_for_an_observer_that_is_still_listening() {
    let _accounted = Accounted::start();
    let (begun, has_begun) = channel();
    let (release, released) = channel();
    let slow = Slow {
        begun,
        release: Mutex::new(released),
    };
    let (_reader, writer) = observed(Arc::new(slow), WriterOptions::new());
    let dropping = std::thread::spawn(move || drop(writer));
    has_begun.recv_timeout(PATIENCE).unwrap();
    let late = watertight::settle()
        .within(Duration::from_millis(20))
        .wait();
    assert_eq!(late.unwrap_err().ledgers.len(), 1);
    release.send(()).unwrap();
    watertight::settle().within(PATIENCE).wait().unwrap();
    dropping.join().unwrap();
}

#[test]
fn a_handle_given_back_is_told_as_released() {
    let _accounted = Accounted::start();
    let (recorder, _told, over) = recorder();
    let (_reader, writer) = observed(recorder, WriterOptions::new());
    drop(writer.into_handle().unwrap());
    let receipt = over.recv_timeout(PATIENCE).unwrap();
    assert_eq!(receipt.ending(), Ending::Released);
    assert!(receipt.is_complete() && receipt.error().is_none());
}

#[test]
fn a_linger_of_zero_aborts_at_once() {
    let _accounted = Accounted::start();
    let (recorder, _told, over) = recorder();
    let (reader, writer) = observed(recorder, WriterOptions::new().linger(Duration::ZERO));
    writer.send(&noise(200_000, 2)).wait().unwrap();
    drop(writer);
    let receipt = over.recv_timeout(PATIENCE).unwrap();
    assert_eq!(receipt.ending(), Ending::Aborted);
    drop(reader);
}

/// Panics at the first progress.
struct Panicker;

impl Observer for Panicker {
    fn progress(&self, _: Ledger) {
        std::panic::resume_unwind(Box::new("on purpose"));
    }
}

#[test]
fn an_observer_that_panics_fails_its_own_pipe_and_no_other() {
    let _accounted = Accounted::start();
    let panics = census().observer_panics;
    let (other_reader, other) = watertight::pipe().unwrap();
    let (reader, writer) = observed(Arc::new(Panicker), WriterOptions::new());
    writer.send(b"trigger").wait().unwrap();
    // Where a write is answered later, so is the panic.
    let refused = loop {
        match writer.try_send(b"") {
            Ok(()) => std::thread::yield_now(),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.error.kind, ErrorKind::ObserverPanicked);
    let receipt = writer.finish().within(PATIENCE).wait().unwrap();
    assert!(
        matches!(receipt.ending(), Ending::Failed(cause) if cause.kind == ErrorKind::ObserverPanicked)
    );
    assert_eq!(receipt.ledger().transferred(), 7);
    assert_eq!(read_to_end(&reader), b"trigger");
    assert_eq!(census().observer_panics, panics + 1);

    other.send(b"untouched").wait().unwrap();
    assert!(
        other
            .finish()
            .within(PATIENCE)
            .wait()
            .unwrap()
            .is_complete()
    );
    assert_eq!(read_to_end(&other_reader), b"untouched");
}

/// Panics at the end.
struct Indignant;

impl Observer for Indignant {
    fn ended(&self, _: &Receipt) {
        std::panic::resume_unwind(Box::new("on purpose"));
    }
}

/// Looks at the census when it is woken.
struct Looking(Mutex<Sender<u64>>);

impl Wake for Looking {
    fn wake(self: Arc<Self>) {
        let panics = census().observer_panics;
        // Woken once more, nobody listens.
        let _ = self.0.lock().unwrap().send(panics);
    }
}

#[test]
fn a_panic_is_counted_before_anybody_is_told_of_the_end() {
    let _accounted = Accounted::start();
    let panics = census().observer_panics;
    let (reader, writer) = observed(Arc::new(Indignant), WriterOptions::new());
    fill_up(&writer, &noise(50_000, 3));
    drop(writer);
    let (looked, seen) = channel();
    let waker = Arc::new(Looking(Mutex::new(looked))).into();
    let mut settling = std::pin::pin!(watertight::settle());
    let first = settling.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(first.is_pending());
    read_to_end(&reader);
    watertight::settle().within(PATIENCE).wait().unwrap();
    // Its waker may still be on its way: two wait for the same end.
    assert_eq!(seen.recv_timeout(PATIENCE), Ok(panics + 1));
}

/// Writes to its own pipe, and then drops the last handle to it, from inside a call.
struct Meddler {
    writer: Mutex<Option<PipeWriter>>,
    ended: Sender<Receipt>,
}

impl Observer for Meddler {
    fn progress(&self, ledger: Ledger) {
        let mut own = self.writer.lock().unwrap();
        let Some(writer) = own.as_ref() else { return };
        if ledger.accepted() == 200_000 {
            writer.send(b"!").wait().unwrap();
            assert!(writer.ledger().accepted() > ledger.accepted());
        } else {
            drop(own.take());
        }
    }

    fn ended(&self, receipt: &Receipt) {
        self.ended.send(receipt.clone()).unwrap();
    }
}

#[test]
fn an_observer_may_write_and_drop_the_last_handle() {
    let _accounted = Accounted::start();
    let (ended, over) = channel();
    let meddler = Arc::new(Meddler {
        writer: Mutex::new(None),
        ended,
    });
    let (reader, writer) = observed(meddler.clone(), WriterOptions::new());
    let data = noise(200_000, 6);
    writer.send(&data).wait().unwrap();
    // From here on the observer has the only handle, and is called on the library's thread.
    *meddler.writer.lock().unwrap() = Some(writer);
    let weak: Weak<Meddler> = Arc::downgrade(&meddler);
    drop(meddler);
    let seen = read_to_end(&reader);
    assert!(seen.strip_suffix(b"!").unwrap() == data);
    let receipt = over.recv_timeout(PATIENCE).unwrap();
    assert!(receipt.is_complete());
    watertight::settle().within(PATIENCE).wait().unwrap();
    while weak.strong_count() > 0 {
        // The library's thread is letting go of it.
        std::thread::yield_now();
    }
}

/// Tries to get a byte in whenever a piece of the message moved.
struct Interloper(Mutex<Weak<PipeWriter>>);

impl Observer for Interloper {
    fn progress(&self, ledger: Ledger) {
        if ledger.accepted() < 20_000
            && let Some(writer) = self.0.lock().unwrap().upgrade()
        {
            let _ = writer.try_send(b"X");
        }
    }
}

#[test]
fn nothing_gets_between_the_pieces_of_a_message() {
    let _accounted = Accounted::start();
    let interloper = Arc::new(Interloper(Mutex::default()));
    let options = WriterOptions::new().queue_bytes_max(1_000);
    let (reader, writer) = observed(interloper.clone(), options);
    let writer = Arc::new(writer);
    *interloper.0.lock().unwrap() = Arc::downgrade(&writer);
    let collector = std::thread::spawn(move || read_to_end(&reader));
    writer.send(&[1; 20_000]).within(PATIENCE).wait().unwrap();
    let receipt = writer.finish().within(PATIENCE).wait().unwrap();
    assert!(receipt.is_complete());
    drop(writer);
    let seen = collector.join().unwrap();
    assert!(seen.starts_with(&[1; 20_000]), "something got in between");
}

/// An observer whose destructor panics.
struct DropsBadly;

impl Observer for DropsBadly {}

impl Drop for DropsBadly {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("on purpose"));
    }
}

#[test]
fn a_panic_of_an_observers_destructor_is_counted_and_touches_no_pipe() {
    let _accounted = Accounted::start();
    let before = census().foreign_panics;
    let options = WriterOptions::new().observer(Arc::new(DropsBadly));
    let (reader, writer) = pipe_with(ReaderOptions::new(), options).unwrap();
    writer.send(b"all of it").wait().unwrap();
    let receipt = writer.finish().within(PATIENCE).wait().unwrap();
    assert!(receipt.is_complete());
    assert_eq!(read_to_end(&reader), b"all of it");
    // The destructor runs on the thread that told the end, perhaps after the end was seen here.
    let patience = std::time::Instant::now() + PATIENCE;
    while census().foreign_panics == before {
        assert!(std::time::Instant::now() < patience, "it was not counted");
        std::thread::yield_now();
    }
    assert_eq!(census().foreign_panics, before + 1);
}

/// Stops the source of a transfer once the destination has something of it.
#[cfg(unix)]
struct Stops(Mutex<Option<Arc<PipeReader>>>);

#[cfg(unix)]
impl Observer for Stops {
    fn progress(&self, _: Ledger) {
        let from = self.0.lock().unwrap().take();
        if let Some(from) = from {
            let _ = from.abort().within(PATIENCE).wait().unwrap();
        }
    }
}

/// Passes on all of a source that has six bytes and then nothing more.
#[cfg(unix)]
fn pass_on_from(from: PipeReader) {
    let from = Arc::new(from);
    let stops = Arc::new(Stops(Mutex::new(Some(from.clone()))));
    let (sink, to) = observed(stops, WriterOptions::new());
    let moving = watertight::transfer(&from, &to).within(PATIENCE);
    let failed = moving.wait().unwrap_err();
    assert_eq!(failed.end, watertight::TransferEnd::Source);
    assert_eq!((failed.error.kind, failed.bytes), (ErrorKind::Aborted, 6));
    let receipt = to.finish().within(PATIENCE).wait().unwrap();
    assert!(receipt.is_complete());
    assert_eq!(read_to_end(&sink), b"enough");
}

/// Through the buffer, for no bytes of a socket are moved inside the kernel: nothing of the source is in the transfer's hands when
/// the observer is told.
#[cfg(unix)]
#[test]
fn an_observer_of_a_destination_may_stop_the_source() {
    let _accounted = Accounted::start();
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    std::io::Write::write_all(&mut theirs, b"enough").unwrap();
    pass_on_from(PipeReader::adopt(ours).unwrap());
}

/// Inside the kernel: the move of the source is over when the observer is told.
#[cfg(target_os = "linux")]
#[test]
fn an_observer_of_a_destination_may_stop_the_source_of_a_move() {
    let _accounted = Accounted::start();
    let (from, source) = watertight::pipe().unwrap();
    source.send(b"enough").wait().unwrap();
    pass_on_from(from);
}

/// No byte of it is ever in this process, and none is written: the move itself tells it, before the transfer is answered.
#[cfg(target_os = "linux")]
#[test]
fn an_observer_hears_of_what_is_moved_inside_the_kernel() {
    let _accounted = Accounted::start();
    for is_ours in [true, false] {
        let (recorder, told, _over) = recorder();
        let (sink, to) = observed(recorder, WriterOptions::new());
        let (theirs, mut feed) = std::io::pipe().unwrap();
        let from = if is_ours {
            PipeReader::adopt_unshared(theirs, ReaderOptions::new()).unwrap()
        } else {
            PipeReader::adopt(theirs).unwrap()
        };
        let mut moved = 0;
        for piece in [&b"first"[..], &b" and second"[..]] {
            std::io::Write::write_all(&mut feed, piece).unwrap();
            let bytes = piece.len() as u64;
            let moving = watertight::transfer(&from, &to).bytes_max(bytes);
            let moving = moving.in_kernel_everywhere().within(PATIENCE);
            let done = moving.wait().unwrap();
            assert_eq!((done.bytes, done.in_kernel), (bytes, bytes));
            moved += bytes;
            let heard = told.try_recv().expect("each move is told");
            assert_eq!((heard.accepted(), heard.transferred()), (moved, moved));
        }
        assert!(told.try_recv().is_err(), "and nothing else");
        let receipt = to.finish().within(PATIENCE).wait().unwrap();
        assert!(receipt.is_complete());
        assert_eq!(read_to_end(&sink), b"first and second");
    }
}
