use std::borrow::Cow;

use proptest::prelude::*;

use super::*;
use crate::codec::{Codec, Payload};
use crate::id::{ActorId, Epoch, MessageId, Position};

const WINDOW: Window = Window { count: 3, generated: 3, age_ms: 1000, bytes: 30 };

/// In the commit of this number, at this time.
fn at(ms: u64) -> Stamp {
    Stamp { position: Position(ms), epoch: Epoch(1), at_ms: 0, clock_ms: ms }
}

fn json(text: &'static str) -> Payload<'static> {
    Payload::new(Codec::Json, text.as_bytes())
}

fn spawned() -> ActorEvent<'static> {
    ActorEvent::Spawned { actor: ActorId::new("t", "1") }
}

fn received(sequence: u64, id: Option<u128>) -> ActorEvent<'static> {
    ActorEvent::MessageReceived {
        sequence: Sequence(sequence),
        key: id.map(MessageId::from).into(),
        kind: Cow::Borrowed("k"),
        payload: json("1"),
        resend_of: None,
    }
}

fn processed(sequence: u64) -> ActorEvent<'static> {
    ActorEvent::MessageProcessed { sequence: Sequence(sequence), reply: json("2") }
}

fn failed(sequence: u64) -> ActorEvent<'static> {
    ActorEvent::MessageFailed {
        sequence: Sequence(sequence),
        attempts: 3,
        error: Cow::Borrowed("boom"),
    }
}

fn fold(
    events: impl IntoIterator<Item = ActorEvent<'static>>,
) -> Result<ActorRecord, IllegalEvent> {
    let mut record = ActorRecord::default();
    for event in events {
        record.apply(event, at(0), WINDOW)?;
    }
    Ok(record)
}

#[test]
fn received_and_not_processed_is_pending_in_order() {
    let record = fold([spawned(), received(1, None), received(2, None), processed(1)]).unwrap();
    let pending: Vec<_> = record.pending.iter().map(|message| message.sequence.0).collect();
    assert_eq!(pending, [2]);
}

#[test]
fn illegal_histories_are_refused_and_named() {
    let cases: Vec<(Vec<ActorEvent<'static>>, &str)> = vec![
        (vec![received(1, None)], "MessageReceived 1 cannot follow: an actor that was never"),
        (vec![spawned(), spawned()], "Spawned cannot follow: received up to 0"),
        (vec![spawned(), received(2, None)], "MessageReceived 2 cannot follow"),
        (vec![spawned(), received(1, None), received(1, None)], "MessageReceived 1 cannot"),
        (vec![spawned(), processed(1)], "MessageProcessed 1 cannot follow"),
        (
            vec![spawned(), received(1, None), received(2, None), processed(2)],
            "MessageProcessed 2 cannot follow: received up to 2, 2 pending from 1",
        ),
        (
            vec![spawned(), received(1, None), processed(1), failed(1)],
            "MessageFailed 1 cannot follow",
        ),
        (vec![spawned(), ActorEvent::MessageDelivered { number: 1 }], "MessageDelivered 1"),
    ];
    for (events, expected) in cases {
        let error = fold(events).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error:?} does not begin with {expected:?}");
    }
}

#[test]
fn the_window_is_bounded_by_count_and_by_age() {
    let mut record = fold([spawned()]).unwrap();
    for n in 1..=4 {
        record.apply(received(n, Some(n.into())), at(n), WINDOW).unwrap();
        record.apply(processed(n), at(n), WINDOW).unwrap();
    }
    let known = |record: &ActorRecord| record.window.iter().map(|it| it.id).collect::<Vec<_>>();
    assert_eq!(known(&record), [2, 3, 4].map(MessageId::from));
    assert!(record.outcome(1.into()).is_some(), "it is in a row");
    assert!(record.outcome(2.into()).is_some());
    record.apply(received(5, Some(5)), at(1004), WINDOW).unwrap();
    record.apply(processed(5), at(1004), WINDOW).unwrap();
    assert_eq!(record.outcome(3.into()), None, "older than the age");
    assert!(record.outcome(4.into()).is_some());
}

#[test]
fn large_replies_push_out_older_ones() {
    let mut record = fold([spawned()]).unwrap();
    for n in 1..=3 {
        record.apply(received(n, Some(n.into())), at(0), WINDOW).unwrap();
        let reply = Payload::new(Codec::Json, vec![b'1'; 14]);
        let processed = ActorEvent::MessageProcessed { sequence: Sequence(n), reply };
        record.apply(processed, at(0), WINDOW).unwrap();
    }
    // Three times 14 is more than 30: the reply goes, the id stays.
    assert_eq!(record.outcome(1.into()), Some(&Outcome::AlreadyProcessed));
    assert!(record.outcome(2.into()).is_some() && record.outcome(3.into()).is_some());
}

#[test]
fn small_replies_behind_a_large_one_push_it_out() {
    let mut record = fold([spawned()]).unwrap();
    for (n, size) in [(1, 28), (2, 1), (3, 10)] {
        record.apply(received(n, Some(n.into())), at(0), WINDOW).unwrap();
        let reply = Payload::new(Codec::Json, vec![b'1'; size]);
        let processed = ActorEvent::MessageProcessed { sequence: Sequence(n), reply };
        record.apply(processed, at(0), WINDOW).unwrap();
    }
    // 28, 1 and 10 are more than 30.
    assert_eq!(record.outcome(1.into()), Some(&Outcome::AlreadyProcessed));
    assert!(record.outcome(2.into()).is_some() && record.outcome(3.into()).is_some());
}

