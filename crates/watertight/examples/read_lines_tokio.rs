//! A program that writes for as long as it runs, read line by line beside other work, under tokio.
//! `cargo run --example read_lines_tokio --features tokio`

use std::error::Error;
use std::io::Write;
use std::time::Duration;
use watertight::{Command, Output, ReaderOptions};

async fn first_lines(command: &mut Command, count: usize) -> Result<Vec<String>, Box<dyn Error>> {
    let mut child = command
        .stdout(Output::piped())
        .output_options(ReaderOptions::new().tokio_reactor(true))
        .kill_on_drop(true)
        .spawn()?;
    let output = child.stdout.take().expect("piped");
    let mut lines = output.lines(64 * 1024);
    let mut beat = tokio::time::interval(Duration::from_millis(1));
    let mut texts = Vec::new();
    while texts.len() < count {
        tokio::select! {
            line = lines.receive() => match line? {
                Some(line) => texts.push(String::from_utf8_lossy(line.content()).into_owned()),
                None => break,
            },
            // Other work. The wait for a line is given up here, and nothing of the line is lost.
            _ = beat.tick() => {}
        }
    }
    child.terminate_tree(Duration::from_secs(1)).await?;
    Ok(texts)
}

/// The producer: each line comes in two halves.
fn produce() -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    for number in 0..1_000_000 {
        output.write_all(b"line ")?;
        output.flush()?;
        std::thread::park_timeout(Duration::from_micros(500));
        writeln!(output, "{number}")?;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).is_some() {
        return Ok(produce()?);
    }
    let mut command = Command::new(std::env::current_exe()?);
    let texts = first_lines(command.arg("produce"), 200).await?;
    let expected: Vec<String> = (0..200).map(|number| format!("line {number}")).collect();
    assert_eq!(texts, expected);
    println!("{} lines came whole", texts.len());
    Ok(())
}
