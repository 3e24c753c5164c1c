//! A build step whose output and errors come through one pipe and are passed on line by line.
//! `cargo run --example pass_on_build_output`

use std::error::Error;
use std::io::Write;
use watertight::{Command, Exit, Input, Output};

fn run_step(step: &mut Command, log: &mut impl Write) -> Result<Exit, Box<dyn Error>> {
    let mut child = step
        .stdin(Input::null())
        .stdout(Output::piped())
        .stderr(Output::to_stdout())
        .kill_on_drop(true)
        .spawn()?;
    let output = child.stdout.take().expect("piped");
    let mut lines = output.lines(64 * 1024);
    while let Some(line) = lines.receive().wait()? {
        log.write_all(&line.bytes)?;
        log.flush()?;
    }
    Ok(child.wait().wait()?)
}

/// The child: it takes turns between its two streams.
fn build() {
    for number in 0..100 {
        println!("compiling {number}");
        eprintln!("warning {number}");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).is_some() {
        build();
        return Ok(());
    }
    let mut step = Command::new(std::env::current_exe()?);
    let mut log = Vec::new();
    let exit = run_step(step.arg("build"), &mut log)?;
    assert!(exit.is_success());
    let expected: String = (0..100)
        .map(|number| format!("compiling {number}\nwarning {number}\n"))
        .collect();
    assert_eq!(String::from_utf8(log)?, expected);
    println!("200 lines of two streams came in the order in which they were written");
    Ok(())
}
