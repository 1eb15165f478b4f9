//! A log in memory whose writes fail as they are told to.

use std::collections::VecDeque;
use std::sync::Mutex;

use shared_journal::provider::Write;
use shared_journal::{JournalError, Position};

/// What becomes of a write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was not applied, and may be repeated.
    Refused,
    /// It was applied, and its writer does not learn it.
    Unknown,
    /// Nothing can be written any more.
    Broken,
}

/// A lock of std, because no step of a schedule is in it.
#[derive(Default)]
pub(crate) struct Store(Mutex<Disk>);

#[derive(Default)]
struct Disk {
    log: Vec<Vec<u8>>,
    fates: VecDeque<Fate>,
}

impl Store {
    /// The first writes end so, the others well.
    pub(crate) fn with(fates: &[Fate]) -> Self {
        Self(Mutex::new(Disk { log: Vec::new(), fates: fates.iter().copied().collect() }))
    }

    pub(crate) async fn write(&self, write: &Write<'_>) -> Result<(), JournalError> {
        // Others go on while the disk works.
        shuttle::thread::yield_now();
        let mut disk = self.0.lock().unwrap();
        let fate = disk.fates.front().copied();
        if fate != Some(Fate::Broken) {
            disk.fates.pop_front();
        }
        let applied = !matches!(fate, Some(Fate::Refused | Fate::Broken));
        if let Some((Position(position), bytes)) = write.append.filter(|_| applied) {
            let place = usize::try_from(position).unwrap();
            assert!(place <= disk.log.len() + 1, "a commit in place {place} leaves a gap");
            if place == disk.log.len() + 1 {
                disk.log.push(bytes.to_vec());
            } else {
                assert_eq!(disk.log[place - 1], bytes, "a repeated commit is another one");
            }
        }
        match fate {
            None => Ok(()),
            Some(fate) => Err(JournalError::Store {
                store: "the test's store".into(),
                operation: "write",
                retryable: fate != Fate::Broken,
                source: "on purpose".into(),
            }),
        }
    }

    /// Every entry that is durable, in order: one byte each.
    pub(crate) fn entries(&self) -> Vec<u8> {
        self.0.lock().unwrap().log.concat()
    }
}
