//! Code of the user's types that may panic: that is an error as any other.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures::FutureExt;

use crate::codec::CodecError;
use crate::error::JournalError;
use crate::id::ActorId;

/// Longest text of a failure that is kept, in bytes: it is stored with each dead letter.
const MAX_TEXT_BYTES: usize = 16 << 10;

/// The text of a panic that was caught, for [`Mailbox::failed`](crate::Mailbox::failed). What was panicked
/// with is dropped here, and may panic again as it is.
#[must_use]
pub fn caught(panic: Box<dyn Any + Send>) -> String {
    let text = panic_text(&*panic);
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        // There may be no end to this.
        std::mem::forget(again);
    }
    text
}

/// The text of a panic, if it has one.
#[must_use]
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = if let Some(text) = panic.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "a panic without a text"
    };
    shortened(text).to_owned()
}

/// Makes and starts an actor. If that panics it is [`JournalError::NotMade`], and whoever starts actors goes on.
///
/// # Errors
/// As `start`.
pub async fn made<T, E: From<JournalError>>(
    actor: &ActorId,
    start: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    AssertUnwindSafe(start).catch_unwind().await.unwrap_or_else(|panic| {
        let (actor, reason) = (actor.clone(), caught(panic));
        Err(JournalError::NotMade { actor, reason }.into())
    })
}

/// Runs code of the user's types; a panic is an error.
pub(crate) fn guarded<T>(run: impl FnOnce() -> Result<T, CodecError>) -> Result<T, CodecError> {
    catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|panic| Err(CodecError::Panicked { text: caught(panic) }))
}

/// The beginning of a text that is too long to be kept with a message.
pub(crate) fn shortened(text: &str) -> &str {
    beginning(text, MAX_TEXT_BYTES)
}

/// At most so many bytes of a text, and no part of a character.
pub(crate) fn beginning(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_two_characters() {
        let long = "ä".repeat(MAX_TEXT_BYTES);
        let text = panic_text(&long.clone());
        assert_eq!(text.len(), MAX_TEXT_BYTES);
        assert!(long.starts_with(&text));
        assert_eq!(panic_text(&"short"), "short");
        assert_eq!(panic_text(&7), "a panic without a text");
    }

    #[test]
    fn what_panics_again_as_it_is_dropped_is_a_panic_like_others() {
        struct Twice;
        impl Drop for Twice {
            fn drop(&mut self) {
                panic!("once more");
            }
        }
        let panic = catch_unwind(|| std::panic::panic_any(Twice)).unwrap_err();
        assert_eq!(caught(panic), "a panic without a text");
    }
}
