//! What any slots come to: for [`fuzzing`](crate::fuzzing).

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::entry::{Slot, Step};
use super::inbox::{Inbox, Replies};
use super::leases::Leases;
use super::log::State;
use super::shard::Shard;
use crate::id::{ActorNo, Position};
use crate::provider::RecordFilter;

/// Reads each line as a slot of every kind of log: an error, or what is written again so that it is
/// read as the same. The entries come to what they say of themselves when a segment begins.
///
/// # Panics
/// They do not.
pub fn portable(text: &[u8]) {
    let shard = read::<Shard>(text);
    let again = written_whole(&shard);
    assert_eq!(head(&shard), head(&again));
    read::<Leases>(text);
    let inbox = read::<Inbox>(text);
    let again = written_whole(&inbox);
    assert_eq!((inbox.last, inbox.after(0, 4096)), (again.last, again.after(0, 4096)));
    assert_eq!(inbox.bytes(), again.bytes());
    written_whole(&read::<Replies>(text));
}

fn head(shard: &Shard) -> impl PartialEq + std::fmt::Debug {
    let listed = shard.list(RecordFilter::All, ActorNo(0), 100);
    let records: Vec<_> = listed.iter().filter_map(|it| shard.record(it.no)).cloned().collect();
    (shard.head(), shard.commits(Position(0), 4096), records, shard.bytes())
}

fn read<S: State>(text: &[u8]) -> S {
    let mut state = S::default();
    for line in text.split(|byte| *byte == b'\n') {
        let Ok(slot) = serde_json::from_slice::<Slot<S::Entry>>(line) else { continue };
        let written = json(&slot);
        let again: Slot<S::Entry> = serde_json::from_str(&written).expect("it was written so");
        assert_eq!(json(&again), written);
        if let Step::Entry(entry) = slot.entry {
            state.apply(entry);
        }
    }
    state
}

/// What a new segment would begin with, read.
fn written_whole<S: State>(state: &S) -> S {
    let mut again = S::default();
    state.whole().iter().for_each(|entry| again.apply(copied(entry)));
    again
}

fn copied<E: Serialize + DeserializeOwned>(entry: &E) -> E {
    serde_json::from_str(&json(entry)).expect("it was written so")
}

fn json<E: Serialize>(value: &E) -> String {
    serde_json::to_string(value).expect("it encodes")
}
