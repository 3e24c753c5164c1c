//! Before the first pipe of a process there is no driver, and none is started by asking. In a process of its own, for there is only
//! one beginning.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::is_alone;
use std::time::Duration;
use watertight::{census, settle};

#[test]
fn without_any_pipe_there_is_nothing_to_count_or_to_wait_for() {
    let test = "without_any_pipe_there_is_nothing_to_count_or_to_wait_for";
    if !is_alone(module_path!(), test) {
        return;
    }
    for _ in 0..2 {
        settle().wait().unwrap();
        settle().within(Duration::ZERO).wait().unwrap();
        let census = census();
        assert_eq!((census.pipes, census.pipes_ended), (0, 0));
    }
    assert_eq!(census().wait_failures, 0);
    let (reader, writer) = watertight::pipe().unwrap();
    assert_eq!(census().pipes, 2);
    drop((reader, writer));
    settle().wait().unwrap();
}
