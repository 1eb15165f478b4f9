//! `--minutes`: a steady load, and whether it leaves traces.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use comfy_table::{Table, presets};
use indicatif::ProgressBar;
use serde_json::json;
use tests::torture::{Quarters, RATE, Reading, Setup, Soak, soak};

/// How much larger memory may be in the last quarter than in the second one.
const MEMORY_GROWTH: f64 = 0.25;
/// And the store.
const STORE_GROWTH: f64 = 0.25;
/// A shorter life is not judged by its growth: windows fill and first checkpoints come in it.
const WARM: Duration = Duration::from_secs(180);
/// Rows of the table.
const ROWS: usize = 10;

/// Runs it and prints a JSON line, after a table unless that is all that is wanted.
pub(crate) fn run(setup: &Setup, load: &Soak, bar: &ProgressBar, quiet: bool) -> Result<ExitCode> {
    bar.set_length(load.time.as_secs());
    let (verdict, readings) = soak(setup, load, &mut |reading| {
        bar.set_position(reading.at as u64);
        let Reading { memory_mb, store_mb, p99_ms, .. } = reading;
        bar.set_message(format!("{memory_mb:.0} MB, store {store_mb:.0} MB, p99 {p99_ms:.1} ms"));
    })?;
    bar.finish_and_clear();
    let memory = Quarters::medians(&readings, |reading| reading.memory_mb);
    let store = Quarters::highest(&readings, |reading| reading.store_mb);
    if !quiet {
        println!("{}", table(&readings));
    }
    println!(
        "{}",
        json!({
            "minutes": load.time.as_secs_f64() / 60.0, "rate": RATE, "acked": verdict.acked,
            "lost": verdict.lost, "duplicated": verdict.duplicated,
            "reordered": verdict.reordered, "unexplained": verdict.unexplained,
            "memory_mb": memory, "store_mb": store,
            "p50_ms": Quarters::medians(&readings, |reading| reading.p50_ms),
            "p99_ms": Quarters::medians(&readings, |reading| reading.p99_ms),
            "max_ms": readings.iter().map(|reading| reading.max_ms).fold(0.0, f64::max),
            "seed": load.seed,
        })
    );
    let mut problems = verdict.problems.clone();
    if load.time >= WARM && verdict.is_clean() {
        problems.extend(growth("memory", memory, MEMORY_GROWTH));
        problems.extend(growth("the store", store, STORE_GROWTH));
    }
    for problem in problems.iter().take(20) {
        eprintln!("{problem}");
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn growth(what: &str, quarters: Quarters, most: f64) -> Option<String> {
    let Quarters { second_quarter, last_quarter } = quarters;
    // What cannot be compared has not stayed the same either.
    let flat = quarters.growth() <= most;
    (!flat).then(|| {
        format!("{what} has grown from {second_quarter:.1} to {last_quarter:.1} MB, by more than a quarter")
    })
}

fn table(readings: &[Reading]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["s", "answers", "memory MB", "store MB", "p50 ms", "p99 ms", "max ms"]);
    for reading in readings.iter().rev().step_by(readings.len().div_ceil(ROWS).max(1)).rev() {
        let Reading { at, answers, memory_mb, store_mb, p50_ms, p99_ms, max_ms } = reading;
        table.add_row([
            format!("{at:.0}"),
            answers.to_string(),
            format!("{memory_mb:.1}"),
            format!("{store_mb:.1}"),
            format!("{p50_ms:.2}"),
            format!("{p99_ms:.2}"),
            format!("{max_ms:.1}"),
        ]);
    }
    table
}
