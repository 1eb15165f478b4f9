//! How the processes are started.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::place::Store;

/// What the tortured processes have in common.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The program that is started for every process, with `child ADAPTER STORE …`.
    pub executable: PathBuf,
    /// `actix` or `tower`.
    pub adapter: String,
    /// Where the actors are.
    pub store: Store,
    /// The promise that is broken on purpose.
    pub sabotage: Option<String>,
    /// A process that says nothing for so long has lost something.
    pub patience: Duration,
    /// Whether the processes' own output is shown.
    pub loud: bool,
}

impl Setup {
    /// A process with the actors of a store, so many of a shard in memory at a time.
    pub(super) fn command(&self, store: &str, shards: u32, active: usize) -> Command {
        let mut command = Command::new(&self.executable);
        command.args(["child", &self.adapter, store]);
        command.args([shards.to_string(), active.to_string()]);
        if let Some(sabotage) = &self.sabotage {
            command.env("SABOTAGE", sabotage);
        }
        if !self.loud {
            command.stderr(Stdio::null());
        }
        command
    }
}
