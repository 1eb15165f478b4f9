//! Promises broken on purpose: a test that cannot fail shows nothing.
//!
//! Each place where a promise is kept can be told to break it, by a fail point of the name
//! `sabotage-…`. `docs/semantics.md` lists them with what finds them.

use fail::fail_point;

/// Whether the promise of this name is to be broken. Never, without the feature `failpoints`.
#[inline]
pub(crate) fn sabotaged(name: &str) -> bool {
    fail_point!(name, |_| true);
    let _ = name;
    false
}