#[test]
fn numbers_at_their_end_are_refused() {
    let mut record = fold([spawned()]).unwrap();
    record.received = Sequence(u64::MAX);
    for n in [0, u64::MAX] {
        record.apply(received(n, None), at(0), WINDOW).unwrap_err();
    }
}

#[test]
fn two_discards_of_one_dead_letter_are_one() {
    let discard = || ActorEvent::DeadLetterDiscarded { sequence: Sequence(1) };
    let events = [spawned(), received(1, None), failed(1), discard(), discard()];
    assert!(fold(events).unwrap().dead.is_empty());
}

#[test]
fn generated_ids_do_not_push_out_those_of_senders() {
    let mut record = fold([spawned(), received(1, Some(1)), processed(1)]).unwrap();
    for n in 2..=9 {
        let received = ActorEvent::MessageReceived {
            sequence: Sequence(n),
            key: MessageKey::Generated(u128::from(n).into()),
            kind: Cow::Borrowed("k"),
            payload: json("1"),
            resend_of: None,
        };
        record.apply(received, at(0), WINDOW).unwrap();
        record.apply(processed(n), at(0), WINDOW).unwrap();
    }
    assert!(record.outcome(1.into()).is_some());
    assert!(record.outcome(6.into()).is_none(), "beyond the count of its own window");
    assert!(record.outcome(7.into()).is_some());
}

#[test]
fn a_dead_letter_is_kept_until_it_is_sent_again() {
    let mut record = fold([spawned(), received(1, Some(9)), failed(1)]).unwrap();
    assert_eq!(record.dead.len(), 1);
    assert!(matches!(record.outcome(9.into()), Some(Outcome::Failed { attempts: 3, .. })));
    let again = ActorEvent::MessageReceived {
        sequence: Sequence(2),
        key: MessageKey::Anonymous,
        kind: Cow::Borrowed("k"),
        payload: json("1"),
        resend_of: Some(Sequence(1)),
    };
    record.apply(again, at(0), WINDOW).unwrap();
    assert!(record.dead.is_empty());
    assert_eq!(record.pending.len(), 1);
}

fn transient(sequence: u64) -> ActorEvent<'static> {
    ActorEvent::MessageReceived {
        sequence: Sequence(sequence),
        key: MessageKey::Transient(u128::from(sequence).into()),
        kind: Cow::Borrowed("k"),
        payload: json("1"),
        resend_of: None,
    }
}

#[test]
fn what_a_sender_must_have_by_now_is_not_recorded() {
    let mut record = fold([spawned()]).unwrap();
    let stamp = |position, epoch| Stamp { epoch: Epoch(epoch), ..at(position) };
    let mut apply = |event, stamp| {
        record.apply(event, stamp, WINDOW).unwrap();
        [1, 2, 3, 4].map(|id: u128| record.outcome(id.into()).is_some())
    };
    for n in 1..=2 {
        apply(transient(n), stamp(1, 1));
        apply(processed(n), stamp(1, 1));
    }
    // The owner died; a new one goes on: who knows what the senders were told.
    apply(transient(3), stamp(2, 2));
    assert_eq!(apply(processed(3), stamp(2, 2)), [true, true, true, false]);
    // It made another commit, so it has released the one before.
    apply(transient(4), stamp(3, 2));
    assert_eq!(apply(processed(4), stamp(3, 2)), [true, true, false, true]);
}

#[test]
fn what_was_handled_later_than_received_may_be_asked_for() {
    let mut record = fold([spawned()]).unwrap();
    record.apply(transient(1), at(1), WINDOW).unwrap();
    for n in 1..=3 {
        record.apply(processed(n), at(n + 1), WINDOW).unwrap();
        record.apply(transient(n + 1), at(n + 1), WINDOW).unwrap();
    }
    assert!(record.outcome(1.into()).is_some());
}

#[test]
fn attempts_are_counted_for_what_is_pending() {
    let began = ActorEvent::RunBegan { through: Sequence(2) };
    let counted =
        |sequence, attempts| ActorEvent::AttemptsCounted { sequence: Sequence(sequence), attempts };
    let events = [spawned(), received(1, None), received(2, None), received(3, None), began];
    let record = fold(events.into_iter().chain([counted(2, 1), processed(1), counted(1, 7)]));
    let record = record.unwrap();
    let attempts: Vec<_> = record.pending.iter().map(|message| message.attempts).collect();
    assert_eq!(attempts, [Some(1), None]);
    let error = fold([spawned(), counted(1, 1)]).unwrap_err();
    assert!(error.to_string().starts_with("AttemptsCounted 1 cannot follow"), "{error}");
}

proptest! {
    /// Whatever events come in whatever order: no panic, a refused event changes nothing, and
    /// what is received is processed, failed or pending.
    #[test]
    fn the_books_balance(steps in prop::collection::vec((0u8..4, 1u64..6), 0..40)) {
        let mut record = fold([spawned()]).unwrap();
        let (mut processed_count, mut failed_count) = (0usize, 0usize);
        for (kind, n) in steps {
            let before = record.clone();
            let next = record.received.0 + 1;
            let event = match kind {
                0 => received(next, Some(u128::from(n))),
                1 => received(n, None),
                2 => processed(n),
                _ => failed(n),
            };
            match record.apply(event, at(0), WINDOW) {
                Ok(()) if kind == 2 => processed_count += 1,
                Ok(()) if kind == 3 => failed_count += 1,
                Ok(()) => {}
                Err(_) => prop_assert_eq!(&record, &before),
            }
            let received = usize::try_from(record.received.0).unwrap();
            prop_assert_eq!(
                received,
                processed_count + failed_count + record.pending.len()
            );
            prop_assert_eq!(record.dead.len(), failed_count);
        }
    }
}
