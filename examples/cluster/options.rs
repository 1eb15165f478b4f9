//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) const DEFAULT_DATA: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/fleet/flights-2013-01.csv.gz");

/// Sends a month of flights to aircraft on three nodes, kills one of them, and adds another.
#[derive(Debug, Parser)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) store: Store,

    /// The flights: a .csv or .csv.gz file.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_DATA)]
    pub(crate) data: PathBuf,

    /// Print one line of JSON instead of the live view.
    #[arg(long)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) role: Option<Role>,
}

/// Where the aircraft are kept.
#[derive(Debug, Clone, Args)]
pub(crate) struct Store {
    /// The PostgreSQL database.
    #[arg(long, env = "DATABASE_URL", value_name = "URL")]
    pub(crate) database: String,

    /// The schema in it. It is made when it is missing; a second run goes on with it.
    #[arg(long, default_value = "flights")]
    pub(crate) schema: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Run as one of the nodes. The example starts them itself.
    Node {
        /// The name of the node.
        name: String,
    },
    /// Remove the schema with everything in it.
    Drop,
}
