//! Moves inside the kernel and the two ways to wait: a thread that blocks may wait for a disk, and one that polls is an executor's, which has
//! other tasks.

use super::MayBlock;
use watertight_core::MoveScope;

impl MayBlock {
    /// O10: which moves are asked for.
    pub(crate) const fn move_scope(self, everywhere: bool) -> MoveScope {
        match (everywhere, self) {
            (false, _) => MoveScope::Alike,
            (true, Self::No) => MoveScope::WithoutDisk,
            (true, Self::Until(_)) => MoveScope::Everywhere,
        }
    }
}

/// In which waits bytes are moved inside the kernel, as far as is known. It outlives a wait: what a wait that is polled was refused for the
/// sake of a disk may be done in the next one, which blocks its thread.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum MovesIn {
    /// In all of them.
    All,
    /// In those that block their thread.
    Blocking,
    /// In none.
    None,
}

impl MovesIn {
    /// In all of them, or in none.
    pub(crate) const fn all_if(is_possible: bool) -> Self {
        if is_possible { Self::All } else { Self::None }
    }

    /// Whether bytes are moved in such a wait.
    pub(crate) const fn includes(self, may_block: MayBlock) -> bool {
        match self {
            Self::All => true,
            Self::Blocking => matches!(may_block, MayBlock::Until(_)),
            Self::None => false,
        }
    }

    /// Such a wait was refused. One that is polled gets nothing that one that blocks does not get.
    pub(crate) fn refuse(&mut self, may_block: MayBlock) {
        *self = match (*self, may_block) {
            (Self::All | Self::Blocking, MayBlock::No) => Self::Blocking,
            (Self::None, MayBlock::No) | (_, MayBlock::Until(_)) => Self::None,
        };
    }
}
