//! A command that leaves a daemon behind, which holds the command's output. `cargo run --example leave_daemon`

use std::error::Error;
use std::time::{Duration, Instant};
use watertight::{AfterExit, Command, EndedBy, Exit, Limits, Outcome};

/// How long the daemon runs.
const DAEMON_RUNS: Duration = Duration::from_secs(5);

fn run(command: &mut Command) -> Result<Outcome, Box<dyn Error>> {
    let limits = Limits::new()
        .within(Duration::from_secs(60))
        .after_exit(AfterExit::Quiet(Duration::from_millis(300)));
    let outcome = command.output(limits)?.wait()?;
    for holder in &outcome.holders {
        println!("still holds the output: {holder:?}");
    }
    Ok(outcome)
}

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("start") => {
            // It inherits the streams, and nobody waits for it.
            drop(
                Command::new(std::env::current_exe()?)
                    .arg("daemon")
                    .spawn()?,
            );
            println!("started");
            return Ok(());
        }
        Some(_) => {
            std::thread::park_timeout(DAEMON_RUNS);
            return Ok(());
        }
        None => {}
    }
    let begun = Instant::now();
    let mut command = Command::new(std::env::current_exe()?);
    let outcome = run(command.arg("start"))?;
    assert!(begun.elapsed() < DAEMON_RUNS);
    assert_eq!(outcome.ended, EndedBy::Quiet);
    assert!(outcome.exit.is_some_and(Exit::is_success));
    assert_eq!(outcome.stdout.text().trim_end(), "started");
    assert!(!outcome.stdout.is_whole());
    if cfg!(target_os = "linux") {
        assert_eq!(outcome.holders.len(), 1);
    }
    Ok(())
}
