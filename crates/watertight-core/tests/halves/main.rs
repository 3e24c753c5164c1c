//! Both halves, against what they must do.

mod corpus;
#[path = "../model/mod.rs"]
mod model;
mod read_half;
mod write_half;
