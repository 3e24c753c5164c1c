//! A shell line for an agent: a deadline, a bound on the output, and what was written is kept.
//! `cargo run --example run_with_deadline`

use std::error::Error;
use std::time::Duration;
use watertight::{AfterExit, Command, EndedBy, Group, Limits, Outcome};

fn run_line(line: &str, within: Duration) -> Result<Outcome, Box<dyn Error>> {
    let words = if cfg!(windows) {
        ["cmd", "/c"]
    } else {
        ["sh", "-c"]
    };
    let limits = Limits::new()
        .within(within)
        .grace(Duration::from_secs(1))
        .output_bytes_max(64 * 1024)
        .after_exit(AfterExit::Quiet(Duration::from_millis(200)));
    let mut command = Command::new(words[0]);
    command
        .args([words[1], line])
        .group(Group::Own)
        .kill_on_drop(true);
    Ok(command.output(limits)?.wait()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let done = run_line("echo done", Duration::from_secs(60))?;
    assert!(done.is_success());
    assert_eq!(done.stdout.text().trim_end(), "done");

    let line = if cfg!(windows) {
        "echo begun& ping -n 60 127.0.0.1"
    } else {
        "echo begun; sleep 60"
    };
    let late = run_line(line, Duration::from_millis(500))?;
    assert_eq!(late.ended, EndedBy::Deadline);
    assert!(late.stdout.text().starts_with("begun"));

    if cfg!(unix) {
        let endless = run_line("yes", Duration::from_millis(500))?;
        assert_eq!(endless.stdout.bytes.len(), 64 * 1024);
        assert!(endless.stdout.discarded > 0);
    }

    // The error has the outcome in it.
    let incomplete = late.into_result().expect_err("its deadline passed");
    println!("{incomplete}: {:?}", incomplete.outcome.stdout.text());
    Ok(())
}
