//! The driver on kernels of the tests' own making.

#[path = "../common/mod.rs"]
mod common;
mod disk;
mod joining;
mod left_behind;
mod seam;
mod spinning;
mod still;
mod tee_operations;
mod tee_paced;
mod tee_queues;
mod tee_slow;
mod tee_stage;
mod transfer_operations;
mod transfer_paced;
mod turns;
