//! When the writer takes what has gathered.
//!
//! Two waits of a few microseconds spare waits of a few hundred:
//!
//! - To sleep and be woken takes the writer longer than many a commit. After a commit it looks out
//!   for the next submission for a moment, if the last one came within such a moment.
//! - Whoever got a reply may ask again at once. If the writer took the first of them alone, all
//!   others would wait for two commits. So it waits until as much has gathered as was released
//!   and was there before, but less long than a commit takes. If they do not come in time, there
//!   are too many of them or they have nothing to ask: then it takes what is there, and tries
//!   again only some commits later.
//!
//! The second is PostgreSQL's `commit_delay` with `commit_siblings`, except that both are measured
//! instead of configured. A lone caller waits for neither.

use std::time::{Duration, Instant};

use super::queue::Queue;

/// About what two wake-ups of a thread take.
const LOOK_OUT: Duration = Duration::from_micros(120);

/// Commits that take longer wait for something else than the disk.
const LONGEST_COMMIT: Duration = Duration::from_millis(2);

/// After so many tries in vain in a row the pause between two does not get longer.
const LONGEST_PAUSE: u32 = 8;

pub(super) struct Pace {
    /// Another thread can submit while this one spins.
    parallel: bool,
    /// Events in the last commit.
    released: u64,
    /// What a commit takes, lately.
    commit: Duration,
    /// When the replies of the last commit were released.
    at: Instant,
    /// The last submission came soon after the release before it.
    busy: bool,
    /// How often waiting for everybody was in vain since it last was not.
    in_vain: u32,
    /// Commits until it is tried again.
    pause: u32,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            parallel: std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1),
            released: 0,
            commit: Duration::ZERO,
            at: Instant::now(),
            busy: false,
            in_vain: 0,
            pause: 0,
        }
    }

    /// A commit of `events` was written in `took`, and its replies are released.
    pub(super) fn committed(&mut self, events: u64, took: Duration) {
        self.released = events;
        self.commit = (self.commit * 7 + took.min(LONGEST_COMMIT)) / 8;
        self.at = Instant::now();
    }

    /// Waits a moment for the next submission, and for those that come with it.
    pub(super) fn gather(&mut self, queue: &Queue) {
        if !self.parallel || !self.busy {
            return;
        }
        if self.pause > 0 {
            self.pause -= 1;
            spin(LOOK_OUT, || queue.gathered() > 0);
            return;
        }
        let everybody = queue.gathered().saturating_add(self.released);
        if spin(LOOK_OUT.max(self.commit * 3 / 4), || queue.gathered() >= everybody) {
            self.in_vain = 0;
        } else {
            self.in_vain = (self.in_vain + 1).min(LONGEST_PAUSE);
            self.pause = 1 << self.in_vain;
        }
    }

    /// A batch was taken.
    pub(super) fn taken(&mut self) {
        self.busy = self.at.elapsed() < LOOK_OUT.max(self.commit) * 2;
    }
}

/// Waits without sleeping until `ready`, at most so long. False if the time is over.
fn spin(longest: Duration, ready: impl Fn() -> bool) -> bool {
    let begin = Instant::now();
    loop {
        if ready() {
            return true;
        }
        if begin.elapsed() >= longest {
            return false;
        }
        std::hint::spin_loop();
    }
}
