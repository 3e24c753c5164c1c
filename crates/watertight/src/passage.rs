//! The terms on which bytes pass from a source to one destination or to several: how many now, how long none may move, and who is shown them.
//!
//! Never here: which bytes they are, and how they get from one end to another.

pub(crate) mod idle;
pub(crate) mod inspector;
pub(crate) mod pace;
