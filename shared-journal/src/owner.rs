//! Who a process is, for those that it replaces.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::engine::now_ms;

/// The process that opened a shard, as it said itself.
///
/// For people: nothing is decided by it. A store that does not keep it has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Owner {
    /// The name of its machine or container, as the system has it.
    pub host: String,
    /// Its number there.
    pub pid: u32,
    /// The file of its program, which names the release in many deployments.
    pub program: String,
    /// When it opened the shard, in milliseconds since 1970 by its clock.
    pub opened_ms: u64,
}

impl Owner {
    /// This process, now.
    #[must_use]
    pub fn this_process() -> Self {
        static PROCESS: OnceLock<(String, String)> = OnceLock::new();
        let (host, program) = PROCESS.get_or_init(|| {
            let program = std::env::current_exe();
            (host(), program.map_or_else(|_| String::new(), |file| file.display().to_string()))
        });
        Self {
            host: host.clone(),
            pid: std::process::id(),
            program: program.clone(),
            opened_ms: now_ms(),
        }
    }
}

impl Owner {
    /// Whether this process has opened it, now or before.
    pub(crate) fn is_this_process(&self) -> bool {
        let this = Self::this_process();
        (&self.host, self.pid, &self.program) == (&this.host, this.pid, &this.program)
    }
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.or_else(|| std::env::var("HOSTNAME").ok());
    name.or_else(|| std::env::var("COMPUTERNAME").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "an unknown machine".to_owned())
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} on {} ({})", self.pid, self.host, self.program)
    }
}
