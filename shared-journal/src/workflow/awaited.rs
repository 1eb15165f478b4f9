//! What the history of an execution says of the outcomes of the messages that it posted.

use duroxide::{Event, EventKind};
use rustc_hash::FxHashMap;

use super::message::{Answer, Message, event_id};
use super::{ASK, TELL};

/// Whether an execution waits for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    NotYet,
    Now,
    /// Nor will it.
    NoMore,
}

/// The messages of one execution, by their ids.
pub(super) struct Awaited {
    has_ended: bool,
    by_id: FxHashMap<String, Waits>,
}

impl Awaited {
    pub(super) fn of(history: &[Event]) -> Self {
        let begun = history.first().map_or(0, |first| first.timestamp_ms);
        let has_ended = history.last().is_none_or(Event::is_terminal);
        let mut by_id: FxHashMap<String, Waits> = FxHashMap::default();
        // By the event that the others name as their source.
        let mut sources: FxHashMap<u64, (String, bool)> = FxHashMap::default();
        for event in history {
            let source = event.source_event_id.and_then(|source| sources.get(&source));
            match &event.kind {
                EventKind::ActivityScheduled { name, input, .. } if name == ASK || name == TELL => {
                    let Ok(message) = serde_json::from_str::<Message>(input) else { continue };
                    let id = message.id_in(begun).to_string();
                    // It may be posted again.
                    by_id.insert(id.clone(), Waits::NotYet);
                    sources.insert(event.event_id, (id, name == ASK));
                }
                EventKind::ActivityCompleted { result } => {
                    // The activities of earlier versions returned the reply.
                    if let Some((id, asked)) = source
                        && !(*asked && is_on_its_way(result))
                    {
                        by_id.insert(id.clone(), Waits::NoMore);
                    }
                }
                EventKind::ExternalSubscribed { name } => {
                    if let Some(waits) = event_id(name).and_then(|id| by_id.get_mut(id)) {
                        *waits = Waits::Now;
                        let id = event_id(name).unwrap_or_default().to_owned();
                        sources.insert(event.event_id, (id, true));
                    }
                }
                EventKind::ActivityFailed { .. }
                | EventKind::ActivityCancelRequested { .. }
                | EventKind::ExternalSubscribedCancelled { .. } => {
                    if let Some((id, _)) = source {
                        by_id.insert(id.clone(), Waits::NoMore);
                    }
                }
                EventKind::ExternalEvent { name, .. } => {
                    if let Some(waits) = event_id(name).and_then(|id| by_id.get_mut(id)) {
                        *waits = Waits::NoMore;
                    }
                }
                _ => {}
            }
        }
        Self { has_ended, by_id }
    }

    /// Of a message. That of an instance that was deleted and made anew has no such message.
    pub(super) fn waits(&self, id: &str) -> Waits {
        match self.by_id.get(id) {
            Some(waits) if !self.has_ended => *waits,
            _ => Waits::NoMore,
        }
    }
}

/// Whether the outcome of an ask is to come, as its activity says.
fn is_on_its_way(result: &str) -> bool {
    matches!(serde_json::from_str(result), Ok(Answer::Posted { .. } | Answer::Busy { .. }))
}

#[cfg(test)]
mod tests {
    use super::super::message::{WorkflowError, event};
    use super::*;
    use crate::id::{ActorId, MessageId};

    const BEGUN: u64 = 1_700;

    fn message() -> Message {
        Message::new(&ActorId::new("a", "1"), MessageId::from(7), "add", 1.into())
    }

    fn id() -> String {
        message().id_in(BEGUN).to_string()
    }

    fn scheduled(activity: &str) -> EventKind {
        let (name, input) = (activity.to_owned(), serde_json::to_string(&message()).unwrap());
        EventKind::ActivityScheduled { name, input, session_id: None, tag: None }
    }

    /// By a history of events, each with the number of the one that it follows.
    fn waits(kinds: &[(Option<u64>, EventKind)]) -> Waits {
        let events = (1..).zip(kinds.iter().cloned()).map(|(number, (source, kind))| {
            let event = Event::with_event_id(number, "pay/1", 1, source, kind);
            Event { timestamp_ms: BEGUN, ..event }
        });
        Awaited::of(&events.collect::<Vec<_>>()).waits(&id())
    }

    #[test]
    fn what_is_told_stays_until_the_history_shows_that_it_was_posted() {
        let posted = EventKind::ActivityCompleted { result: String::new() };
        let once = [(None, scheduled(TELL)), (Some(1), posted.clone())];
        assert_eq!(waits(&once[..1]), Waits::NotYet);
        assert_eq!(waits(&once), Waits::NoMore);
        // The first time it could not be posted.
        let again = [&once[..], &[(None, scheduled(TELL))]].concat();
        assert_eq!(waits(&again), Waits::NotYet);
        let of_another = [(None, scheduled(ASK)), (None, scheduled("pay")), (Some(2), posted)];
        assert_eq!(waits(&of_another), Waits::NotYet);
        // Of an instance that was made anew.
        assert_eq!(waits(&[(None, scheduled("pay"))]), Waits::NoMore);
        assert_eq!(waits(&[]), Waits::NoMore);
    }

    #[test]
    fn what_is_asked_is_brought_while_the_wait_is_open() {
        let name = event(&id());
        let completed = |answer: &Answer| {
            let result = serde_json::to_string(answer).unwrap();
            (Some(1), EventKind::ActivityCompleted { result })
        };
        let of = |answer: &Answer| waits(&[(None, scheduled(ASK)), completed(answer)]);
        assert_eq!(of(&Answer::Reply(1.into())), Waits::NoMore);
        assert_eq!(of(&Answer::Failed(WorkflowError::Combinator)), Waits::NoMore);
        assert_eq!(of(&Answer::Busy { reason: String::new() }), Waits::NotYet);
        let mut kinds = vec![(None, scheduled(ASK)), completed(&Answer::Posted { id: id() })];
        assert_eq!(waits(&kinds), Waits::NotYet);
        kinds.push((None, EventKind::ExternalSubscribed { name: name.clone() }));
        assert_eq!(waits(&kinds), Waits::Now);
        let ends = [
            (None, EventKind::ExternalEvent { name, data: String::new() }),
            (Some(3), EventKind::ExternalSubscribedCancelled { reason: String::new() }),
            (None, EventKind::OrchestrationCompleted { output: String::new() }),
        ];
        for end in ends {
            assert_eq!(waits(&[&kinds[..], &[end]].concat()), Waits::NoMore);
        }
    }
}
