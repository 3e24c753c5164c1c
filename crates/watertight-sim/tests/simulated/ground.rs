//! What a pipe is on a simulated kernel, for the tests that run on every kernel.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses its own part of it"
)]

#[path = "../../../watertight/tests/common/bytes.rs"]
mod bytes;

pub use bytes::{PATIENCE, fill_up, joined, noise, read_exactly, read_to_end};
use std::cell::RefCell;
use std::convert::Infallible;
use watertight::{PipeReader, PipeWriter, ReaderOptions, WriterOptions};
use watertight_sim::kernel::Way;
use watertight_sim::live::{Live, LivePipes};
use watertight_sim::pipe::Shape;

thread_local! {
    /// This test's kernel.
    static PIPES: RefCell<Option<LivePipes>> = const { RefCell::new(None) };
}

/// A test's account: its kernel has nothing left when it ends.
pub struct Accounted;

impl Accounted {
    pub fn on(shape: Shape, way: Way) -> Self {
        PIPES.set(Some(LivePipes::new(shape, way)));
        Self
    }
}

impl Drop for Accounted {
    fn drop(&mut self) {
        let pipes = PIPES.take().unwrap();
        if !std::thread::panicking() {
            assert_eq!(pipes.left_behind(PATIENCE), Vec::<String>::new());
        }
    }
}

type Ends = (PipeReader<Live>, PipeWriter<Live>);

pub fn pipe() -> Result<Ends, Infallible> {
    pipe_with(ReaderOptions::new(), WriterOptions::new())
}

pub fn pipe_with(reader: ReaderOptions, writer: WriterOptions) -> Result<Ends, Infallible> {
    PIPES.with_borrow(|pipes| Ok(pipes.as_ref().unwrap().pipe(reader, writer)))
}
