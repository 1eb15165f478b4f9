//! Orchestrations that ask actors, in a process that is killed at random moments. `ORCHESTRATIONS`
//! and `KILLS` say how many, `CRASH_SEED` when.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tests::tally::Tally;

const ACTORS: u64 = 10;
/// Of each orchestration.
const MESSAGES: u64 = 3;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|it| it.parse().unwrap())
}

fn child(store: &str, orchestrations: u64, actors: u64) -> Child {
    Command::new(env!("CARGO_BIN_EXE_workflow-child"))
        .args([store, &orchestrations.to_string(), &actors.to_string()])
        .env("RUST_LOG", "error")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn every_message_of_every_orchestration_is_handled_once_though_the_process_is_killed() {
    let seed = number("CRASH_SEED").unwrap_or_else(rand::random);
    let (orchestrations, kills) =
        (number("ORCHESTRATIONS").unwrap_or(100), number("KILLS").unwrap_or(12));
    println!("CRASH_SEED={seed}");
    let actors = ACTORS.max(orchestrations / 10);
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("app.db");
    let store = store.to_str().unwrap();
    let mut killed_at_work = 0;
    for _ in 0..kills {
        let mut process = child(store, orchestrations, actors);
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "started\n");
        // At any moment of whatever is going on.
        std::thread::sleep(Duration::from_millis(random.random_range(0..600)));
        killed_at_work += u64::from(process.try_wait().unwrap().is_none());
        process.kill().unwrap();
        process.wait().unwrap();
    }
    let mut process = child(store, orchestrations, actors);
    let mut output = String::new();
    process.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert!(process.wait().unwrap().success());
    println!("killed {killed_at_work} times at work");
    assert!(killed_at_work > 0);
    let tallies: Vec<Tally> =
        output.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(tallies.len() as u64, actors);
    for tally in &tallies {
        assert_eq!(tally.violations, [""; 0]);
        assert_eq!(tally.count, orchestrations / actors * MESSAGES);
        assert!(tally.last.values().all(|last| *last == MESSAGES), "{:?}", tally.last);
    }
}
