//! The phases of a pipe's two halves, each as one table (rules S1 to S7).
//!
//! The tables know no bytes and no kernel. Both are pinned by a snapshot of every (phase, event) pair in
//! `docs/phases.txt`, and drawn in `docs/phases.dot`; a changed arrow shows in the diff.

/// Where the writing half is. A failed one has no phase: its cause is all there is (rule S1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum WritePhase {
    /// Over: nothing is queued or in flight.
    Closed,
    /// Takes no more bytes; sends the rest, then closes.
    Finishing,
    /// As `Finishing`, after a drop: nobody waits, and a bound runs.
    Lingering,
    /// Takes bytes.
    Open,
    /// Takes and sends nothing; waits for the answer to what is in flight.
    Stopping,
}

/// What can happen to the writing half.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum WriteEvent {
    /// The caller asks to stop now.
    Abort,
    /// Nothing is queued or in flight any more.
    Drained,
    /// The last handle was dropped.
    Drop,
    /// The bound on lingering or on stopping passed.
    Expired,
    /// The caller asks to send the rest and end the stream.
    Finish,
    /// The operation that was in flight is answered.
    Settled,
}

/// A pair that the driver never lets happen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Illegal;

impl WritePhase {
    /// Every phase.
    pub const ALL: [Self; 5] = [
        Self::Closed,
        Self::Finishing,
        Self::Lingering,
        Self::Open,
        Self::Stopping,
    ];

    /// The phase after an event.
    ///
    /// # Errors
    /// [`Illegal`] for a pair that cannot happen.
    pub const fn after(self, event: WriteEvent) -> Result<Self, Illegal> {
        use WriteEvent as E;
        match (self, event) {
            (Self::Closed, E::Abort | E::Drop | E::Expired | E::Finish) => Ok(Self::Closed),
            (Self::Closed, E::Drained | E::Settled) => Err(Illegal),

            (Self::Finishing, E::Abort) => Ok(Self::Stopping),
            (Self::Finishing, E::Drained) => Ok(Self::Closed),
            (Self::Finishing, E::Drop) => Ok(Self::Lingering),
            (Self::Finishing, E::Expired) => Err(Illegal),
            (Self::Finishing, E::Finish | E::Settled) => Ok(Self::Finishing),

            (Self::Lingering, E::Abort | E::Expired) => Ok(Self::Stopping),
            (Self::Lingering, E::Drained) => Ok(Self::Closed),
            (Self::Lingering, E::Drop | E::Finish) => Err(Illegal),
            (Self::Lingering, E::Settled) => Ok(Self::Lingering),

            (Self::Open, E::Abort) => Ok(Self::Stopping),
            (Self::Open, E::Drop) => Ok(Self::Lingering),
            (Self::Open, E::Expired) => Err(Illegal),
            (Self::Open, E::Finish) => Ok(Self::Finishing),
            (Self::Open, E::Drained | E::Settled) => Ok(Self::Open),

            (Self::Stopping, E::Abort | E::Drop | E::Finish) => Ok(Self::Stopping),
            (Self::Stopping, E::Drained) => Err(Illegal),
            (Self::Stopping, E::Expired | E::Settled) => Ok(Self::Closed),
        }
    }
}

impl WriteEvent {
    /// Every event.
    pub const ALL: [Self; 6] = [
        Self::Abort,
        Self::Drained,
        Self::Drop,
        Self::Expired,
        Self::Finish,
        Self::Settled,
    ];
}

/// Where the reading half is. A failed one has no phase: its cause is all there is (rule S1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ReadPhase {
    /// Over: the handle is given up.
    Closed,
    /// The stream has ended; read-ahead may still be there.
    Ended,
    /// Bytes may come.
    Open,
    /// Waits for the answer to what is in flight, then closes.
    Stopping,
}

/// What can happen to the reading half.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ReadEvent {
    /// The caller asks to stop, or the last handle was dropped.
    Abort,
    /// The kernel says that the stream has ended.
    EndOfStream,
    /// The bound on stopping passed.
    Expired,
    /// Nothing is in flight any more.
    Settled,
}

impl ReadPhase {
    /// Every phase.
    pub const ALL: [Self; 4] = [Self::Closed, Self::Ended, Self::Open, Self::Stopping];

