//! Children of a process that has closed standard streams after its start: they have the streams that they are to have, and nothing
//! of ours.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]
#![allow(clippy::exit, reason = "a child ends without the harness")]

use crate::common::{Accounted, PATIENCE, test_name};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use watertight::{Command, Exit, Input, Limits, Outcome, Output, StartStep};

/// Makes this test binary a process that closes these of its standard streams, and starts children then.
const CLOSES: &str = "WATERTIGHT_CLOSES";

/// What it says when all is well.
const WELL: &str = "all is well";

/// Uses all three streams, and then says what they are and which descriptors there are: in a file, and in shells within the shell, so that no
/// redirection shows.
const LOOK: &str = r#"read -r line; echo "out $line"; echo "err $line" >&2
for n in 0 1 2; do (readlink /proc/$$/fd/$n >>"$1"); done
(ls /proc/$$/fd >>"$1")
exit 0"#;

/// What a child has seen.
#[derive(Debug)]
struct Seen {
    /// What the three streams are, as far as they are open.
    streams: Vec<String>,
    numbers: BTreeSet<u32>,
}

/// Starts children that look at their descriptors.
struct Looking {
    file: PathBuf,
    /// Numbers from 3 on that every child of this process has.
    others: BTreeSet<u32>,
    /// Opened while all is open.
    null: File,
    folder: File,
    is_forked: bool,
}

