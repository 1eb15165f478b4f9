//! Panics of the code that an application gives serde.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::error::CodecError;

const MAX_TEXT_BYTES: usize = 1024;

/// Runs `f`; a panic in it is an error that names `T`.
///
/// What `f` was writing to holds anything then.
pub(super) fn guard<T: ?Sized, R>(
    operation: &'static str,
    f: impl FnOnce() -> Result<R, CodecError>,
) -> Result<R, CodecError> {
    // Serializing borrows a value and deserializing makes one: neither leaves anything behind.
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        Err(CodecError::Panicked {
            type_name: std::any::type_name::<T>(),
            operation,
            text: text(&*panic),
        })
    })
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("without a text");
    text[..text.floor_char_boundary(MAX_TEXT_BYTES)].to_owned()
}
