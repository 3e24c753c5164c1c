//! What only Windows has: batch files, which cmd.exe would have interpret their arguments, Ctrl-Break, jobs that say who is in them, and a
//! pool of threads of the system's.

use super::{DEED, accounted, child, of_std};
use crate::common::{PATIENCE, is_alone, take_turn, test_name};
use futures_lite::future;
use std::os::windows::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc::channel;
use std::task::Poll;
use std::time::Duration;
use watertight::{
    AfterExit, Command, EndedBy, Exit, Input, Limits, Native, Output, PipeReader, StartStep,
};
use watertight_os::is_in_terminals_foreground;

/// Of which cmd.exe would make something else, or which it would run. The first and the last one are plain.
const ARGUMENTS: [&str; 18] = [
    "plain",
    "two words",
    "",
    "say \"so\"",
    "%PATH%",
    "%OS%",
    "a&echo x>marker",
    "&echo x>marker",
    "\"&echo x>marker&\"",
    "|echo x>marker",
    ">marker",
    "^",
    "a^&echo x>marker",
    "(x)",
    "!OS!",
    "a,b;c=d",
    r"folder\",
    "last",
];

/// A folder that goes with the test. Its name would be interpreted, too.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("watertight {} & co", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A batch file that hands all its arguments on to this test binary.
    fn script(&self, name: &str) -> PathBuf {
        let program = std::env::current_exe().unwrap();
        let line = format!(
            "@\"{}\" --exact {} --nocapture --quiet %*\r\n",
            program.display(),
            test_name(super::MODULE, "deed")
        );
        let path = self.0.join(name);
        std::fs::write(&path, line).unwrap();
        path
    }

    /// What is in it, by name.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
        let names = entries.map(|entry| name(entry).into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Runs it in that folder, where whatever it runs would leave something.
fn batch(script: &Path, folder: &Folder) -> Command {
    let mut command = Command::new(script);
    command.env(DEED, "arguments").current_dir(&folder.0);
    command
}

/// CVE-2024-24576.
#[test]
fn a_batch_file_has_its_arguments_as_they_are_and_none_is_run() {
    let _accounted = accounted();
    let folder = Folder::new();
    for name in ["one.bat", "other.CMD"] {
        let script = folder.script(name);
        let mut command = batch(&script, &folder);
        let run = command.args(ARGUMENTS).output(Limits::new()).unwrap();
        let outcome = run.within(PATIENCE).wait().unwrap();
        assert!(outcome.is_success(), "{outcome:?}");
        let said = outcome.stdout.text();
        let (_, said) = said.split_once("--quiet\"\n").unwrap();
        let expected = ARGUMENTS.map(|argument| format!("{argument:?}\n")).concat();
        assert_eq!(said, expected);
        std::fs::remove_file(script).unwrap();
    }
    assert_eq!(folder.names(), Vec::<String>::new());
}

/// A line's end would be the command's end.
#[test]
fn an_argument_that_no_batch_file_can_have_is_refused() {
    let _accounted = accounted();
    let folder = Folder::new();
    let script = folder.script("one.bat");
    for argument in ["a\necho x>marker", "a\r\necho x>marker", "a\r"] {
        let refused = batch(&script, &folder).arg(argument).spawn().unwrap_err();
        assert_eq!(refused.step, StartStep::Arguments);
        assert_eq!(refused.error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(refused.to_string().contains("line's end"), "{refused}");
    }
    assert_eq!(folder.names(), ["one.bat"]);
}

/// Set in the process that has a console.
const ITSELF: &str = "WATERTIGHT_TEST_IN_A_CONSOLE";
/// A console that nobody sees: CREATE_NO_WINDOW.
const NO_WINDOW: u32 = 0x0800_0000;
/// CREATE_NEW_PROCESS_GROUP.
const NEW_GROUP: u32 = 0x200;
/// What the event ends a child with that has no handler: STATUS_CONTROL_C_EXIT.
const CONTROL_C_EXIT: i32 = 0xC000_013A_u32.cast_signed();
/// Longer than the test.
const GRACE: Duration = Duration::from_secs(3600);

/// Runs this test alone in a process that has a console of its own, for only in a common one can a child be asked.
fn has_console_to_itself(test: &str) -> bool {
    if std::env::var_os(ITSELF).is_some() {
        return true;
    }
    take_turn();
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test_name(module_path!(), test)])
        .args(["--nocapture", "--test-threads=1"])
        .env(ITSELF, "1")
        .creation_flags(NO_WINDOW)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    for line in text.lines().filter(|line| line.contains("skipped: ")) {
        println!("{line}");
    }
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

/// On Windows the event ends it. Under Wine the event ends the harness's thread in it, and the child goes on to the end of its input.
/// Killed, it would end with 1.
#[test]
fn a_child_that_can_be_asked_is_not_killed_before_the_grace() {
    if !has_console_to_itself("a_child_that_can_be_asked_is_not_killed_before_the_grace") {
        return;
    }
    if !is_in_terminals_foreground() {
        println!("skipped: a process without a window has no console here");
        return;
    }
    let _accounted = accounted();
    let mut command = child("begin and wait");
    command.stdin(Input::piped()).stdout(Output::piped());
    let mut child = command.creation_flags(NEW_GROUP).spawn().unwrap();
    let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut lines = output.lines(1024);
    loop {
        let line = lines.receive().within(PATIENCE).wait().unwrap();
        if line.expect("it has begun").content() == b"begun" {
            break;
        }
    }
    let mut ending = child.terminate(GRACE).within(PATIENCE);
    let exit = future::block_on(async {
        // With this it is asked. If it cannot be, it is killed.
        let early = future::poll_once(&mut ending).await;
        drop(input);
        match early {
            Some(exit) => exit,
            None => ending.await,
        }
    });
    let code = exit.unwrap().status().unwrap().code();
    assert!([Some(CONTROL_C_EXIT), Some(0)].contains(&code), "{code:?}");
}

/// One that says nothing and ends with its input. It has the streams of whoever starts it.
pub(super) fn holder() -> Command {
    let mut command = Command::new("cmd.exe");
    command.args(["/d", "/c", "set /p x="]);
    command
}

/// Who has a pipe Windows does not show, but who of the tree is alive.
#[test]
fn who_of_the_tree_may_hold_the_output_is_named_with_all_that_was_said() {
    let _accounted = accounted();
    let (from, into) = std::io::pipe().unwrap();
    let mut command = child("leave a holder");
    command
        .stdin(Input::from_handle(from))
        .stdout(Output::piped())
        .stderr(Output::piped());
    let child = command.spawn().unwrap();
    drop(command);
    let id = child.id();
    let limits = Limits::new().after_exit(AfterExit::Quiet(Duration::from_millis(200)));
    let run = child.communicate(limits).within(PATIENCE);
    let outcome = run.wait().unwrap();
    assert_eq!(outcome.ended, EndedBy::Quiet);
    assert!(outcome.exit.is_some_and(Exit::is_success), "{outcome:?}");
    assert!(!outcome.stdout.is_whole() && outcome.tree.is_none());
    let said = outcome.stdout.text();
    let left = said.lines().find_map(|line| line.strip_prefix("left "));
    let left: u32 = left.expect("all of it is there").parse().unwrap();
    let named = outcome.holders.iter().find(|one| one.pid == left);
    let name = named.and_then(|one| one.name.as_deref());
    assert!(
        name.is_some_and(|name| name.eq_ignore_ascii_case("cmd.exe")),
        "{:?}",
        outcome.holders
    );
    assert!(outcome.holders.iter().all(|one| one.pid != id));
    // With that it ends.
    drop(into);
}

/// `kill_on_drop` without a drop: the job's only handle goes with the process that had it, whatever ends that.
#[test]
fn a_process_that_is_killed_takes_its_child_with_it() {
    let _accounted = accounted();
    let (from, into) = std::io::pipe().unwrap();
    let (said, theirs) = std::io::pipe().unwrap();
    let mut command = of_std("keep one until killed");
    command.stdin(from).stdout(Stdio::piped()).stderr(theirs);
    let mut keeping = command.spawn().unwrap();
    // It has both handles, too.
    drop(command);
    let output = PipeReader::try_from(keeping.stdout.take().unwrap()).unwrap();
    let mut lines = output.lines(1024);
    loop {
        let line = lines.receive().within(PATIENCE).wait().unwrap();
        if line.expect("it has begun").content() == b"begun" {
            break;
        }
    }
    keeping.kill().unwrap();
    keeping.wait().unwrap();
    // Its child has this handle, and an input that goes on.
    let said = PipeReader::adopt(said).unwrap();
    let mut last = Vec::new();
    let ended = said.receive_to_end(&mut last, 64 * 1024);
    ended.within(PATIENCE).wait().unwrap();
    let last = String::from_utf8_lossy(&last);
    assert!(!last.contains("stayed"), "{last}");
    drop(into);
}

/// As many threads as the system's pool may have more for some children than for one. A thread for each pipe would be more.
const POOL_THREADS_MAX: usize = 8;

/// The children are fed by pipes of the library's, read, and waited for, all by one task.
#[test]
fn no_pipe_of_a_child_has_a_thread() {
    const CHILDREN: usize = 8;
    if !is_alone(module_path!(), "no_pipe_of_a_child_has_a_thread") {
        return;
    }
    // The library's own thread, and the pool, stay.
    let first = child("say").output(Limits::new()).unwrap();
    let first = future::block_on(first).unwrap();
    assert!(first.stdout.has_ended);
    let before = Native::threads().unwrap();
    let (to, begun) = channel();
    let mut inputs = Vec::new();
    let mut start = || {
        let mut command = child("begin and wait");
        command
            .stdin(Input::piped())
            .stdout(Output::piped())
            .stderr(Output::piped());
        let mut child = command.spawn().unwrap();
        inputs.push(child.stdin.take().unwrap());
        let to = to.clone();
        let run = child.communicate(Limits::new()).on_lines(move |_, line| {
            if line.content() == b"begun" {
                to.send(()).unwrap();
            }
        });
        Box::pin(run.within(PATIENCE))
    };
    let mut runs: Vec<_> = (0..CHILDREN).map(|_| start()).collect();
    let mut left = CHILDREN;
    let all_begin = future::poll_fn(|context| {
        for run in &mut runs {
            assert!(run.as_mut().poll(context).is_pending(), "one is over");
        }
        left -= begun.try_iter().count();
        if left == 0 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    future::block_on(all_begin);
    let during = Native::threads().unwrap();
    assert!(
        during <= before + POOL_THREADS_MAX,
        "{during} threads, {before} before"
    );
    drop(inputs);
    for run in runs {
        assert!(future::block_on(run).unwrap().is_success());
    }
}
