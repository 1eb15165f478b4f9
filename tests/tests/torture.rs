//! A short torture for every change, a shorter soak, and that they find what is broken on purpose. The
//! long ones: `cargo run --release -p tests --bin torture -- --kills 1000`, and `--minutes 10`.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

/// Each promise that can be broken, and a seed whose first programs show it.
const SABOTAGES: [&str; 23] = [
    "early-reply",
    "known-ids",
    "state",
    "last-commit",
    "pending-order",
    "checkpoint",
    "panic-sends",
    "panic-run",
    "poison",
    "relay-id",
    "relay-recovery",
    "floats",
    "fingerprint",
    "aged",
    "attempts",
    "swallow",
    "in-flight",
    "beside-link",
    "shrink",
    "reply-limit",
    "run-sends",
    "dead-letter",
    "timer",
];

/// Most kills before a sabotage must be found. Each of these is found by the first few; the fence needs a
/// process that is paused at the right moment, and is not among them.
const KILLS: u64 = 60;

fn main() -> ExitCode {
    let postgres = tests::postgres::database_url().is_some();
    let mut trials = Vec::new();
    for (about, kills) in [("actors", 30), ("traffic", 6)] {
        trials.push(healthy("sqlite", about, kills));
        trials.push(healthy("postgres", about, kills).with_ignored_flag(!postgres));
    }
    trials.push(Trial::test("a_steady_load_loses_nothing", steady));
    // What is handled twice is an answer that does not fit, and is counted in the end, if there is one: a journal
    // that takes a message of a line twice does not get there.
    let counts: [(_, &[&str]); 2] =
        [("known-ids", &["duplicated", "unexplained"]), ("state", &["lost"])];
    for (sabotage, counts) in counts {
        let name = format!("{sabotage}_is_found_under_a_steady_load");
        trials.push(Trial::test(name, move || found_steady(sabotage, counts)));
    }
    for sabotage in SABOTAGES {
        trials.push(Trial::test(format!("{sabotage}_is_found"), move || found(sabotage)));
    }
    let mut arguments = Arguments::from_args();
    // Each has processes enough of its own.
    arguments.test_threads = Some(2);
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn healthy(store: &'static str, about: &'static str, kills: u64) -> Trial {
    Trial::test(format!("{store}_keeps_every_promise_about_{about}"), move || {
        let least = kills.to_string();
        let arguments = ["--about", about, "--kills", &least, "--seed", "3", "--store", store];
        let (success, line) = torture(&arguments);
        if !success || line["kills"].as_u64() < Some(kills) {
            return Err(Failed::from(line.to_string()));
        }
        Ok(())
    })
}

fn found(sabotage: &str) -> Result<(), Failed> {
    let kills = KILLS.to_string();
    let name = format!("sabotage-{sabotage}");
    let (success, line) = torture(&[
        "--about",
        "actors",
        "--kills",
        &kills,
        "--seed",
        "2",
        "--patience",
        "5",
        "--shrink",
        "0",
        "--sabotage",
        &name,
    ]);
    println!("{sabotage}: {line}");
    if success { Err(Failed::from(format!("not found: {line}"))) } else { Ok(()) }
}

/// Too short to say whether anything grows.
fn steady() -> Result<(), Failed> {
    let (success, line) = torture(&["--minutes", "0.1", "--seed", "1"]);
    println!("{line}");
    let counts = ["lost", "duplicated", "reordered", "unexplained"];
    let clean = counts.iter().all(|count| line[count] == 0);
    if success && clean && line["acked"].as_u64() > Some(0) {
        return Ok(());
    }
    Err(Failed::from(line.to_string()))
}

fn found_steady(sabotage: &str, counts: &[&str]) -> Result<(), Failed> {
    let name = format!("sabotage-{sabotage}");
    let mut line = Value::Null;
    // A machine that has other things to do as well sends less in the same time.
    for minutes in ["0.05", "0.2", "1", "3"] {
        let arguments =
            ["--minutes", minutes, "--seed", "1", "--patience", "5", "--sabotage", &name];
        let (success, found) = torture(&arguments);
        println!("{sabotage}: {found}");
        if !success && counts.iter().any(|count| found[count].as_u64() > Some(0)) {
            return Ok(());
        }
        line = found;
    }
    Err(Failed::from(format!("not found: {line}")))
}

fn torture(arguments: &[&str]) -> (bool, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_torture"));
    let output = command.arg("--json").args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let line = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{errors}"));
    if !errors.is_empty() {
        println!("{errors}");
    }
    (output.status.success(), line)
}
