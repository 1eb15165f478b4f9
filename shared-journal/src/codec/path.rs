//! Where in a value serializing is.

use std::cell::RefCell;
use std::fmt::Write;

use serde::ser::Serialize;

/// Notes where serializing is, or does not.
pub(super) trait Trace: Copy {
    /// Serializes a part of a value. Where it fails, the way to it stays.
    fn enter<R, E>(
        self,
        step: impl FnOnce() -> Step,
        serialize: impl FnOnce() -> Result<R, E>,
    ) -> Result<R, E>;

    /// The key of the next value.
    fn key<T: Serialize + ?Sized>(self, key: &T) -> Option<String>;
}

/// From a value to a part of it.
#[derive(Debug)]
pub(super) enum Step {
    Field(&'static str),
    Place(usize),
    Element(usize),
    Variant(&'static str),
    /// A map's key itself.
    Key,
    /// The value of a key, as text.
    Value(Option<String>),
}

/// The first attempt, which most values pass: nothing is noted.
#[derive(Debug, Clone, Copy)]
pub(super) struct NoTrace;

impl Trace for NoTrace {
    #[inline]
    fn enter<R, E>(
        self,
        _step: impl FnOnce() -> Step,
        serialize: impl FnOnce() -> Result<R, E>,
    ) -> Result<R, E> {
        serialize()
    }

    #[inline]
    fn key<T: Serialize + ?Sized>(self, _key: &T) -> Option<String> {
        None
    }
}

/// The way to what is being serialized.
#[derive(Debug, Default)]
pub(super) struct Path(RefCell<Vec<Step>>);

impl Trace for &Path {
    fn enter<R, E>(
        self,
        step: impl FnOnce() -> Step,
        serialize: impl FnOnce() -> Result<R, E>,
    ) -> Result<R, E> {
        let depth = self.0.borrow().len();
        self.0.borrow_mut().push(step());
        let done = serialize()?;
        // Something in there may have failed, and its `Serialize` gone another way.
        self.0.borrow_mut().truncate(depth);
        Ok(done)
    }

    fn key<T: Serialize + ?Sized>(self, key: &T) -> Option<String> {
        let mut text = Vec::new();
        key.serialize(&mut serde_json::Serializer::new(&mut text)).ok()?;
        String::from_utf8(text).ok()
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const MAX_STEPS: usize = 20;
        let steps = self.0.borrow();
        let mut first = true;
        for step in steps.iter().take(MAX_STEPS) {
            match step {
                Step::Field(name) if first => f.write_str(name)?,
                Step::Field(name) => write!(f, ".{name}")?,
                Step::Place(place) => write!(f, ".{place}")?,
                Step::Element(place) => write!(f, "[{place}]")?,
                Step::Variant(name) => write!(f, "::{name}")?,
                Step::Key => f.write_str("[key]")?,
                Step::Value(Some(key)) if key.len() <= 64 => write!(f, "[{key}]")?,
                Step::Value(_) => f.write_str("[…]")?,
            }
            first = false;
        }
        if steps.len() > MAX_STEPS {
            f.write_char('…')?;
        }
        Ok(())
    }
}
