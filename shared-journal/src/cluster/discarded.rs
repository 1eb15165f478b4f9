//! A letter of a line that an operator has discarded.
//!
//! What was sent behind it waits for its number, so it cannot just go. It is posted again under another kind, the
//! letter itself is removed, and the owner of its actor receives it in the actor's name: as a dead letter, which is
//! listed, sent again or discarded as any other. A crash in between leaves both letters: the first is
//! still there to be discarded, and its number is known then.

use super::host::{Delivered, Parcel};
use super::lanes::when_gone;
use crate::error::JournalError;
use crate::id::ActorId;
use crate::journal::EventJournal;
use crate::mailbox::error_text;

/// Before the kind of the message that was discarded.
const PREFIX: &str = "actors:discarded:";
const BY: &str = "an operator";
const WHY: &str = "its letter was discarded";

/// The kind under which a letter is posted again.
pub(super) fn discarded(kind: &str) -> String {
    format!("{PREFIX}{kind}")
}

/// Whether a letter of this kind was discarded.
pub(super) fn is_discarded(kind: &str) -> bool {
    kind.starts_with(PREFIX)
}

/// Makes a message a dead letter of an actor that does not run, or is leaving memory.
pub(super) async fn bury(journal: &EventJournal, actor: &ActorId, parcel: Parcel) {
    let Parcel { key, kind, payload, answer, .. } = parcel;
    let kind = kind.strip_prefix(PREFIX).unwrap_or(&kind);
    let buried = when_gone(|| async {
        journal.repair(BY, WHY)?.receive_dead(actor, key, kind, payload.clone()).await
    });
    let buried = buried.await;
    answer.answer(match (buried, journal.stopped()) {
        (Ok(error), _) => Delivered::Failed { attempts: 0, error: error.into() },
        // A handler takes longer. It comes again.
        (Err(JournalError::AlreadyActive { .. }), None) => Delivered::Lost(None),
        (Err(_), Some(stopped)) => Delivered::Lost(Some(stopped)),
        (Err(error), None) => Delivered::Refused(error_text(&error).into()),
    });
}
