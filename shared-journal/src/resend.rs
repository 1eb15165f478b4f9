//! Sending dead letters again: each becomes a new message of its actor, in the commit that takes it from
//! the dead letters.
//!
//! Only who has an actor's [`Session`] can receive for it. So letters are given to the actor, if it runs
//! ([`Mailbox::poll_letters`](crate::Mailbox::poll_letters)); else whoever sends them receives them
//! in its name, and nobody starts it meanwhile. They are read a page at a time, by whoever sends them.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::engine::{Batch, Engine, Receiver, unshare};
use crate::error::JournalError;
use crate::id::{ActorId, MessageKey, Sequence};
use crate::record::DeadLetter;
use crate::session::Session;

/// Letters that are read at once.
const PAGE: usize = 4096;

/// Sends the letters in `range` that there are now. Says how many were sent.
pub(crate) async fn resend(
    engine: &Arc<Engine>,
    actor: &ActorId,
    range: RangeInclusive<Sequence>,
) -> Result<usize, JournalError> {
    let before = Sequence(range.start().0.saturating_sub(1));
    // One that fails again is behind the last.
    let last = engine.look(actor.clone(), |record| record.dead.in_range(range).next_back());
    let Some(last) = last.await?.flatten() else { return Ok(0) };
    let (mut sent, mut session, mut waiting) = (0, None, 0);
    loop {
        // Those that were sent are gone.
        let mut page = engine.dead_letters(actor.clone(), before, PAGE).await?;
        page.letters.retain(|letter| letter.sequence <= last);
        if page.letters.is_empty() {
            return Ok(sent);
        }
        let (batch, submitted, durable) = Batch::new(page);
        if session.is_none() {
            match engine.receiver(actor.clone()).await? {
                Receiver::Running(running) => running.halt.give(batch),
                Receiver::Asker(activation) => {
                    waiting = activation.pending_bytes();
                    let asker = Session::new(engine.clone(), actor.clone(), *activation, &[]);
                    receive(session.insert(asker), batch, &mut waiting)?;
                }
            }
        } else if let Some(session) = &mut session {
            receive(session, batch, &mut waiting)?;
        }
        // If it is dropped, others changed letters, or the actor has ended.
        let outcome = durable.await.unwrap_or(Ok(()));
        sent += submitted.load(Ordering::Acquire);
        outcome.map_err(unshare)?;
    }
}

/// Receives letters of an actor that does not run, all of them in one submission. `waiting` are the bytes
/// of the messages that wait for it.
fn receive(
    session: &mut Session,
    mut batch: Batch,
    waiting: &mut usize,
) -> Result<(), JournalError> {
    *waiting += batch.letters.iter().map(DeadLetter::size).sum::<usize>();
    session.check_room(*waiting)?;
    let shared = session.engine().shared().clone();
    let received = shared.change_letters(session.no(), &mut batch.read_at, || {
        for letter in &batch.letters {
            push_receipt(session, letter)?;
        }
        batch.submitted.store(batch.letters.len(), Ordering::Release);
        let durable = batch.durable;
        session.submit(Box::new(move |outcome| drop(durable.send(outcome)))).map_err(unshare)
    });
    received.unwrap_or(Ok(()))
}

/// Adds the receipt of a letter to the session's run, and returns its new place in the receipt order.
pub(crate) fn push_receipt(
    session: &mut Session,
    letter: &DeadLetter,
) -> Result<Sequence, JournalError> {
    // Without its id: the id's recorded outcome is that of the first time.
    let key = MessageKey::Anonymous;
    // What has no id is always new.
    let sequence = session.admit(key, None).map_err(|_| JournalError::Closed)?;
    session.push(&Session::received_event(
        sequence,
        key,
        &letter.kind,
        &letter.payload,
        Some(letter.sequence),
    ))?;
    session.running().dead.remove(letter.size());
    Ok(sequence)
}

#[cfg(feature = "test-util")]
#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use super::*;
    use crate::mailbox::{MESSAGE, Mailbox};
    use crate::seen::{Nobody, Seen};
    use crate::test_util::MemoryActorProvider;
    use crate::{EventJournal, Limits};

    const COUNT: u64 = 40;

    fn actor() -> ActorId {
        ActorId::new("seen", "1")
    }

    async fn open(store: Arc<MemoryActorProvider>) -> EventJournal {
        let limits = Limits { attempts: 1, ..Limits::default() };
        EventJournal::builder().limits(limits).open_on(store).await.unwrap()
    }

    async fn live(mailbox: &mut Mailbox<Nobody>, seen: &mut Seen, succeed: bool) {
        while !mailbox.is_empty() {
            while let Some(delivery) = mailbox.next().unwrap() {
                let number = delivery.payload().decode().unwrap();
                if succeed {
                    seen.0.push(number);
                    let reply = mailbox.encode("the reply", &number).unwrap();
                    mailbox.processed(delivery, reply);
                } else {
                    mailbox.failed(delivery, "boom", seen).unwrap();
                }
            }
            let _ = mailbox.end_run(seen).unwrap();
            mailbox.ready().await;
        }
    }

    #[tokio::test]
    async fn after_a_crash_at_any_moment_each_letter_is_there_once() {
        let store = MemoryActorProvider::new();
        let journal = open(store.clone()).await;
        let mut mailbox = journal.activate(&actor()).await.unwrap();
        let mut seen = Seen::default();
        for number in 1..=COUNT {
            let payload = mailbox.encode(MESSAGE, &number).unwrap();
            mailbox.accept(None, "number", payload, None, Nobody, None).unwrap();
        }
        live(&mut mailbox, &mut seen, false).await;
        journal.checkpoint().await.unwrap();
        let (before, name) = (store.writes(), actor());
        let range = Sequence(1)..=Sequence(COUNT);
        let mut sending = pin!(journal.resend_dead_letters(&name, range));
        loop {
            let letters = poll_fn(|cx| mailbox.poll_letters(10, |_| true, cx));
            tokio::select! {
                biased;
                sent = &mut sending => {
                    assert_eq!(sent.unwrap(), COUNT as usize);
                    break;
                }
                received = letters => received.unwrap(),
            }
            // Each commit of its own, and some of them with a part of a checkpoint.
            journal.actors().await.unwrap();
            journal.checkpoint().await.unwrap();
            live(&mut mailbox, &mut seen, true).await;
            journal.actors().await.unwrap();
        }
        let writes = store.writes();
        assert!(writes - before > 20, "{writes}");
        let mut moments = std::collections::BTreeSet::new();
        for moment in before..=writes {
            let journal = open(store.as_of(moment)).await;
            let letters = journal.dead_letters(&name).await.unwrap();
            let letters = letters.iter().map(|letter| letter.payload.decode::<u64>().unwrap());
            let mailbox: Mailbox<Nobody> = journal.activate(&name).await.unwrap();
            let state = mailbox.state().map(|it| it.decode::<Vec<u64>>().unwrap());
            let handled = state.unwrap_or_default();
            let waiting = mailbox.queued().map(|it| it.payload().decode::<u64>().unwrap());
            moments.insert((handled.len(), mailbox.len()));
            assert!(handled.into_iter().chain(waiting).chain(letters).eq(1..=COUNT), "{moment}");
        }
        assert!(moments.len() >= 16, "sent, and handled, in parts: {moments:?}");
    }
}
