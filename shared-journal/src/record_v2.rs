//! Records as versions 1 and 2 of the envelope have them.

use std::collections::VecDeque;

use serde::{Deserialize, Deserializer};

use crate::codec::Payload;
use crate::dead::DeadLetters;
use crate::id::{MessageId, MessageKey, Position, Sequence};
use crate::lines::Lines;
use crate::outcomes::Outcomes;
use crate::rare::Rare;
use crate::record::{
    ActorRecord, DeadLetter, Outcome, OutgoingMessage, PendingMessage, RecordedOutcome,
    RecordedStep, Transient,
};

/// In the order in which they are stored; what version 1 lacks stands at the end.
#[derive(Deserialize)]
pub(crate) struct RecordV2<'a> {
    spawned: bool,
    stopped: bool,
    received: Sequence,
    #[serde(borrow)]
    state: Option<Payload<'a>>,
    #[serde(borrow)]
    pending: VecDeque<PendingV2<'a>>,
    #[serde(deserialize_with = "outcomes")]
    window: Outcomes,
    #[serde(deserialize_with = "outcomes")]
    generated: Outcomes,
    dead: Vec<DeadLetter>,
    sent: u64,
    outbox: VecDeque<OutgoingMessage>,
    steps: Vec<RecordedStep>,
}

#[derive(Deserialize)]
struct PendingV2<'a> {
    sequence: Sequence,
    key: MessageKey,
    kind: String,
    #[serde(borrow)]
    payload: Payload<'a>,
}

#[derive(Deserialize)]
struct OutcomeV2 {
    id: MessageId,
    at_ms: u64,
    outcome: Outcome,
}

fn outcomes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Outcomes, D::Error> {
    let recorded = Vec::<OutcomeV2>::deserialize(deserializer)?.into_iter();
    let recorded = recorded.map(|OutcomeV2 { id, at_ms, outcome }| RecordedOutcome {
        id,
        at_ms,
        outcome,
        fingerprint: None,
    });
    Ok(recorded.collect())
}

impl From<RecordV2<'_>> for ActorRecord {
    fn from(old: RecordV2<'_>) -> Self {
        let pending = old.pending.into_iter().map(|message| PendingMessage {
            sequence: message.sequence,
            key: message.key,
            kind: message.kind,
            payload: message.payload.into_owned(),
            attempts: None,
            fingerprint: None,
            received_at: Position::default(),
            received_ms: 0,
        });
        Self {
            spawned: old.spawned,
            stopped: old.stopped,
            received: old.received,
            state: old.state.map(Payload::into_owned),
            pending: pending.collect(),
            window: old.window.into(),
            generated: old.generated.into(),
            transient: Transient::default(),
            dead: old.dead.into_iter().collect::<DeadLetters>().into(),
            sent: old.sent,
            outbox: old.outbox,
            steps: old.steps,
            held: None,
            deleted: false,
            aged: Rare::default(),
            lines: Lines::default(),
            timers: Rare::default(),
        }
    }
}
