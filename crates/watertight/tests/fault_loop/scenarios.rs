//! The scenarios: what users do with pipes, each short enough to be run thousands of times.

use super::ends::End;
use super::stage::Stage;
use super::transferring::Manner;
use super::{
    children_ended, children_limits, children_started, reading, several, special, transferring,
    writing,
};

/// One scenario.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&mut Stage<'_>),
    /// Calls whose failure has nobody to hear of it here, or comes after another failure: a reader that was dropped, an answer
    /// nobody waits for any more, the close of a pipe that failed before.
    pub(crate) silent: &'static [&'static str],
}

const fn heard(name: &'static str, run: fn(&mut Stage<'_>)) -> Scenario {
    Scenario {
        name,
        run,
        silent: &[],
    }
}

/// What a child's scenario may get over without a word, or is told by another call: a question is asked in several places, of which
/// one may do without the answer; a descriptor is closed when all is over.
const OF_CHILDREN: &[&str] = &[
    "FIONREAD",
    "clone (child)",
    "close",
    "getpgid",
    "kill",
    "killpg",
    "open (/proc)",
    "open (cgroup)",
    "pidfd_open (tree)",
    "pidfd_send_signal",
    "poll (now)",
    "ppoll (child)",
    "read (stat)",
    "read (stat again)",
    "wait4",
    "waitid",
    "waitid (life)",
];

/// Asked which end waits, and whether the source is over: a read and a write tell what is so.
const OF_MOVES: &[&str] = &["FIONREAD", "poll (now)"];

/// A private pipe is made, read and closed without a word: what is in it is a copy, and the buffer takes its place.
const OF_COPIES: &[&str] = &[
    "FIONREAD",
    "close",
    "open (again)",
    "pipe2",
    "pipe2 (detour)",
    "poll (now)",
    "preadv2 (NOWAIT)",
    "read",
    "splice (detour)",
];

const fn of_a_child(name: &'static str, run: fn(&mut Stage<'_>)) -> Scenario {
    Scenario {
        name,
        run,
        silent: OF_CHILDREN,
    }
}

