//! Values with parts: sequences, maps, structs.

use serde::ser::{self, Error as _, Serialize};

use super::depth;
use super::exact::{Context, Part};
use super::path::{Step, Trace};

/// A value whose parts are serialized one by one.
pub(super) struct Parts<C, T> {
    inner: C,
    /// Of each part.
    context: Context<T>,
    next: usize,
    /// What its `Serialize` has announced, where that matters.
    announced: Option<usize>,
    variant: Option<&'static str>,
    key: Option<String>,
    /// The last part was a key, whose value is next.
    at_value: bool,
    /// Its only field is text that is written as it is.
    raw: bool,
}

impl<C, T: Trace> Parts<C, T> {
    #[inline]
    pub(super) fn new(inner: C, context: Context<T>, len: impl Into<Option<usize>>) -> Self {
        let announced = if context.rules.counted { len.into() } else { None };
        Self {
            inner,
            context,
            next: 0,
            announced,
            variant: None,
            key: None,
            at_value: false,
            raw: false,
        }
    }

    #[inline]
    fn complete<E: ser::Error>(&self) -> Result<(), E> {
        match self.announced {
            Some(announced) if announced != self.next => {
                Err(E::custom(format_args!("{} parts instead of {announced}", self.next)))
            }
            _ => Ok(()),
        }
    }

    /// Whether the last key of a map has its value.
    #[inline]
    fn has_value<E: ser::Error>(&mut self) -> Result<(), E> {
        if !self.at_value {
            return Ok(());
        }
        let key = self.key.take();
        let refused = || Err(E::custom("a key without a value"));
        self.context.trace.enter(|| Step::Value(key), refused)
    }

    #[inline]
    pub(super) fn of(self, variant: &'static str) -> Self {
        Self { variant: Some(variant), ..self }
    }

    #[inline]
    pub(super) fn raw(self, raw: bool) -> Self {
        Self { raw, ..self }
    }

    /// One part, at `step` from the whole.
    #[inline]
    fn part<V, R, E>(
        &mut self,
        step: impl FnOnce(usize) -> Step,
        value: &V,
        serialize: impl FnOnce(&mut C, &Part<'_, V, T>) -> Result<R, E>,
    ) -> Result<R, E>
    where
        V: Serialize + ?Sized,
    {
        let Self { inner, context, next, variant, .. } = self;
        let place = *next;
        *next += 1;
        let context = *context;
        let serialize = || serialize(inner, &Part { value, context });
        match *variant {
            None => context.trace.enter(|| step(place), serialize),
            Some(variant) => context.trace.enter(
                || Step::Variant(variant),
                || context.trace.enter(|| step(place), serialize),
            ),
        }
    }
}

/// Parts that have a place.
macro_rules! by_place {
    ($($part:ident: $method:ident as $step:ident),*) => {$(
        impl<C: ser::$part, T: Trace> ser::$part for Parts<C, T> {
            type Ok = C::Ok;
            type Error = C::Error;

            #[inline]
            fn $method<V: Serialize + ?Sized>(&mut self, value: &V) -> Result<(), C::Error> {
                self.part(Step::$step, value, |inner, part| inner.$method(part))
            }

            #[inline]
            fn end(self) -> Result<C::Ok, C::Error> {
                self.complete::<C::Error>()?;
        self.inner.end()
            }
        }
    )*};
}

by_place!(
    SerializeSeq: serialize_element as Element,
    SerializeTuple: serialize_element as Place,
    SerializeTupleStruct: serialize_field as Place,
    SerializeTupleVariant: serialize_field as Place
);

impl<C: ser::SerializeMap, T: Trace> ser::SerializeMap for Parts<C, T> {
    type Ok = C::Ok;
    type Error = C::Error;

    #[inline]
    fn serialize_key<V: Serialize + ?Sized>(&mut self, key: &V) -> Result<(), C::Error> {
        self.has_value::<C::Error>()?;
        self.at_value = true;
        self.part(|_| Step::Key, key, |inner, part| inner.serialize_key(part))?;
        self.key = self.context.trace.key(key);
        Ok(())
    }

    #[inline]
    fn serialize_value<V: Serialize + ?Sized>(&mut self, value: &V) -> Result<(), C::Error> {
        if !std::mem::take(&mut self.at_value) {
            return Err(C::Error::custom("a value without a key"));
        }
        let key = self.key.take();
        self.part(|_| Step::Value(key), value, |inner, part| inner.serialize_value(part))
    }

    #[inline]
    fn end(mut self) -> Result<C::Ok, C::Error> {
        self.has_value::<C::Error>()?;
        self.complete::<C::Error>()?;
        self.inner.end()
    }
}

impl<C: ser::SerializeStruct, T: Trace> ser::SerializeStruct for Parts<C, T> {
    type Ok = C::Ok;
    type Error = C::Error;

    #[inline]
    fn serialize_field<V: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &V,
    ) -> Result<(), C::Error> {
        if self.raw {
            return self.serialize_raw(name, value);
        }
        self.part(|_| Step::Field(name), value, |inner, part| inner.serialize_field(name, part))
    }

    #[inline]
    fn skip_field(&mut self, name: &'static str) -> Result<(), C::Error> {
        self.inner.skip_field(name)
    }

    #[inline]
    fn end(self) -> Result<C::Ok, C::Error> {
        self.complete::<C::Error>()?;
        self.inner.end()
    }
}

impl<C: ser::SerializeStruct, T: Trace> Parts<C, T> {
    /// Text that goes into the JSON as it is: with levels of its own, and perhaps `null`.
    #[cold]
    fn serialize_raw<V: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &V,
    ) -> Result<(), C::Error> {
        let text = serde_json::to_value(value).map_err(C::Error::custom)?;
        let text = text.as_str().unwrap_or_default();
        let levels = u16::try_from(depth::of_json(text.as_bytes())).unwrap_or(u16::MAX);
        self.context.inside::<C::Error>(levels)?;
        if text.trim_ascii() == "null" {
            self.context.not_null::<C::Error>("null")?;
        }
        self.next += 1;
        // Not wrapped: it is read by its type.
        self.inner.serialize_field(name, value)
    }
}

impl<C: ser::SerializeStructVariant, T: Trace> ser::SerializeStructVariant for Parts<C, T> {
    type Ok = C::Ok;
    type Error = C::Error;

    #[inline]
    fn serialize_field<V: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &V,
    ) -> Result<(), C::Error> {
        self.part(|_| Step::Field(name), value, |inner, part| inner.serialize_field(name, part))
    }

    #[inline]
    fn skip_field(&mut self, name: &'static str) -> Result<(), C::Error> {
        self.inner.skip_field(name)
    }

    #[inline]
    fn end(self) -> Result<C::Ok, C::Error> {
        self.complete::<C::Error>()?;
        self.inner.end()
    }
}
