//! A program that talks only to a terminal: it gets one, and is asked a question at its prompt.
//! `cargo run --example drive_repl`

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::time::Duration;
use watertight::{Command, Terminal, TerminalSize};

const PROMPT: &str = "> ";

/// What the program shows up to its next prompt: the echo of what was typed, and its answer.
fn shown(terminal: &Terminal) -> Result<String, Box<dyn Error>> {
    let (mut shown, mut chunk) = (Vec::new(), [0; 4096]);
    while !shown.ends_with(PROMPT.as_bytes()) {
        let chunk_read = terminal.output.receive(&mut chunk);
        let n = chunk_read.within(Duration::from_secs(60)).wait()?;
        if n == 0 {
            return Err("the program has ended".into());
        }
        shown.extend_from_slice(&chunk[..n]);
    }
    Ok(String::from_utf8_lossy(&shown).into_owned())
}

fn ask(command: &mut Command, question: &str) -> Result<String, Box<dyn Error>> {
    let command = command.terminal(TerminalSize::default()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let terminal = child.terminal.take().expect("asked for");
    shown(&terminal)?;
    terminal.input.send(question.as_bytes()).wait()?;
    terminal.input.send(b"\n").wait()?;
    let answer = shown(&terminal)?;
    terminal.input.send(Terminal::END_OF_INPUT).wait()?;
    // To the end of what it shows: it may have a last word.
    let mut rest = Vec::new();
    terminal.output.receive_to_end(&mut rest, 1 << 20).wait()?;
    child.wait().wait()?;
    Ok(answer)
}

/// The program: it says how long each line is.
fn serve() -> Result<(), Box<dyn Error>> {
    if !std::io::stdin().is_terminal() {
        return Err("this program talks to a terminal".into());
    }
    print!("{PROMPT}");
    std::io::stdout().flush()?;
    for line in std::io::stdin().lines() {
        print!("{}\n{PROMPT}", line?.len());
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).is_some() {
        return serve();
    }
    if !cfg!(target_os = "linux") {
        println!("skipped: a terminal for a child is made on Linux");
        return Ok(());
    }
    let mut command = Command::new(std::env::current_exe()?);
    let answer = ask(command.arg("serve"), "how long?")?;
    assert_eq!(answer, "how long?\r\n9\r\n> ");
    println!("the program answered at its terminal");
    Ok(())
}
