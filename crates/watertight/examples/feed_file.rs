//! A large file as a child's input, which this process never reads. `cargo run --example feed_file`

use std::error::Error;
use std::fs::File;
use std::io::Seek;
use std::path::Path;
use watertight::{Command, Input, Limits, Outcome};

fn feed(command: &mut Command, path: &Path) -> Result<(Outcome, u64), Box<dyn Error>> {
    let mut file = File::open(path)?;
    command.stdin(Input::from_handle(file.try_clone()?));
    let outcome = command.output(Limits::new())?.wait()?;
    // The child's handle and ours share one position: it says how far the child has read.
    let read = file.stream_position()?;
    Ok((outcome, read))
}

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).is_some() {
        let bytes = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())?;
        println!("{bytes}");
        return Ok(());
    }
    // This program itself is a file of some megabytes.
    let path = std::env::current_exe()?;
    let length = path.metadata()?.len();
    let (outcome, read) = feed(Command::new(&path).arg("count"), &path)?;
    assert!(outcome.is_success());
    assert_eq!(outcome.stdout.text().trim_end(), length.to_string());
    assert_eq!(read, length);
    println!("the child has read {read} bytes");
    Ok(())
}
