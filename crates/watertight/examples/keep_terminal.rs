//! A program that asks its user something, as ssh does: it keeps the terminal, and its output is taken.
//! `cargo run --example keep_terminal`

use std::error::Error;
use watertight::{Command, Group, Input, Limits, Outcome, Output};

fn run_with_terminal(command: &mut Command) -> Result<Outcome, Box<dyn Error>> {
    command
        .group(Group::Shared)
        .stdin(Input::inherited())
        .stderr(Output::inherited());
    Ok(command.output(Limits::new())?.wait()?)
}

/// The process group, which decides who may read from the terminal.
#[cfg(unix)]
fn group() -> i32 {
    rustix::process::getpgrp().as_raw_pid()
}

/// Windows has one console for all.
#[cfg(not(unix))]
fn group() -> i32 {
    0
}

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).is_some() {
        println!("{}", group());
        return Ok(());
    }
    let mut command = Command::new(std::env::current_exe()?);
    let outcome = run_with_terminal(command.arg("child"))?;
    assert!(outcome.is_success());
    assert_eq!(outcome.stdout.text().trim_end(), group().to_string());
    println!("the child was in our process group, and its output came through a pipe");
    Ok(())
}
