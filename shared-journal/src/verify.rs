//! Reading everything and reporting what is wrong.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::engine::{Checked, From, Scan, Shared, read_record, window};
use crate::envelope::entries;
use crate::error::{JournalError, Place};
use crate::event::ActorEvent;
use crate::id::ActorNo;
use crate::provider::{ActorKey, RecordFilter};
use crate::record::ActorRecord;

/// What [`EventJournal::verify`](crate::EventJournal::verify) saw.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Commits read.
    pub commits: u64,
    /// Events read.
    pub events: u64,
    /// Records of actors read.
    pub records: u64,
    /// Everything that is wrong, in the order of reading.
    pub problems: Vec<JournalError>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

pub(crate) async fn verify(shared: &Arc<Shared>) -> Result<VerifyReport, JournalError> {
    let shared = shared.clone();
    // Reads of an embedded store block: not on the caller's thread.
    tokio::task::spawn_blocking(move || pollster::block_on(read_all(&shared)))
        .await
        .map_err(|_| JournalError::Closed)?
}

/// The log first: a record that is read later is never older than what the log said.
async fn read_all(shared: &Shared) -> Result<VerifyReport, JournalError> {
    let mut report = VerifyReport::default();
    for complaint in shared.provider.check().await? {
        report.problems.push(JournalError::Corrupt {
            store: shared.provider.location(),
            place: Place::shard(shared.shard),
            reason: complaint,
        });
    }
    let mut actors: FxHashMap<ActorNo, Option<ActorRecord>> = FxHashMap::default();
    let mut scan = Scan::new(shared.provider.clone(), shared.shard, From::Oldest);
    'log: loop {
        let commits = scan.read().await?;
        if commits.is_empty() {
            break;
        }
        for commit in &commits {
            let Checked { header, body, after_gap } = match scan.check(commit) {
                Ok(checked) => checked,
                Err(error) => {
                    // Positions after this one cannot be told from a gap.
                    report.problems.push(error);
                    break 'log;
                }
            };
            report.commits += 1;
            if after_gap {
                // Whatever was known of an actor is older than what follows.
                actors.clear();
            }
            let place = Place::shard(header.shard).at(header.position);
            for entry in entries(&header, body) {
                let (no, event) = match entry {
                    Ok(entry) => entry,
                    Err(error) => {
                        report.problems.push(JournalError::Corrupt {
                            store: shared.provider.location(),
                            place: place.clone(),
                            reason: error.to_string(),
                        });
                        continue;
                    }
                };
                report.events += 1;
                // The log may begin in the middle of an actor's life; then only its record can be
                // checked.
                let known = actors.entry(no).or_insert_with(|| {
                    matches!(event, ActorEvent::Spawned { .. }).then(ActorRecord::default)
                });
                if let Some(record) = known
                    && let Err(source) = record.apply(event, header.stamp(), window(&shared.limits))
                {
                    *known = None;
                    report.problems.push(JournalError::IllegalHistory {
                        store: shared.provider.location(),
                        place: place.clone().of_no(no),
                        source,
                    });
                }
            }
        }
    }
    verify_records(shared, &mut report).await?;
    Ok(report)
}

async fn verify_records(shared: &Shared, report: &mut VerifyReport) -> Result<(), JournalError> {
    const PAGE: usize = 1024;
    let mut after = ActorNo(0);
    loop {
        let page =
            shared.provider.list_records(shared.shard, RecordFilter::All, after, PAGE).await?;
        for listed in &page {
            after = listed.no;
            let key = ActorKey::No(listed.no);
            if let Some(stored) = shared.provider.load_record(shared.shard, key).await? {
                report.records += 1;
                let read = read_record(&*shared.provider, shared.shard, &stored);
                report.problems.extend(read.err());
            }
        }
        if page.len() < PAGE {
            return Ok(());
        }
    }
}
