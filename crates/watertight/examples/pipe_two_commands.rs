//! A pipeline of two commands, as `a | b` in a shell. `cargo run --example pipe_two_commands`

use std::error::Error;
use std::io::{BufRead, BufWriter, Write};
use watertight::{Command, Limits, Pipeline, PipelineOutcome};

fn sum_of(count: Command, sum: Command) -> Result<PipelineOutcome, Box<dyn Error>> {
    let mut pipeline = Pipeline::from(count).then(sum);
    let outcome = pipeline.output(Limits::new())?.wait()?;
    for stage in &outcome.stages {
        println!("{:?}: {}", stage.exit, stage.stderr.text());
    }
    Ok(outcome)
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
    let outcome = sum_of(a, b)?;
    assert!(outcome.is_success());
    let sum = outcome.last().stdout.text();
    assert_eq!(sum.trim_end(), "499999500000");
    println!("the sum is {sum}");
    Ok(())
}
