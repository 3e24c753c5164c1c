//! What a pipe promises, on a simulated Unix whose ends can only block.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

#[path = "../../../watertight/tests/conformance/body.rs"]
mod body;

/// What a pipe is here.
mod ground {
    pub(super) use crate::ground::{
        PATIENCE, fill_up, joined, noise, pipe, pipe_with, read_exactly, read_to_end,
    };
    use watertight_sim::kernel::Way;
    use watertight_sim::pipe::Shape;

    pub(super) const KNOWS_WHAT_WAS_TAKEN: bool = true;

    pub(super) struct Accounted;

    impl Accounted {
        pub(super) fn start() -> crate::ground::Accounted {
            crate::ground::Accounted::on(
                Shape::Pages {
                    slots: 16,
                    page: 4096,
                },
                Way::Thread,
            )
        }
    }
}
