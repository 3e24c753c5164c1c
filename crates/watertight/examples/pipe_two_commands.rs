//! A pipeline of two commands, as `a | b` in a shell. `cargo run --example pipe_two_commands`

use std::error::Error;
use std::io::{BufRead, BufWriter, Write};
use watertight::{Command, Exit, Input, Limits, Outcome, Output};

fn pipeline(mut a: Command, mut b: Command) -> Result<(Exit, Outcome), Box<dyn Error>> {
    let (reader, writer) = std::io::pipe()?;
    let first = a.stdout(Output::from_handle(writer)).spawn()?;
    let second = b.stdin(Input::from_handle(reader)).output(Limits::new())?;
    // A command keeps the handle that it was given. Now the children alone have the pipe.
    drop((a, b));
    let outcome = second.wait()?;
    Ok((first.wait().wait()?, outcome))
}

/// The first: a million numbers.
fn count() -> std::io::Result<()> {
    let mut output = BufWriter::new(std::io::stdout().lock());
    for number in 0..1_000_000 {
        writeln!(output, "{number}")?;
    }
    output.flush()
}

/// The second: their sum.
fn sum() -> Result<(), Box<dyn Error>> {
    let mut sum = 0_u64;
    for line in std::io::stdin().lock().lines() {
        sum += line?.parse::<u64>()?;
    }
    println!("{sum}");
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("count") => return Ok(count()?),
        Some(_) => return sum(),
        None => {}
    }
    let mut a = Command::new(std::env::current_exe()?);
    let mut b = Command::new(std::env::current_exe()?);
    a.arg("count");
    b.arg("sum");
    let (exit, outcome) = pipeline(a, b)?;
    assert!(exit.is_success());
    assert!(outcome.is_success());
    assert_eq!(outcome.stdout.text().trim_end(), "499999500000");
    println!("the sum is {}", outcome.stdout.text());
    Ok(())
}
