//! What can be said on the command line.

use std::path::PathBuf;

use clap::Parser;

pub(crate) const DEFAULT_DATA: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/fleet/flights-2013-01.csv.gz");

/// Sends a month of flights to one actor per aircraft, and prints their totals.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// The flights: a .csv or .csv.gz file.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_DATA)]
    pub(crate) data: PathBuf,

    /// Where the aircraft are kept. By default target/fleet/fleet.db in this workspace.
    #[arg(long, value_name = "PATH")]
    pub(crate) store: Option<PathBuf>,

    /// Kill this process when so many flights are acknowledged. Then run it again without.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) crash_after: Option<u64>,

    /// Print one line of JSON instead of the progress and the table.
    #[arg(long)]
    pub(crate) json: bool,
}
