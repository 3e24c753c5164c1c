//! A command whose output is shown line by line while it runs, and not kept.
//! `cargo run --example show_output_live`

use std::error::Error;
use std::time::Duration;
use watertight::{Command, Limits, Outcome, OutputStream};

fn run_live(
    command: &mut Command,
    mut show: impl FnMut(&str, &str) + Send + 'static,
) -> Result<Outcome, Box<dyn Error>> {
    let limits = Limits::new()
        .within(Duration::from_secs(60))
        .output_bytes_max(0);
    let run = command.output(limits)?.on_lines(move |stream, line| {
        let name = match stream {
            OutputStream::Stderr => "err",
            OutputStream::Stdout => "out",
        };
        show(name, &String::from_utf8_lossy(line.content()));
    });
    Ok(run.wait()?.into_result()?)
}

/// The child.
fn work() {
    for number in 0..3 {
        println!("step {number}");
        eprintln!("warning {number}");
    }
    print!("done");
}

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).is_some() {
        work();
        return Ok(());
    }
    let (to, shown) = std::sync::mpsc::channel();
    let mut command = Command::new(std::env::current_exe()?);
    let outcome = run_live(command.arg("work"), move |name, line| {
        println!("{name}: {line}");
        let _ = to.send((name.to_owned(), line.to_owned()));
    })?;
    // Each stream has its order; across the two it is that in which they were read.
    let shown: Vec<_> = shown.iter().collect();
    for (wanted, expected) in [
        ("out", &["step 0", "step 1", "step 2", "done"][..]),
        ("err", &["warning 0", "warning 1", "warning 2"][..]),
    ] {
        let of_it = shown.iter().filter(|(name, _)| name == wanted);
        let lines: Vec<_> = of_it.map(|(_, line)| line.as_str()).collect();
        assert_eq!(lines, expected);
    }
    assert!(outcome.stdout.bytes.is_empty() && outcome.stdout.is_whole());
    Ok(())
}
