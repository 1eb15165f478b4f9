//! Reading everything and reporting what is wrong.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::copy::keys_after;
use crate::engine::{
    Checked, From, Look, Scan, Shared, read_key, read_letter, read_record, window,
};
use crate::envelope::entries;
use crate::error::{JournalError, Place};
use crate::event::ActorEvent;
use crate::id::{ActorNo, Sequence};
use crate::provider::{ActorKey, RecordFilter, StoredRecord};
use crate::record::ActorRecord;
use crate::types::Types;

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
    /// Dead letters read.
    pub dead_letters: u64,
    /// Idempotency keys read that are not in a record any more
    /// ([`Limits::dedup_count`](crate::Limits::dedup_count)).
    pub keys: u64,
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

pub(crate) async fn verify(
    shared: &Arc<Shared>,
    types: &Types,
) -> Result<VerifyReport, JournalError> {
    let (shared, types) = (shared.clone(), types.clone());
    // Reads of an embedded store block: not on the caller's thread.
    let read = async move {
        let mut report = read_all(&shared).await?;
        verify_values(&shared, &types, &mut report)?;
        Ok(report)
    };
    tokio::task::spawn_blocking(move || pollster::block_on(read))
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
                if let Some(record) = known.as_mut() {
                    record.dead.forget_letters();
                    record.aged.forget_unsaved();
                }
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
                verify_record(shared, stored, report).await?;
                verify_keys(shared, listed.no, report).await?;
            }
        }
        if page.len() < PAGE {
            return Ok(());
        }
    }
}

/// The keys of an actor that are in rows.
async fn verify_keys(
    shared: &Shared,
    no: ActorNo,
    report: &mut VerifyReport,
) -> Result<(), JournalError> {
    let (provider, mut after) = (&*shared.provider, None);
    while let Some(rows) = keys_after(provider, shared.shard, no, after).await? {
        after = rows.last().map(|row| row.id);
        report.keys += rows.len() as u64;
        report
            .problems
            .extend(rows.iter().filter_map(|row| read_key(provider, shared.shard, row).err()));
    }
    Ok(())
}

/// A record and its dead letters. They are not read at one moment: if something is wrong and the
/// record has changed meanwhile, both are read again.
async fn verify_record(
    shared: &Shared,
    mut stored: StoredRecord,
    report: &mut VerifyReport,
) -> Result<(), JournalError> {
    loop {
        let (letters, problems) = record_problems(shared, &stored).await?;
        if !problems.is_empty() {
            let key = ActorKey::No(stored.no);
            if let Some(now) = shared.provider.load_record(shared.shard, key).await?
                && now != stored
            {
                stored = now;
                continue;
            }
        }
        report.dead_letters += letters;
        report.problems.extend(problems);
        return Ok(());
    }
}

/// How many letters were read, and what is wrong.
async fn record_problems(
    shared: &Shared,
    stored: &StoredRecord,
) -> Result<(u64, Vec<JournalError>), JournalError> {
    const BYTES: usize = 1 << 20;
    let (provider, shard, no) = (&*shared.provider, shared.shard, stored.no);
    let record = match read_record(provider, shard, stored) {
        Ok((_, record)) => record,
        Err(error) => return Ok((0, vec![error])),
    };
    let (mut found, mut problems) = (BTreeSet::new(), Vec::new());
    let mut after = Sequence(0);
    let corrupt = |sequence: Sequence, reason: &str| JournalError::Corrupt {
        store: provider.location(),
        place: Place::shard(shard).of(&stored.actor).of_no(no).message(sequence),
        reason: reason.to_owned(),
    };
    loop {
        let rows = provider.load_letters(shard, no, after, BYTES).await?;
        let Some(last) = rows.last() else { break };
        after = last.sequence;
        for row in &rows {
            problems.extend(read_letter(provider, shard, row).err());
            found.insert(row.sequence);
        }
    }
    for missing in record.dead.sequences().filter(|it| !found.contains(it)) {
        // A record of an old version has them inside.
        if record.dead.unsaved(missing).is_none() {
            problems.push(corrupt(missing, "the dead letter is missing"));
        }
    }
    // Letters are saved before the record that lists them, so they may be of messages that it does
    // not know to be done.
    let done = |sequence: &Sequence| {
        *sequence <= record.received
            && record.pending.front().is_none_or(|oldest| *sequence < oldest.sequence)
    };
    for stray in found.iter().filter(|it| done(it) && !record.dead.contains(**it)) {
        problems.push(corrupt(*stray, "a dead letter that its actor does not list"));
    }
    Ok((found.len() as u64, problems))
}

/// What an actor would be started with: its state, what waits for it, its dead letters. What is further
/// back in the log is nobody's to decode any more.
fn verify_values(
    shared: &Shared,
    types: &Types,
    report: &mut VerifyReport,
) -> Result<(), JournalError> {
    const PAGE: usize = 1024;
    let mut look = match Look::read(&shared.provider, shared.shard, &shared.limits) {
        Ok(Some(look)) => look,
        Ok(None) => return Ok(()),
        // What cannot be folded is told already.
        Err(_) if !report.is_clean() => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut next = Some(ActorNo(0));
    while let Some(after) = next {
        let page = look.list(RecordFilter::All, after, PAGE)?;
        next = page.next;
        for listed in page.actors {
            let actor = listed.actor;
            let (position, record) = match look.actor(&actor) {
                Ok(Some((_, position, record))) => (position, record),
                Ok(None) => continue,
                Err(_) if !report.is_clean() => continue,
                Err(error) => return Err(error),
            };
            let place = Place::shard(shared.shard).at(position).of(&actor);
            report.problems.extend(types.problems(&actor, &place, &record));
            let mut after = Sequence(0);
            while let Ok(letters) = look.dead_letters(&actor, after) {
                let Some(last) = letters.last() else { break };
                after = last.sequence;
                report.problems.extend(letters.iter().filter_map(|it| {
                    types.message_problem(&actor, &place, it.sequence, &it.kind, &it.payload)
                }));
            }
        }
    }
    Ok(())
}
