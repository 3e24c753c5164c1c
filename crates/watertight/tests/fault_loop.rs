//! The Nth-fault loop on the real kernel: for each scenario, every fallible call fails once and for ever with every code it
//! can say, and each time the account, the peer, the descriptors and whoever must be told agree.
//!
//! `WATERTIGHT_FAULT_ALL=1` runs all of it, otherwise a sample whose seed is printed (`WATERTIGHT_FAULT_SEED` repeats it).
//! `WATERTIGHT_FAULT='scenario:call#n:once|ever:code'` replays one run, `scenario:call#n+call#m:once:code+code` one with two
//! faults.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]
#![cfg(all(target_os = "linux", feature = "fault"))]

#[path = "fault_loop/children.rs"]
mod children;
#[path = "fault_loop/children_ended.rs"]
mod children_ended;
#[path = "fault_loop/children_limits.rs"]
mod children_limits;
#[path = "fault_loop/children_started.rs"]
mod children_started;
mod common;
#[path = "fault_loop/ends.rs"]
mod ends;
#[path = "fault_loop/peer.rs"]
mod peer;
#[path = "fault_loop/reading.rs"]
mod reading;
#[path = "fault_loop/rules.rs"]
mod rules;
#[path = "fault_loop/run.rs"]
mod run;
#[path = "fault_loop/scenarios.rs"]
mod scenarios;
#[path = "fault_loop/several.rs"]
mod several;
#[path = "fault_loop/special.rs"]
mod special;
#[path = "fault_loop/stage.rs"]
mod stage;
#[path = "fault_loop/stage_read.rs"]
mod stage_read;
#[path = "fault_loop/stage_write.rs"]
mod stage_write;
#[path = "fault_loop/transferring.rs"]
mod transferring;
#[path = "fault_loop/watch.rs"]
mod watch;
#[path = "fault_loop/writing.rs"]
mod writing;

use run::{Loop, Planned};
use scenarios::{CHILDREN, PIPES, Scenario};
use std::time::{Duration, Instant};

/// How long a sample may take.
const SAMPLE: Duration = Duration::from_secs(8);

/// How long one of children may take. There are fewer of these runs, and each takes longer.
const SAMPLE_OF_CHILDREN: Duration = Duration::from_secs(7);

/// How many of the shortest scenarios get two faults. None of children, each of which is long: `BY_NUMBER` and `ANOTHER_WAY` have some.
const PAIRED: usize = 10;

/// What the loop found, so that each sample has it.
const FOUND: &[&str] = &[
    // A wake that was lost: the answer was there and nobody looked.
    "file-finish:notify#1:ever:12",
    // A pipe that turned to a description of its own while the poller knew the other one.
    "pipe-large:pwritev2 (NOWAIT)#4:once:95",
    // An end of the stream that was not told.
    "one-socket-both-ways:shutdown#1:once:5",
    // An end, and a peer's leaving, that nobody had said.
    "fifo-read-before-writer:poll (now)#1:once:12",
    "pipe-until-read-left:poll (now)#1:once:12",
    // Another terminal in the place of this one.
    "leading-finish:TIOCGPTN#1:once:5",
    // Interrupted, and not called again.
    "pipe-large:EPOLL_CTL_ADD#1:once:4",
    "leading-full-abort:write (recall)#1:once:4",
    // A file that says "not now", asked without a pause and without an ear for its cancel.
    "file-finish:write#1:ever:11",
    // The second failure told instead of the first.
    "socket-finish:getpeername#1+getsockname#1:once:105+16",
    // A question asked twice, whose second answer hid the first.
    "pipe-until-read:FIONREAD#2:once:5",
    // One of a tree whose end was told, taken for alive again and again: a filter may forbid the question.
    "child-wait-tree:ppoll (child)#1:ever:22",
    "child-wait-tree-blocking:ppoll (child)#1:ever:22",
];

/// Children without a pidfd, which a filter may forbid: these calls are in no clean run.
const BY_NUMBER: &[&str] = &[
    "child-communicate:pidfd_open (child)#1:once:1",
    "child-communicate:pidfd_open (child)#1+wait4#1:once:38+1",
    "child-communicate:pidfd_open (child)#1+clone (child)#1:once:38+11",
    "child-communicate:waitid (life)#1+waitid (life)#2:once:38+1",
    "child-wait:pidfd_open (child)#1+clone (child)#1:once:38+11",
    "child-until-exit:pidfd_open (child)#1+waitid (life)#3:once:38+1",
    "child-kill:pidfd_open (child)#1+kill#2:once:38+1",
    "child-kill:pidfd_open (child)#1+killpg#1:once:1+1",
    "child-terminate:pidfd_open (child)#1+clone (child)#1:once:38+11",
    "child-terminate:pidfd_open (child)#1+kill#1:once:38+1",
    "child-terminate-tree:pidfd_open (child)#1+killpg#1:once:1+1",
    "child-wait-tree:pidfd_open (child)#1+wait4#1:once:1+1",
    "child-wait-tree-noted:pidfd_open (child)#1+clone (child)#1:once:38+11",
];

/// What is tried when something else has failed: these calls are in no clean run either.
const ANOTHER_WAY: &[&str] = &[
    // A kernel before 4.13.
    "child-terminal:TIOCGPTPEER (make)#1+open (terminal)#1:once:22+24",
    "child-terminal:TIOCGPTPEER (make)#1+TIOCSWINSZ#1:once:22+5",
];

#[test]
fn a_child_without_a_pidfd_is_held_by_its_number() {
    let mut fault_loop = Loop::new();
    for planned in BY_NUMBER {
        fault_loop.run(&Planned::parse(planned));
    }
    fault_loop.conclude();
}

#[test]
fn what_is_tried_in_the_second_place_may_fail_too() {
    let mut fault_loop = Loop::new();
    for planned in ANOTHER_WAY {
        fault_loop.run(&Planned::parse(planned));
    }
    fault_loop.conclude();
}

#[test]
fn what_was_found_stays_found() {
    let mut fault_loop = Loop::new();
    for found in FOUND {
        fault_loop.run(&Planned::parse(found));
    }
    fault_loop.conclude();
}

#[test]
fn every_call_may_fail_with_every_code() {
    fail_every_call(PIPES, PAIRED, SAMPLE);
}

#[test]
fn every_call_of_a_child_may_fail_with_every_code() {
    fail_every_call(CHILDREN, 0, SAMPLE_OF_CHILDREN);
}

/// All of it, a sample that takes so long, or the one run that is asked for, if it is one of these.
fn fail_every_call(scenarios: &'static [Scenario], paired: usize, sample: Duration) {
    let mut fault_loop = Loop::new();
    if let Some(planned) = std::env::var_os("WATERTIGHT_FAULT") {
        let planned = Planned::parse(planned.to_str().unwrap());
        if planned.is_of(scenarios) {
            fault_loop.run(&planned);
        }
        return fault_loop.conclude();
    }
    let mut planned = fault_loop.plan_all(scenarios, paired);
    if std::env::var_os("WATERTIGHT_FAULT_ALL").is_some() {
        for one in &planned {
            fault_loop.run(one);
        }
        return fault_loop.conclude();
    }
    let seed = std::env::var("WATERTIGHT_FAULT_SEED")
        .map_or_else(|_| run::seed(), |seed| seed.parse().unwrap());
    println!("WATERTIGHT_FAULT_SEED={seed}");
    run::shuffle(&mut planned, seed);
    let begin = Instant::now();
    for one in planned.iter().take_while(|_| begin.elapsed() < sample) {
        fault_loop.run(one);
    }
    fault_loop.conclude();
}
