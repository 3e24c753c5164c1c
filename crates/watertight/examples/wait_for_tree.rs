//! A build whose first process ends before its helpers do. `cargo run --example wait_for_tree`

use std::error::Error;
use std::fs;
use std::time::Duration;
use watertight::{Command, ErrorKind, Exit, Group};

fn build(command: &mut Command, within: Duration) -> Result<Exit, Box<dyn Error>> {
    let child = command.group(Group::Own).spawn()?;
    match child.wait_tree().within(within).wait() {
        // Only the waiting has ended: whoever is left is in reach.
        Err(late) if late.kind == ErrorKind::TimedOut => {
            Ok(child.terminate_tree(Duration::from_secs(1)).wait()?)
        }
        over => Ok(over?),
    }
}

/// The helper writes what is built when its starter is over.
const BUILD: &str = "(sleep 0.2; echo built >\"$1\") & exit 0";

fn main() -> Result<(), Box<dyn Error>> {
    if !cfg!(any(target_os = "linux", target_vendor = "apple")) {
        println!("the build is a shell script, and this system may not show its tree");
        return Ok(());
    }
    let file = std::env::temp_dir().join(format!("watertight-built-{}", std::process::id()));
    let mut command = Command::new("sh");
    command.args(["-c", BUILD, "build"]).arg(&file);
    assert!(build(&mut command, Duration::from_secs(60))?.is_success());
    assert_eq!(fs::read_to_string(&file)?, "built\n");
    fs::remove_file(&file)?;

    let mut hanging = Command::new("sh");
    hanging.args(["-c", "sleep 1000 & exit 0"]);
    assert!(build(&mut hanging, Duration::from_millis(100))?.is_success());
    println!("what was built is there, and nobody is left");
    Ok(())
}
