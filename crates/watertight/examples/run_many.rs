//! Many children, a few at a time, under tokio. `cargo run --example run_many`

use std::error::Error;
use std::time::Duration;
use tokio::task::JoinSet;
use watertight::{Command, Limits, Outcome};

type Outcomes = Vec<(usize, Outcome)>;

async fn run_all(commands: Vec<Command>, at_once: usize) -> Result<Outcomes, Box<dyn Error>> {
    let (mut running, mut outcomes) = (JoinSet::new(), Vec::new());
    for (number, mut command) in commands.into_iter().enumerate() {
        if running.len() >= at_once.max(1) {
            let (number, outcome) = running.join_next().await.expect("some are running")?;
            outcomes.push((number, outcome?));
        }
        let limits = Limits::new().within(Duration::from_secs(60));
        let run = command.kill_on_drop(true).output(limits)?;
        running.spawn(async move { (number, run.await) });
    }
    while let Some(done) = running.join_next().await {
        let (number, outcome) = done?;
        outcomes.push((number, outcome?));
    }
    Ok(outcomes)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    if let Some(number) = std::env::args().nth(1) {
        println!("number {number}");
        return Ok(());
    }
    let mut commands = Vec::new();
    for number in 0..100 {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(number.to_string());
        commands.push(command);
    }
    let mut outcomes = run_all(commands, 8).await?;
    outcomes.sort_by_key(|(number, _)| *number);
    assert_eq!(outcomes.len(), 100);
    for (number, outcome) in outcomes {
        assert!(outcome.is_success());
        assert_eq!(outcome.stdout.text().trim_end(), format!("number {number}"));
    }
    println!("100 children, 8 at a time");
    Ok(())
}
