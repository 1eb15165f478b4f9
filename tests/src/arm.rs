//! How a child process dies at a named point.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

/// This process dies of SIGKILL when it passes the point `CRASH_POINT` for the `CRASH_HITS`th time, if
/// it was told so.
///
/// # Errors
/// It was told something else.
pub fn arm() -> Result<()> {
    let Ok(point) = std::env::var("CRASH_POINT") else {
        return Ok(());
    };
    let hits: u64 = std::env::var("CRASH_HITS")?.parse()?;
    let passed = AtomicU64::new(0);
    fail::cfg_callback(point, move || {
        if passed.fetch_add(1, Ordering::SeqCst) + 1 == hits {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL);
            // Until the signal arrives this thread must not go on.
            loop {
                std::thread::park();
            }
        }
    })
    .map_err(anyhow::Error::msg)
}