    /// The phase after an event.
    ///
    /// # Errors
    /// [`Illegal`] for a pair that cannot happen.
    pub const fn after(self, event: ReadEvent) -> Result<Self, Illegal> {
        use ReadEvent as E;
        match (self, event) {
            (Self::Closed, E::Abort | E::Expired) => Ok(Self::Closed),
            (Self::Closed, E::EndOfStream | E::Settled) => Err(Illegal),

            (Self::Ended, E::Abort) => Ok(Self::Stopping),
            (Self::Ended, E::EndOfStream | E::Settled) => Ok(Self::Ended),
            (Self::Ended, E::Expired) => Err(Illegal),

            (Self::Open, E::Abort) => Ok(Self::Stopping),
            (Self::Open, E::EndOfStream) => Ok(Self::Ended),
            (Self::Open, E::Expired) => Err(Illegal),
            (Self::Open, E::Settled) => Ok(Self::Open),

            (Self::Stopping, E::Abort | E::EndOfStream) => Ok(Self::Stopping),
            (Self::Stopping, E::Expired | E::Settled) => Ok(Self::Closed),
        }
    }
}

impl ReadEvent {
    /// Every event.
    pub const ALL: [Self; 4] = [Self::Abort, Self::EndOfStream, Self::Expired, Self::Settled];
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::until_read::table::{Asking, AskingEvent};
    use alloc::format;
    use alloc::string::String;
    use core::fmt::Debug;

    /// One line per pair, and one arrow per pair that changes the phase.
    fn draw<P: Copy + Debug + PartialEq, E: Copy + Debug>(
        name: &str,
        phases: &[P],
        events: &[E],
        after: impl Fn(P, E) -> Result<P, Illegal>,
    ) -> (String, String) {
        let mut table = format!("{name}\n");
        let mut graph = format!("digraph {name} {{\n");
        for &phase in phases {
            for &event in events {
                let next = after(phase, event);
                let told = match next {
                    Ok(next) if next == phase => String::from("stays"),
                    Ok(next) => format!("-> {next:?}"),
                    Err(Illegal) => String::from("cannot happen"),
                };
                table += &format!(
                    "  {:<9} {:<11} {told}\n",
                    format!("{phase:?}"),
                    format!("{event:?}")
                );
                if let Ok(next) = next
                    && next != phase
                {
                    graph += &format!("  {phase:?} -> {next:?} [label=\"{event:?}\"];\n");
                }
            }
        }
        (table, graph + "}\n")
    }

    /// Compares with the committed file, or rewrites it when `WATERTIGHT_BLESS` is set.
    fn pin(file: &str, text: &str) {
        let path = format!("{}/../../docs/{file}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("WATERTIGHT_BLESS").is_some() {
            std::fs::write(&path, text).unwrap();
        }
        let committed = std::fs::read_to_string(&path)
            .unwrap_or_default()
            .replace('\r', "");
        assert!(
            committed == text,
            "docs/{file} differs from the tables; if the change is meant, run the test with WATERTIGHT_BLESS=1.\n{text}"
        );
    }

    #[test]
    fn every_pair_is_as_committed() {
        let (write, write_graph) = draw(
            "write",
            &WritePhase::ALL,
            &WriteEvent::ALL,
            WritePhase::after,
        );
        let (read, read_graph) = draw("read", &ReadPhase::ALL, &ReadEvent::ALL, ReadPhase::after);
        // What is between a pipe's phases: the question whether the peer has read everything.
        let (asking, asking_graph) =
            draw("until_read", &Asking::ALL, &AskingEvent::ALL, Asking::after);
        pin("phases.txt", &(write + &read + &asking));
        pin("phases.dot", &(write_graph + &read_graph + &asking_graph));
    }

    #[test]
    fn closed_is_final() {
        for event in WriteEvent::ALL {
            assert!(matches!(
                WritePhase::Closed.after(event),
                Ok(WritePhase::Closed) | Err(Illegal)
            ));
        }
        for event in ReadEvent::ALL {
            assert!(matches!(
                ReadPhase::Closed.after(event),
                Ok(ReadPhase::Closed) | Err(Illegal)
            ));
        }
    }
}