/// Those of pipes.
pub(crate) const PIPES: &[Scenario] = &[
    heard("pipe-finish", |s| writing::finish(s, End::Pipe)),
    heard("fifo-finish", |s| writing::finish(s, End::Fifo)),
    heard("socket-finish", |s| writing::finish(s, End::Socket)),
    heard("tcp-finish", |s| writing::finish(s, End::Tcp)),
    heard("file-finish", |s| writing::finish(s, End::File)),
    heard("terminal-finish", |s| writing::finish(s, End::Terminal)),
    heard("leading-finish", |s| writing::finish(s, End::Leading)),
    heard("inherited-finish", |s| writing::finish(s, End::Inherited)),
    heard("pipe-large", |s| writing::large(s, End::Pipe)),
    heard("fifo-large", |s| writing::large(s, End::Fifo)),
    heard("socket-large", |s| writing::large(s, End::Socket)),
    heard("file-large", |s| writing::large(s, End::File)),
    heard("pipe-full-abort", |s| writing::full_abort(s, End::Pipe)),
    heard("fifo-full-abort", |s| writing::full_abort(s, End::Fifo)),
    heard("socket-full-abort", |s| writing::full_abort(s, End::Socket)),
    heard("leading-full-abort", |s| {
        writing::full_abort(s, End::Leading)
    }),
    heard("pipe-drop", |s| writing::drop_lingers(s, End::Pipe)),
    heard("socket-drop", |s| writing::drop_lingers(s, End::Socket)),
    heard("file-drop", |s| writing::drop_lingers(s, End::File)),
    heard("pipe-full-drop", |s| writing::drop_full(s, End::Pipe)),
    heard("leading-full-drop", |s| writing::drop_full(s, End::Leading)),
    heard("pipe-drop-at-once", writing::drop_at_once),
    heard("pipe-until-read", |s| writing::until_read(s, End::Pipe)),
    heard("socket-until-read", |s| writing::until_read(s, End::Socket)),
    Scenario {
        name: "pipe-until-read-given-up",
        run: writing::until_read_given_up,
        silent: &["FIONREAD", "poll (now)"],
    },
    heard("pipe-until-read-left", |s| {
        writing::until_read_left(s, End::Pipe)
    }),
    heard("socket-until-read-left", |s| {
        writing::until_read_left(s, End::Socket)
    }),
    heard("pipe-handle-back", |s| writing::handle_back(s, End::Pipe)),
    heard("socket-handle-back", |s| {
        writing::handle_back(s, End::Socket)
    }),
    Scenario {
        name: "pipe-peer-left-before",
        run: |s| writing::left_before(s, End::Pipe),
        silent: &["close"],
    },
    Scenario {
        name: "socket-peer-left-before",
        run: |s| writing::left_before(s, End::Socket),
        silent: &["close"],
    },
    Scenario {
        name: "pipe-peer-leaves",
        run: |s| writing::leaves(s, End::Pipe),
        silent: &["close"],
    },
    Scenario {
        name: "fifo-peer-leaves",
        run: |s| writing::leaves(s, End::Fifo),
        silent: &["close"],
    },
    Scenario {
        name: "socket-peer-leaves",
        run: |s| writing::leaves(s, End::Socket),
        silent: &["close"],
    },
    heard("pipe-vectored", |s| writing::vectored(s, End::Pipe)),
    heard("socket-vectored", |s| writing::vectored(s, End::Socket)),
    heard("pipe-chunks", writing::chunks),
    heard("pipe-two-messages", writing::two_messages),
    heard("pipe-observed", writing::observed),
    heard("pipe-deadline", writing::deadline),
    heard("pipe-capacity", writing::capacity),
    heard("pipe-read", |s| reading::to_end(s, End::Pipe)),
    heard("fifo-read", |s| reading::to_end(s, End::Fifo)),
    heard("socket-read", |s| reading::to_end(s, End::Socket)),
    heard("tcp-read", |s| reading::to_end(s, End::Tcp)),
    heard("file-read", |s| reading::to_end(s, End::File)),
    heard("inherited-read", |s| reading::to_end(s, End::Inherited)),
    heard("terminal-read", |s| reading::some(s, End::Terminal)),
    heard("leading-read", |s| reading::some(s, End::Leading)),
    heard("pipe-read-late", |s| reading::late(s, End::Pipe)),
    heard("fifo-read-late", |s| reading::late(s, End::Fifo)),
    heard("socket-read-late", |s| reading::late(s, End::Socket)),
    Scenario {
        name: "leading-read-late",
        run: |s| reading::late(s, End::Leading),
        silent: &["read", "poll"],
    },
    heard("pipe-read-deadline", |s| reading::deadline(s, End::Pipe)),
    Scenario {
        name: "leading-read-deadline",
        run: |s| reading::deadline(s, End::Leading),
        silent: &["read", "poll"],
    },
    Scenario {
        name: "pipe-read-drop",
        run: |s| reading::dropped(s, End::Pipe),
        silent: &["close"],
    },
    Scenario {
        name: "leading-read-drop",
        run: |s| reading::dropped(s, End::Leading),
        silent: &["close", "read", "poll"],
    },
    heard("pipe-read-handle-back", reading::handle_back),
    heard("fifo-read-before-writer", reading::before_the_writer),
    heard("file-read-ahead", reading::read_ahead),
    Scenario {
        name: "socket-read-reset",
        run: reading::reset,
        silent: &["close"],
    },
    Scenario {
        name: "transfer",
        run: |s| transferring::to_end(s, Manner::Moved),
        silent: OF_MOVES,
    },
    Scenario {
        name: "transfer-blocking",
        run: |s| transferring::to_end(s, Manner::Blocking),
        silent: OF_MOVES,
    },
    heard("transfer-through-the-buffer", |s| {
        transferring::to_end(s, Manner::Buffered)
    }),
    heard("transfer-holes", transferring::with_holes),
    heard("transfer-file-to-pipe", |s| {
        transferring::from_file(s, Manner::Unmoved)
    }),
    heard("transfer-file-to-pipe-blocking", |s| {
        transferring::from_file(s, Manner::Blocking)
    }),
    heard(
        "transfer-file-to-socket-blocking",
        transferring::file_to_socket,
    ),
    Scenario {
        name: "transfer-pipe-to-socket",
        run: |s| transferring::pipe_to_socket(s, Manner::Moved),
        silent: OF_MOVES,
    },
    Scenario {
        name: "transfer-pipe-to-socket-blocking",
        run: |s| transferring::pipe_to_socket(s, Manner::Blocking),
        silent: OF_MOVES,
    },
    heard("transfer-pipe-to-file-blocking", transferring::to_file),
    heard("transfer-pipe-to-null", transferring::to_null),
    Scenario {
        name: "transfer-to-several",
        run: several::to_end,
        silent: OF_COPIES,
    },
    heard("transfer-to-several-by-buffer", several::by_buffer),
    Scenario {
        name: "transfer-to-several-file-first",
        run: |s| several::everywhere(s, [End::File, End::Pipe]),
        silent: OF_COPIES,
    },
    Scenario {
        name: "transfer-to-several-file-last",
        run: |s| several::everywhere(s, [End::Pipe, End::File]),
        silent: OF_COPIES,
    },
    heard("transfer-to-several-files", several::files),
    heard("own-pipe", special::own_pipe),
    heard("two-pipes", special::two_pipes),
    heard("poller", special::poller),
    heard("standard-input", special::standard_input),
    heard("one-socket-both-ways", special::both_ways),
];

/// The one that leaves a control group behind, if that cannot be removed.
pub(crate) const CHILD_IN_A_CGROUP: &str = "child-cgroup-kill";

/// Those of children.
pub(crate) const CHILDREN: &[Scenario] = &[
    of_a_child("child-communicate", children_started::with_pipes),
    of_a_child("child-merged", children_started::with_one_output),
    of_a_child("child-armed", children_started::with_an_armed_input),
    of_a_child("child-terminal", children_started::with_a_terminal),
    of_a_child("child-pipe-at", children_started::with_further_pipes),
    of_a_child("child-pipeline", |s| {
        children_started::in_a_pipeline(s, false)
    }),
    of_a_child("child-pipeline-accounted", |s| {
        children_started::in_a_pipeline(s, true)
    }),
    of_a_child("child-deadline", children_limits::by_deadline),
    of_a_child("child-bound", children_limits::by_bound),
    of_a_child("child-request", children_limits::by_request),
    of_a_child("child-wait", children_ended::waited_for),
    of_a_child("child-until-exit", children_ended::seen_and_reaped),
    of_a_child("child-kill", children_ended::killed),
    of_a_child(CHILD_IN_A_CGROUP, children_ended::killed_in_a_cgroup),
    of_a_child("child-terminate", children_ended::asked),
    of_a_child("child-terminate-tree", children_ended::asked_with_its_tree),
    of_a_child("child-wait-tree", children_ended::waited_for_with_its_tree),
    of_a_child("child-wait-tree-blocking", children_ended::tree_blocked_on),
    of_a_child("child-wait-tree-noted", children_ended::tree_noted),
];
