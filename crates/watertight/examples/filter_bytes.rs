//! A filter: bytes in, bytes out, and an error if anything is missing. `cargo run --example filter_bytes`

use std::error::Error;
use std::io::{Read, Write};
use std::time::Duration;
use watertight::{Command, Input, Limits};

fn filter(command: &mut Command, bytes: Vec<u8>) -> Result<Vec<u8>, Box<dyn Error>> {
    let limits = Limits::new().within(Duration::from_secs(60));
    let outcome = command.stdin(Input::bytes(bytes)).output(limits)?.wait()?;
    Ok(outcome.into_result()?.stdout.bytes)
}

/// The filter: letters become capitals.
fn to_capitals() -> Result<(), Box<dyn Error>> {
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut chunk = [0; 8192];
    loop {
        let n = input.read(&mut chunk)?;
        if n == 0 {
            output.flush()?;
            return Ok(());
        }
        chunk[..n].make_ascii_uppercase();
        output.write_all(&chunk[..n])?;
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("capitals") => return to_capitals(),
        // It ends well, and has read nothing.
        Some(_) => return Ok(()),
        None => {}
    }
    // Far more than two pipes hold.
    let bytes = b"pear\napple\n".repeat(100_000);
    let capitals = filter(
        Command::new(std::env::current_exe()?).arg("capitals"),
        bytes.clone(),
    )?;
    assert!(capitals == bytes.to_ascii_uppercase());

    let deaf = filter(Command::new(std::env::current_exe()?).arg("deaf"), bytes);
    let error = deaf.expect_err("it has not read its input");
    println!("{} bytes filtered; and {error}", capitals.len());
    Ok(())
}
