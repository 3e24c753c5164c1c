//! A child's standard streams become ends of ours, of std's making and of tokio's.
#![allow(clippy::unwrap_used, reason = "a test states its expectations")]

use crate::common::{Accounted, PATIENCE, test_name};
use std::process::Stdio;
use watertight::{PipeReader, PipeWriter};

/// Makes this test binary the child: it then runs [`echo`] alone.
const ECHO: &str = "WATERTIGHT_ECHO";

/// No test of its own: what the children of this file do. They copy standard input to standard output.
#[test]
fn echo() {
    if std::env::var_os(ECHO).is_some() {
        std::io::copy(&mut std::io::stdin(), &mut std::io::stdout()).unwrap();
        eprintln!("copied");
    }
}

fn echo_command() -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", &test_name(module_path!(), "echo"), "--nocapture"])
        .env(ECHO, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Begins the account behind a first child: std keeps what it makes its pipes with (Windows).
fn accounted() -> Accounted {
    Accounted::start_behind(|| {
        echo_command().output().unwrap();
    })
}

/// Feeds a child and reads both its streams to the end. The harness of the child prints a few lines of its own.
fn there_and_back(input: &PipeWriter, output: &PipeReader, error: &PipeReader) {
    input
        .send(b"there and back")
        .within(PATIENCE)
        .wait()
        .unwrap();
    let receipt = input.finish().within(PATIENCE).wait().unwrap();
    assert!(receipt.is_complete());
    for (stream, expected) in [(output, "there and back"), (error, "copied")] {
        let mut bytes = Vec::new();
        let read = stream.receive_to_end(&mut bytes, 1 << 20);
        assert!(read.within(PATIENCE).wait().unwrap());
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn the_streams_of_a_child_of_std() {
    let _accounted = accounted();
    let mut child = echo_command().spawn().unwrap();
    let input = PipeWriter::try_from(child.stdin.take().unwrap()).unwrap();
    let output = PipeReader::try_from(child.stdout.take().unwrap()).unwrap();
    let error = PipeReader::try_from(child.stderr.take().unwrap()).unwrap();
    there_and_back(&input, &output, &error);
    assert!(child.wait().unwrap().success());
}

#[cfg(feature = "tokio")]
#[test]
fn the_streams_of_a_child_of_tokio() {
    let round = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut child = tokio::process::Command::from(echo_command())
                .spawn()
                .unwrap();
            let input = PipeWriter::try_from(child.stdin.take().unwrap()).unwrap();
            let output = PipeReader::try_from(child.stdout.take().unwrap()).unwrap();
            let error = PipeReader::try_from(child.stderr.take().unwrap()).unwrap();
            there_and_back(&input, &output, &error);
            assert!(child.wait().await.unwrap().success());
        });
    };
    // tokio keeps what it waits for signals with.
    let _accounted = Accounted::start_behind(round);
    round();
}

/// tokio says that it is done, and the stream is open as before: only a drop ends it there.
#[cfg(all(unix, feature = "tokio"))]
#[test]
fn a_shutdown_ends_a_childs_input_here_and_not_in_tokio() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let round = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut child = tokio::process::Command::new("cat")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .unwrap();
            let mut input = child.stdin.take().unwrap();
            let mut output = child.stdout.take().unwrap();
            input.shutdown().await.unwrap();
            input.write_all(b"behind").await.unwrap();
            let mut back = [0; 6];
            output.read_exact(&mut back).await.unwrap();
            assert_eq!(&back, b"behind");
            let mut input = PipeWriter::try_from(input).unwrap();
            AsyncWriteExt::shutdown(&mut input).await.unwrap();
            let end = tokio::time::timeout(PATIENCE, output.read(&mut back));
            assert_eq!(end.await.unwrap().unwrap(), 0);
            assert!(child.wait().await.unwrap().success());
        });
    };
    // tokio keeps what it waits for signals with.
    let _accounted = Accounted::start_behind(round);
    round();
}

