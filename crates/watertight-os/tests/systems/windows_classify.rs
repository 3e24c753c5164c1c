//! What each Win32 code means per call, cell by cell (os-rules B.1), and that nothing is ever taken for a success.

use watertight_core::Class::{self, *};
#[cfg(windows)]
use watertight_os::classify as table;
#[cfg(not(windows))]
use watertight_os::windows::classify as table;

use table::Call::{self, *};
use table::{classify, is_success};

/// Code, and what it means to these calls; what it means to all others.
type Row = (u32, &'static [(&'static [Call], Class)], Class);

const DATA: &[Call] = &[Flush, Read, Write];

const TABLE: &[Row] = &[
    (1, &[(&[Flush], Unsupported)], Argument),
    (2, &[(&[Open, WaitName], NotFound)], Io),
    (3, &[(&[Create, Open, WaitName], Argument)], Io),
    (4, &[], Limit),
    (5, &[(&[Create], Taken), (DATA, Argument)], Denied),
    (6, &[], Bug),
    (8, &[], Limit),
    (14, &[], Limit),
    (31, &[], Io),
    (38, &[(&[Read], EndOfStream)], Io),
    (39, &[], Limit),
    (50, &[(&[Flush], Unsupported)], Argument),
    (53, &[], Io),
    (54, &[], Io),
    (59, &[], Io),
    (64, &[(DATA, Gone)], Io),
    (65, &[], Io),
    (67, &[], Io),
    (80, &[(&[Create], Taken)], Io),
    (87, &[(&[Cancel, Close, Start, Call::Wait], Bug)], Argument),
    (
        109,
        &[
            (&[Read], EndOfStream),
            (&[Connect, Disconnect, Flush, Query, Write], Gone),
        ],
        Io,
    ),
    (112, &[], Limit),
    (120, &[(&[Flush], Unsupported)], Argument),
    (121, &[(&[WaitName], Busy)], Io),
    (123, &[(&[Create, Open, WaitName], Argument)], Io),
    (161, &[(&[Create, Open, WaitName], Argument)], Io),
    (164, &[], Limit),
    (183, &[(&[Create], Taken)], Io),
    (206, &[(&[Create, Open, WaitName], Argument)], Io),
    (230, &[], NotConnected),
    (231, &[(&[Open, WaitName], Busy), (&[Create], Limit)], Io),
    (
        232,
        &[
            (&[Read], Class::Wait),
            (&[Disconnect, Flush, Query, Write], Gone),
        ],
        Io,
    ),
    (233, &[(DATA, Gone)], NotConnected),
    (234, &[(&[Query, Read], Partial)], Io),
    (258, &[(&[Connect, Read, Call::Wait, Write], Pending)], Io),
    (535, &[], Io),
    (536, &[(&[Connect], Class::Wait)], NotConnected),
    (735, &[], Bug),
    (995, &[], Aborted),
    (996, &[(&[Connect, Read, Call::Wait, Write], Pending)], Io),
    (997, &[(&[Connect, Read, Call::Wait, Write], Pending)], Io),
    (998, &[], Bug),
    (1008, &[], Denied),
    (1117, &[], Io),
    (1168, &[(&[Query], NotConnected)], Io),
    (1225, &[], Io),
    (1236, &[(DATA, Gone)], Io),
    (1295, &[], Limit),
    (1305, &[], Argument),
    (1307, &[], Argument),
    (1314, &[], Denied),
    (1336, &[], Argument),
    (1337, &[], Argument),
    (1338, &[], Argument),
    (1346, &[], Denied),
    (1368, &[], Denied),
    (1450, &[], Limit),
    (1453, &[], Limit),
    (1455, &[], Limit),
    (1784, &[], Limit),
    (1816, &[], Limit),
    (2250, &[(DATA, Gone)], Io),
    // Nobody knows these.
    (31_337, &[], Io),
    (u32::MAX, &[], Io),
];

fn expected(row: &Row, call: Call) -> Class {
    let (_, cells, others) = row;
    let cell = cells.iter().find(|(calls, _)| calls.contains(&call));
    cell.map_or(*others, |(_, class)| *class)
}

#[test]
fn every_cell_is_as_the_table_says() {
    for row in TABLE {
        for call in Call::ALL {
            assert_eq!(
                classify(call, row.0),
                expected(row, call),
                "{} on {call:?}",
                row.0
            );
        }
    }
}

#[test]
fn every_code_has_a_class_and_only_these_are_successes() {
    let other = [(Cancel, 1168), (Connect, 232), (Connect, 535)];
    for code in (0..20_000).chain([u32::MAX]) {
        let known = TABLE.iter().any(|row| row.0 == code);
        for call in Call::ALL {
            let class = classify(call, code);
            assert!(
                known || class == Io,
                "{code} on {call:?} is {class:?}, and not in the table"
            );
            let success = code == 0 || other.contains(&(call, code));
            assert_eq!(is_success(call, code), success, "{code} on {call:?}");
            // Asked all the same, a success is a failure without a meaning: never good news.
            assert!(!success || class == Io, "{code} on {call:?}");
        }
    }
}
