//! Named points at which a process dies.

use std::sync::atomic::{AtomicU64, Ordering};

/// Where [`crash_at`] can end a process.
pub const CRASH_POINTS: &[&str] = &[
    // A commit: before it is written, when it is written and nobody knows, before its replies go out.
    "before-append",
    "after-append",
    "before-reply",
    // A checkpoint of which some records are saved; an opening that has read some commits.
    "during-checkpoint",
    "during-recovery",
    // A step: between its effect and its recording, and behind that.
    "before-step",
    "after-step",
    // What an actor sent: before it goes to its receiver, when it is there, and when that is recorded.
    "before-relay",
    "before-delivered",
    "after-delivered",
    // A request to an orchestration, before and after duroxide has it; an event likewise; and the
    // letter that brought it, when it is settled.
    "before-instance",
    "after-instance",
    "after-event",
    "after-settle",
];

/// This process aborts, as one that is killed would, when it passes the point for the `hits`th time: no
/// destructor runs, nothing is flushed. For a test that starts a process of its own, with the actors that
/// are to survive it; docs/testing.md of the repository has one. Each call is for one point.
///
/// # Panics
/// There is no such point, or `hits` is 0.
pub fn crash_at(point: &str, hits: u64) {
    assert!(
        CRASH_POINTS.contains(&point),
        "there is no crash point {point:?}; there are {CRASH_POINTS:?}"
    );
    assert!(hits > 0, "the first time that the point is passed is 1");
    let passed = AtomicU64::new(0);
    let die = move || {
        if passed.fetch_add(1, Ordering::SeqCst) + 1 == hits {
            std::process::abort();
        }
    };
    // It refuses a name that does not parse, and a callback has none.
    let _ = fail::cfg_callback(point, die);
}
