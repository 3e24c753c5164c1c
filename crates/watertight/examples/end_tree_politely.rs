//! A server and what it has started, asked to end, and killed if they do not. `cargo run --example end_tree_politely`

use std::error::Error;
use std::time::Duration;
use watertight::{Child, Command, Exit, Output, TreeEnd};

fn stop(child: &Child, grace: Duration) -> Result<(Exit, TreeEnd), watertight::Error> {
    let exit = child.terminate_tree(grace).wait()?;
    // The child is over. Who was seen when the tree was asked, and is there still, is killed now.
    Ok((exit, child.kill_tree()))
}

/// It says a last word. What it has started does not listen.
const SERVER: &str = "
    trap 'echo bye; exit 0' TERM
    (trap '' TERM; echo ready; exec sleep 5) &
    wait";

fn main() -> Result<(), Box<dyn Error>> {
    if cfg!(windows) {
        println!("the server is a shell script: not on Windows");
        return Ok(());
    }
    let mut command = Command::new("sh");
    command.args(["-c", SERVER]).stdout(Output::piped());
    let mut child = command.spawn()?;
    let output = child.stdout.take().expect("piped");
    let mut lines = output.lines(1024);
    let ready = lines.receive().wait()?.expect("it says that it is ready");
    assert_eq!(ready.content(), b"ready");

    let (exit, tree) = stop(&child, Duration::from_secs(2))?;
    assert!(exit.is_success());
    assert!(tree.left.is_empty());
    if cfg!(target_os = "linux") {
        assert_eq!(tree.signalled.len(), 1);
    }
    let last = lines.receive().wait()?.expect("it says a last word");
    assert_eq!(last.content(), b"bye");
    assert!(lines.receive().wait()?.is_none());
    println!("killed after the server's own end: {:?}", tree.signalled);
    Ok(())
}
