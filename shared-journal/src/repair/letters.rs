//! Dead letters that are mended by hand: one, or many in the name of somebody.

use std::ops::RangeInclusive;

use super::{Repair, commit, encode};
use crate::codec::Payload;
use crate::engine::{Engine, Letters, Ticket};
use crate::error::JournalError;
use crate::event::{ActorEvent, RepairAction};
use crate::id::{ActorId, MessageKey, Sequence};
use crate::ids::Seen;
use crate::record::DeadLetter;
use crate::recovery::given_up;
use crate::session::Session;

impl Repair {
    /// A dead letter as text.
    ///
    /// # Errors
    /// [`JournalError::NoSuchDeadLetter`]; [`JournalError::Encode`] if it is no text; the journal has
    /// stopped.
    pub async fn dead_letter_text(
        &self,
        actor: &ActorId,
        sequence: Sequence,
    ) -> Result<String, JournalError> {
        let (letter, _) = self.letter(&self.journal.engine(), actor, sequence).await?;
        Ok(letter.payload.to_text().into_owned())
    }

    /// Gives a dead letter another content; its type stays. Of a running actor, too.
    ///
    /// # Errors
    /// [`JournalError::NoSuchDeadLetter`]; [`JournalError::Encode`] if `text` is not JSON;
    /// [`JournalError::TooLarge`]; the journal has stopped.
    pub async fn edit_dead_letter(
        &self,
        actor: &ActorId,
        sequence: Sequence,
        text: &str,
    ) -> Result<(), JournalError> {
        self.change(actor, sequence, |mut letter| {
            let codec = letter.payload.codec();
            let payload =
                Payload::from_text(codec, text).map_err(|source| encode(actor, source))?;
            let limit = self.journal.limits().message_bytes;
            self.fits(actor, "the message", &payload, limit)?;
            letter.payload = payload.into_owned();
            let letter = Box::new(letter);
            Ok(vec![self.event(RepairAction::DeadLetterEdited { letter })])
        })
        .await
    }

    /// Receives the next message of a line as a dead letter, in the name of an actor that does not run. One that
    /// was received before stays what it is. What it is given up for.
    ///
    /// # Errors
    /// [`JournalError::AlreadyActive`]; [`JournalError::EarlyMessage`]; [`JournalError::DeadLettersFull`];
    /// the journal has stopped.
    pub(crate) async fn receive_dead(
        &self,
        actor: &ActorId,
        key: MessageKey,
        kind: &str,
        payload: Payload<'static>,
    ) -> Result<String, JournalError> {
        let engine = self.journal.engine();
        let activation = engine.activate_for_repair(actor.clone()).await?;
        let mut session = Session::new(engine.clone(), actor.clone(), activation, &[]);
        session.check_room_for_dead()?;
        let sequence = match session.admit(key, None) {
            Ok(sequence) => sequence,
            Err(Seen::Early { missing }) => {
                let (actor, kind) = (actor.clone(), kind.to_owned());
                return Err(JournalError::EarlyMessage { actor, kind, missing });
            }
            Err(_) => return Ok(given_up(&self.by, &self.why)),
        };
        let action = RepairAction::GivenUp { sequence };
        self.log(actor, &action);
        let kind = kind.into();
        session.push(&ActorEvent::MessageReceived {
            sequence,
            key,
            kind,
            payload,
            resend_of: None,
        })?;
        session.push(&self.event(action))?;
        commit(session).await?;
        engine.shared().count_dead_letter();
        Ok(given_up(&self.by, &self.why))
    }

    /// As [`EventJournal::resend_dead_letter`](crate::EventJournal::resend_dead_letter). That it was asked
    /// for is in the history first.
    ///
    /// # Errors
    /// As [`EventJournal::resend_dead_letter`](crate::EventJournal::resend_dead_letter).
    pub async fn resend_dead_letter(
        &self,
        actor: &ActorId,
        sequence: Sequence,
    ) -> Result<(), JournalError> {
        self.letter(&self.journal.engine(), actor, sequence).await?;
        self.write(actor, &[self.event(RepairAction::DeadLetterResent { sequence })]).await?;
        self.journal.resend_dead_letter(actor, sequence).await
    }

