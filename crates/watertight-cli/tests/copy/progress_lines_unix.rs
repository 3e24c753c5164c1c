//! `watertight copy` to several destinations: below the progress line there is one for each of them.
#![allow(clippy::unwrap_used, reason = "the helpers are only called by tests")]

use crate::harness::{EXE, Run, copy, folder_with};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

const COLUMNS: u16 = 60;

/// A terminal's leading end, and the other one.
fn terminal(rows: u16) -> (File, OwnedFd) {
    let leading = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&leading).unwrap();
    unlockpt(&leading).unwrap();
    let size = Winsize {
        ws_row: rows,
        ws_col: COLUMNS,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&leading, size).unwrap();
    let name = ptsname(&leading, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let terminal = rustix::fs::open(&name, flags, Mode::empty()).unwrap();
    (File::from(leading), terminal)
}

/// What the program has written to its terminal.
struct Shown {
    leading: File,
    bytes: Vec<u8>,
}

impl Shown {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Whether there was more.
    fn read(&mut self) -> bool {
        let mut buf = [0; 4096];
        // An error: nobody has the terminal any more.
        let read = self.leading.read(&mut buf).unwrap_or(0);
        self.bytes.extend_from_slice(&buf[..read]);
        read > 0
    }

    /// Reads on until this text is there, behind what was there; with all that there is up to its end.
    fn until(&mut self, text: &str) -> String {
        let from = self.text().len();
        loop {
            let all = self.text();
            if let Some(at) = all[from..].find(text) {
                return all[..from + at + text.len()].to_owned();
            }
            assert!(self.read(), "it ended: {all:?}");
        }
    }
}

/// What such a terminal shows, if it has as many lines as are wanted.
#[derive(Default)]
struct Screen {
    lines: Vec<Vec<char>>,
    row: usize,
    column: usize,
}

impl Screen {
    fn of(text: &str) -> Vec<String> {
        let mut screen = Self::default();
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            match char {
                '\r' => screen.column = 0,
                '\n' => screen.row += 1,
                '\u{1b}' => {
                    let (code, rest) = code(chars.as_str());
                    screen.obey(code);
                    chars = rest.chars();
                }
                _ => screen.put(char),
            }
        }
        let lines = screen.lines.iter();
        let lines = lines.map(|line| line.iter().collect::<String>().trim_end().to_owned());
        lines.collect()
    }

    fn put(&mut self, char: char) {
        assert!(self.column < usize::from(COLUMNS) - 1, "a line is too long");
        while self.lines.len() <= self.row {
            self.lines.push(Vec::new());
        }
        let line = &mut self.lines[self.row];
        while line.len() <= self.column {
            line.push(' ');
        }
        line[self.column] = char;
        self.column += 1;
    }

    fn obey(&mut self, code: &str) {
        match code.split_at(code.len() - 1) {
            ("[", "J") => {
                self.lines.truncate(self.row + 1);
                self.erase_rest_of_line();
            }
            ("[", "K") => self.erase_rest_of_line(),
            (number, "A") => self.row -= number[1..].parse::<usize>().unwrap(),
            _ => panic!("an unknown code: {code:?}"),
        }
    }

    fn erase_rest_of_line(&mut self) {
        if let Some(line) = self.lines.get_mut(self.row) {
            line.truncate(self.column);
        }
    }
}

/// An escape code without its first character, and what follows it.
fn code(text: &str) -> (&str, &str) {
    let end = text.find(|char: char| char.is_ascii_alphabetic()).unwrap();
    text.split_at(end + 1)
}

fn start(rows: u16, folder: &std::path::Path) -> (Child, Shown) {
    let (leading, terminal) = terminal(rows);
    let mut command = Command::new(EXE);
    command
        .args(["copy", "-", "one", "two", "three"])
        .current_dir(folder)
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(terminal);
    let child = command.spawn().unwrap();
    let bytes = Vec::new();
    (child, Shown { leading, bytes })
}

#[test]
fn each_of_several_destinations_has_a_line() {
    for (rows, names, end) in [
        (24, &["one", "two", "three"][..], "\u{1b}[3A\r"),
        // The line for all, and one that is left alone.
        (4, &["one", "and 2 more"][..], "\u{1b}[2A\r"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (mut child, mut shown) = start(rows, folder.path());
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"hello").unwrap();
        let block = Screen::of(&shown.until(end));
        assert_eq!(block.len(), names.len() + 1, "{block:?}");
        for (line, name) in block[1..].iter().zip(names) {
            assert!(line.starts_with(name), "{block:?}");
            let is_destination = line.ends_with(" queued") || line.ends_with(" behind");
            assert_ne!(is_destination, name.starts_with("and "), "{block:?}");
        }
        drop(stdin);
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

/// What is said meanwhile stands above the lines, whole, and of these nothing is left.
#[test]
fn lines_are_drawn_over_nothing_but_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let (mut child, mut shown) = start(24, folder.path());
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"hello").unwrap();
    let end = "\u{1b}[3A\r";
    // Until all of it is read.
    while !Screen::of(&shown.until(end))[1].contains(" 5 B ") {}
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-USR1", &pid]).status();
    assert!(sent.unwrap().success());
    shown.until("accepted, to three");
    // Twice, so that one is drawn over the other.
    shown.until(end);
    shown.until(end);
    drop(stdin);
    while shown.read() {}
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let screen = Screen::of(&shown.text());
    assert_eq!(screen.len(), 5, "{screen:?}");
    assert_eq!(screen[0], "watertight: so far 5 bytes (5 B) read from -");
    for (line, name) in screen[1..].iter().zip(["one", "two", "three"]) {
        assert!(line.starts_with("  transferred  "), "{screen:?}");
        assert!(
            line.ends_with(&format!(" accepted, to {name}")),
            "{screen:?}"
        );
    }
    assert!(screen[4].starts_with("watertight: 5 B in "), "{screen:?}");
}

#[test]
fn without_a_terminal_lines_follow_one_another_and_have_no_codes() {
    let (folder, _, _) = folder_with(1000);
    let mut command = copy([
        "--progress",
        "always",
        "--rate",
        "2k",
        "source",
        "one",
        "two",
    ]);
    let run = Run::of(command.current_dir(folder.path()).output().unwrap()).expect(0);
    assert!(!run.stderr.contains(['\r', '\u{1b}']), "{:?}", run.stderr);
    let count = |name: &str| {
        let lines = run.stderr.lines();
        let lines = lines.filter(|line| line.starts_with(name) && line.contains(" queued"));
        lines.count()
    };
    assert!(count("one ") > 0, "{}", run.stderr);
    assert_eq!(count("one "), count("two "));
}
