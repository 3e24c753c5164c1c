//! A child under tokio: feed it, read it, know what became of every byte. `cargo run --example tokio_child --features tokio`

use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use watertight::{PipeReader, PipeWriter};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut child = Command::new("sort")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let input = PipeWriter::try_from(child.stdin.take().expect("piped"))?;
    let mut output = PipeReader::try_from(child.stdout.take().expect("piped"))?;
    for line in ["pear\n", "apple\n", "fig\n"] {
        // Whole or not at all, also if the deadline passes.
        input
            .send(line.as_bytes())
            .within(Duration::from_secs(1))
            .await?;
    }
    let receipt = input.finish().await?.into_result()?;
    let mut sorted = String::new();
    output.read_to_string(&mut sorted).await?;
    println!(
        "{} bytes transferred\n{sorted}",
        receipt.ledger().transferred()
    );
    child.wait().await?;
    Ok(())
}