impl Looking {
    /// While all is open: what children have beside their streams.
    fn new(is_forked: bool) -> Self {
        let listed = std::process::Command::new("sh")
            .args(["-c", "ls /proc/$$/fd; exit 0"])
            .output()
            .unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let numbers = listed.lines().map(|line| line.parse::<u32>().unwrap());
        let name = format!("watertight-closed-{}", std::process::id());
        Self {
            file: std::env::temp_dir().join(name),
            others: numbers.filter(|number| *number > 2).collect(),
            null: File::options()
                .read(true)
                .write(true)
                .open("/dev/null")
                .unwrap(),
            folder: File::open("/").unwrap(),
            is_forked,
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", LOOK, "sh"]).arg(&self.file);
        self.fork_if_wanted(&mut command);
        command
    }

    /// std forks for a program that is looked for in a PATH of its own, and else has the C library spawn.
    fn fork_if_wanted(&self, command: &mut Command) {
        if self.is_forked
            && let Some(path) = std::env::var_os("PATH")
        {
            command.env("PATH", path);
        }
    }

    /// What the child has seen, which is over. It has these of the standard streams, and nothing else that it should not have.
    fn seen(&self, standard: &[u32]) -> Seen {
        let text = std::fs::read_to_string(&self.file).unwrap();
        std::fs::remove_file(&self.file).unwrap();
        let (numbers, streams): (Vec<_>, Vec<_>) = text
            .lines()
            .partition(|line| line.bytes().all(|byte| byte.is_ascii_digit()));
        let seen = Seen {
            streams: streams.into_iter().map(str::to_owned).collect(),
            numbers: numbers.iter().map(|line| line.parse().unwrap()).collect(),
        };
        let mut expected = self.others.clone();
        expected.extend(standard);
        assert_eq!(seen.numbers, expected, "{seen:?}");
        assert_eq!(seen.streams.len(), standard.len(), "{seen:?}");
        seen
    }

    fn output(&self, command: &mut Command) -> Outcome {
        let run = command.stdin(Input::bytes("in\n")).output(Limits::new());
        let outcome = run.unwrap().within(PATIENCE).wait().unwrap();
        assert!(outcome.is_success(), "{outcome:?}");
        outcome
    }

    fn wait(&self, command: &mut Command) {
        let exit = command.spawn().unwrap().wait().within(PATIENCE).wait();
        assert!(exit.is_ok_and(Exit::is_success));
    }

    /// Every kind of stream, in a process in which these are closed.
    fn look(&self, closed: &[u32]) {
        // Before anything else has made sure of the numbers: a program that cannot be run is told although its streams are moved.
        let null = || self.null.try_clone().unwrap();
        let mut missing = Command::new("watertight-no-such-program");
        self.fork_if_wanted(&mut missing);
        let missing = missing
            .stdin(Input::from_handle(null()))
            .stdout(Output::from_handle(null()))
            .stderr(Output::from_handle(null()))
            .spawn();
        assert_eq!(missing.unwrap_err().step, StartStep::Program);

        let outcome = self.output(&mut self.command());
        assert_eq!(outcome.stdout.bytes, b"out in\n");
        assert_eq!(outcome.stderr.bytes, b"err in\n");
        let seen = self.seen(&[0, 1, 2]);
        assert!(
            seen.streams.iter().all(|one| one.starts_with("pipe:")),
            "{seen:?}"
        );
        assert_eq!(seen.streams.iter().collect::<BTreeSet<_>>().len(), 3);

        let outcome = self.output(self.command().stderr(Output::to_stdout()));
        assert_eq!(outcome.stdout.bytes, b"out in\nerr in\n");
        let seen = self.seen(&[0, 1, 2]);
        assert_eq!(seen.streams[1], seen.streams[2], "{seen:?}");

        let mut command = self.command();
        command.stdin(Input::null()).stdout(Output::null());
        self.wait(command.stderr(Output::null()));
        let seen = self.seen(&[0, 1, 2]);
        assert_eq!(seen.streams, ["/dev/null"; 3]);

        // Made for one stream, at the number of another one, whose turn is earlier.
        let mut command = self.command();
        let folder = self.folder.try_clone().unwrap();
        command.stdin(Input::from_handle(folder));
        command.stdout(Output::null()).stderr(Output::null());
        self.wait(&mut command);
        let seen = self.seen(&[0, 1, 2]);
        assert_eq!(seen.streams, ["/", "/dev/null", "/dev/null"]);

        // What is closed here is closed there.
        self.wait(&mut self.command());
        let open = [0, 1, 2].into_iter().filter(|one| !closed.contains(one));
        self.seen(&open.collect::<Vec<_>>());
    }
}

/// No test of its own: closes what it is told to close, and starts children.
#[test]
fn close_and_start() {
    let Ok(closes) = std::env::var(CLOSES) else {
        return;
    };
    let copy = |fd: std::os::fd::BorrowedFd<'_>| File::from(fd.try_clone_to_owned().unwrap());
    let mut output = copy(std::io::stdout().as_fd());
    let errors = copy(std::io::stderr().as_fd());
    // A panic's words would go to a stream that is closed.
    std::panic::set_hook(Box::new(move |panic| {
        let _ = writeln!(&errors, "{panic}");
    }));
    let (closes, is_forked) = match closes.strip_suffix('f') {
        Some(closes) => (closes, true),
        None => (closes.as_str(), false),
    };
    let looking = Looking::new(is_forked);
    let closed: Vec<u32> = closes.chars().filter_map(|one| one.to_digit(10)).collect();
    for number in &closed {
        watertight_os::close_for_a_test(number.cast_signed());
    }
    looking.look(&closed);
    writeln!(output, "{WELL}").unwrap();
    std::process::exit(0);
}

/// std makes a child's pipes at the lowest free numbers. By both its ways of starting a child.
#[test]
fn a_child_has_its_streams_although_ours_are_closed() {
    let _accounted = Accounted::start();
    let name = test_name(module_path!(), "close_and_start");
    for closes in ["", "0", "1", "2", "01", "02", "12", "012"] {
        for way in ["", "f"] {
            let run = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", &name, "--nocapture"])
                .env(CLOSES, format!("{closes}{way}"))
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&run.stdout);
            let errors = String::from_utf8_lossy(&run.stderr);
            assert!(
                run.status.success() && text.contains(WELL),
                "{closes:?}{way}: {text}{errors}"
            );
        }
    }
}