/// What cannot be taken over comes back as what it was.
#[cfg(feature = "fault")]
#[test]
fn a_stream_that_is_refused_comes_back() {
    use watertight::{OsCode, Step, fault};
    let _accounted = accounted();
    let mut child = echo_command().spawn().unwrap();
    fault::fail_next(Step::CloseOnExec, OsCode(31_337));
    let refused = PipeWriter::try_from(child.stdin.take().unwrap()).unwrap_err();
    assert!(!fault::clear());
    assert_eq!(refused.step, Step::CloseOnExec);
    child.stdin = Some(refused.handle);
    assert!(child.wait_with_output().unwrap().status.success());
}

/// A FIFO refuses RWF_NOWAIT on Linux, as every pipe does elsewhere: the mode of the description is what is left, and only
/// where nobody shares it.
#[cfg(unix)]
#[test]
fn only_an_unshared_pipe_is_switched_to_the_non_blocking_mode_and_back() {
    use rustix::fs::{OFlags, fcntl_getfl};
    use watertight::WriterOptions;
    let _accounted = Accounted::start();
    let folder = crate::common::files::Folder::new("unshared");
    for is_unshared in [false, true] {
        let (from, into) = crate::common::files::fifo_ends(&folder.fifo());
        let mirror = into.try_clone().unwrap();
        let is_nonblocking = || fcntl_getfl(&mirror).unwrap().contains(OFlags::NONBLOCK);
        let writer = if is_unshared {
            PipeWriter::adopt_unshared(into, WriterOptions::new())
        } else {
            PipeWriter::adopt(into)
        };
        let writer = writer.unwrap();
        assert_eq!(is_nonblocking(), is_unshared);
        writer.send(b"well").wait().unwrap();
        writer.until_transferred().wait().unwrap();
        let back = writer.into_handle().unwrap();
        assert!(!is_nonblocking());
        drop((back, from));
        std::fs::remove_file(folder.0.join("fifo")).unwrap();
    }
}

/// C1: a descriptor that children got is untouched by a step that fails behind the one that hid it from them.
#[cfg(all(unix, feature = "fault"))]
#[test]
fn a_pipe_that_cannot_be_switched_comes_back_as_it_was() {
    use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
    use watertight::{OsCode, ReaderOptions, Step, fault};
    let _accounted = Accounted::start();
    let folder = crate::common::files::Folder::new("unswitched");
    let (from, into) = crate::common::files::fifo_ends(&folder.fifo());
    fcntl_setfd(&from, FdFlags::empty()).unwrap();
    fault::fail_next(Step::SetNonblocking, OsCode(31_337));
    let refused = PipeReader::adopt_unshared(from, ReaderOptions::new()).unwrap_err();
    assert!(!fault::clear());
    assert_eq!(refused.step, Step::SetNonblocking);
    assert!(fcntl_getfd(&refused.handle).unwrap().is_empty());
    drop(into);
}

/// C1: a mode that was set before stays when the handle comes back.
#[cfg(unix)]
#[test]
fn a_non_blocking_mode_of_the_callers_stays() {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    let _accounted = Accounted::start();
    let folder = crate::common::files::Folder::new("mode");
    let (from, into) = crate::common::files::fifo_ends(&folder.fifo());
    let flags = fcntl_getfl(&into).unwrap();
    fcntl_setfl(&into, flags | OFlags::NONBLOCK).unwrap();
    let armed = watertight::WriterOptions::new().armed(true);
    let refused = PipeWriter::adopt_unshared(into, armed).unwrap_err();
    assert!(
        fcntl_getfl(&refused.handle)
            .unwrap()
            .contains(OFlags::NONBLOCK)
    );
    let options = watertight::WriterOptions::new();
    let writer = PipeWriter::adopt_unshared(refused.handle, options).unwrap();
    let back = writer.into_handle().unwrap();
    assert!(fcntl_getfl(&back).unwrap().contains(OFlags::NONBLOCK));
    drop(from);
}