    /// Throws a dead letter away. Of a running actor, too.
    ///
    /// # Errors
    /// [`JournalError::NoSuchDeadLetter`], or the journal has stopped.
    pub async fn discard_dead_letter(
        &self,
        actor: &ActorId,
        sequence: Sequence,
    ) -> Result<(), JournalError> {
        self.change(actor, sequence, |_| {
            let repaired = self.event(RepairAction::DeadLetterDiscarded { sequence });
            Ok(vec![repaired, ActorEvent::DeadLetterDiscarded { sequence }])
        })
        .await
    }

    /// As [`EventJournal::resend_dead_letters`](crate::EventJournal::resend_dead_letters), of those that
    /// there are in `range` now. That it was asked for is in the history first, once for all of them; not
    /// if there are none.
    ///
    /// Dropped, or after an error, a part of them may have been sent.
    ///
    /// # Errors
    /// As [`EventJournal::resend_dead_letters`](crate::EventJournal::resend_dead_letters).
    pub async fn resend_dead_letters(
        &self,
        actor: &ActorId,
        range: RangeInclusive<Sequence>,
    ) -> Result<usize, JournalError> {
        let Some((first, last, count)) = self.letters_in(actor, range).await? else {
            return Ok(0);
        };
        let repaired = self.event(RepairAction::DeadLettersResent { first, last, count });
        self.write(actor, &[repaired]).await?;
        self.journal.resend_dead_letters(actor, first..=last).await
    }

    /// As [`EventJournal::discard_dead_letters`](crate::EventJournal::discard_dead_letters), of those that
    /// there are in `range` now. That it was asked for is in the history first, once for all of them; not
    /// if there are none.
    ///
    /// Dropped, or after an error, a part of them may be gone.
    ///
    /// # Errors
    /// The journal has stopped.
    pub async fn discard_dead_letters(
        &self,
        actor: &ActorId,
        range: RangeInclusive<Sequence>,
    ) -> Result<usize, JournalError> {
        let Some((first, last, count)) = self.letters_in(actor, range).await? else {
            return Ok(0);
        };
        let repaired = self.event(RepairAction::DeadLettersDiscarded { first, last, count });
        self.write(actor, &[repaired]).await?;
        self.journal.discard_dead_letters(actor, first..=last).await
    }

    /// The first and the last dead letter in a range, and how many there are. None if there is none.
    async fn letters_in(
        &self,
        actor: &ActorId,
        range: RangeInclusive<Sequence>,
    ) -> Result<Option<(Sequence, Sequence, u64)>, JournalError> {
        let engine = self.journal.engine();
        let found = engine.look(actor.clone(), move |record| {
            let first = record.dead.in_range(range.clone()).next()?;
            let last = record.dead.in_range(range.clone()).next_back()?;
            Some((first, last, record.dead.in_range(range).count() as u64))
        });
        Ok(found.await?.flatten())
    }

    /// Changes a dead letter, of an actor that may run, as it is then.
    async fn change<'e>(
        &'e self,
        actor: &ActorId,
        sequence: Sequence,
        change: impl Fn(DeadLetter) -> Result<Vec<ActorEvent<'e>>, JournalError>,
    ) -> Result<(), JournalError> {
        let engine = self.journal.engine();
        loop {
            let (letter, read_at) = self.letter(&engine, actor, sequence).await?;
            let events = change(letter)?;
            let no = self.number(&engine, actor).await?;
            if engine.write_letters(no, read_at, &events).await? {
                self.log_first(actor, &events);
                return Ok(());
            }
        }
    }

    /// A dead letter, and when it was read.
    async fn letter(
        &self,
        engine: &Engine,
        actor: &ActorId,
        sequence: Sequence,
    ) -> Result<(DeadLetter, Ticket), JournalError> {
        let before = Sequence(sequence.0.saturating_sub(1));
        let Letters { letters, read_at } = engine.dead_letters(actor.clone(), before, 1).await?;
        let letter = letters.into_iter().find(|letter| letter.sequence == sequence);
        let missing = || JournalError::NoSuchDeadLetter { actor: actor.clone(), sequence };
        Ok((letter.ok_or_else(missing)?, read_at))
    }
}
