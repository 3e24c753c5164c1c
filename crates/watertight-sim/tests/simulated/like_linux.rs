//! The simulated pipe against the real one: the same writes and reads, the same counts, to the byte.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use watertight_sim::chance::Chance;
use watertight_sim::pipe::{Got, Pipe, Shape};

const PAGE: usize = 4096;
const SLOTS: usize = 16;

#[test]
fn a_simulated_pipe_takes_and_gives_what_linux_takes_and_gives() {
    let (from, into) = rustix::pipe::pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).unwrap();
    let capacity = rustix::pipe::fcntl_getpipe_size(&into).unwrap();
    if capacity != SLOTS * PAGE || rustix::param::page_size() != PAGE {
        println!("skipped: pipes of {capacity} bytes here");
        return;
    }
    let mut chance = Chance::new(20);
    let mut model = Pipe::new(Shape::Pages {
        slots: SLOTS,
        page: PAGE,
    });
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..20_000 {
        if chance.one_in(2) {
            let len = size(&mut chance);
            let data = vec![7; len];
            let real = match rustix::io::write(&into, &data) {
                Err(Errno::AGAIN) => 0,
                answer => answer.unwrap(),
            };
            let room = model.room(len);
            assert_eq!(room, real, "of {len} bytes");
            if room > 0 {
                model.push(&data[..room]);
            }
            taken += u32::from(room > 0);
            refused += u32::from(room == 0);
        } else {
            let max = size(&mut chance);
            let mut buf = vec![0; max];
            let real = match rustix::io::read(&from, &mut buf) {
                Err(Errno::AGAIN) => 0,
                answer => answer.unwrap(),
            };
            let model = match model.pull(max) {
                Got::Bytes(data, _) => data.len(),
                Got::Empty | Got::Nothing => 0,
            };
            assert_eq!(model, real, "of {max} bytes");
        }
    }
    assert!(
        taken > 1000 && refused > 100,
        "{taken} taken, {refused} refused"
    );
}

/// Small, around a page, around PIPE_BUF, and larger than the pipe.
fn size(chance: &mut Chance) -> usize {
    match chance.index(4) {
        0 => chance.length(1, 64),
        1 => chance.length(PAGE - 3, PAGE + 3),
        2 => chance.length(1, 3 * PAGE),
        _ => chance.length(PAGE, 20 * PAGE),
    }
}
