//! A server and what it has started, asked to end, and killed if they do not. `cargo run --example end_tree_politely`

use std::error::Error;
use std::time::Duration;
use watertight::{Child, Command, Exit, Output};

fn stop(child: &Child, grace: Duration) -> Result<Exit, watertight::Error> {
    // Asked, waited for as long as one of the tree lives, and then killed.
    child.terminate_tree(grace).wait()
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

    let exit = stop(&child, Duration::from_secs(1))?;
    assert!(exit.is_success());
    let last = lines.receive().wait()?.expect("it says a last word");
    assert_eq!(last.content(), b"bye");
    // Whoever did not listen held the pipe too, and is gone.
    assert!(lines.receive().wait()?.is_none());
    println!("the server had its last word, and nobody is left");
    Ok(())
}
