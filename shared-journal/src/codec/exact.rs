//! A serializer around a codec's own, which refuses what would not come back as it is.
//!
//! What each codec loses stands in [`Rules`]. The depth is counted because decoders recurse: they
//! have a limit that their encoders do not have, or none at all, and then overflow the stack.

use serde::ser::{self, Serialize};

use super::parts::Parts;
use super::path::{Step, Trace};
use crate::sabotage::sabotaged;

/// Levels of arrays and maps that a value may have: what `serde_json` reads.
pub(super) const MAX_LEVELS: u16 = 127;

/// `Some`s and newtypes that may be around each other, and around levels, in one value. They leave no
/// trace in the bytes, but they take stack.
pub(super) const MAX_WRAPPERS: u16 = 512;

/// The newtype by which `serde_json::value::RawValue` gets past a serializer.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// What a codec cannot say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// The codec, for error messages.
    pub(super) name: &'static str,
    /// Only finite floats; a float of 32 bits is read by way of 64.
    pub(super) decimal_floats: bool,
    /// A unit struct is written as one, and does not look like `None`.
    pub(super) unit_structs: bool,
    /// Bytes are an array of numbers.
    pub(super) bytes_are_an_array: bool,
    /// Text that is JSON already can be put in as it is.
    pub(super) raw_json: bool,
    /// The number of parts is written before them.
    pub(super) counted: bool,
}

pub(super) const JSON: Rules = Rules {
    name: "JSON",
    decimal_floats: true,
    unit_structs: false,
    bytes_are_an_array: true,
    raw_json: true,
    counted: false,
};

pub(super) const MESSAGE_PACK: Rules = Rules {
    name: "MessagePack",
    decimal_floats: false,
    // They have a form of their own, which is not read inside of `untagged`.
    unit_structs: false,
    bytes_are_an_array: false,
    raw_json: false,
    counted: true,
};

pub(super) const COMPACT: Rules = Rules { unit_structs: true, ..MESSAGE_PACK };

/// Where serializing is, as far as it matters for what comes next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<T> {
    pub(super) rules: &'static Rules,
    levels: u16,
    wrappers: u16,
    /// Directly in a `Some`, where nothing may look like `None`.
    in_some: bool,
    pub(super) trace: T,
}

impl<T: Trace> Context<T> {
    pub(super) fn new(rules: &'static Rules, trace: T) -> Self {
        Self { rules, levels: MAX_LEVELS, wrappers: MAX_WRAPPERS, in_some: false, trace }
    }

    /// Inside of `levels` more arrays or maps.
    #[inline]
    pub(super) fn inside<E: ser::Error>(self, levels: u16) -> Result<Self, E> {
        match self.levels.checked_sub(levels) {
            Some(levels) => Ok(Self { levels, in_some: false, ..self }),
            None => Err(too_deep()),
        }
    }

    /// Inside of something that leaves no trace in the bytes.
    #[inline]
    fn wrapped<E: ser::Error>(self, in_some: bool) -> Result<Self, E> {
        match self.wrappers.checked_sub(1) {
            Some(wrappers) => Ok(Self { wrappers, in_some, ..self }),
            None => Err(too_deep()),
        }
    }

    #[inline]
    pub(super) fn not_null<E: ser::Error>(self, what: &str) -> Result<(), E> {
        if self.in_some { Err(looks_like_none(self.rules, what)) } else { Ok(()) }
    }
}

#[cold]
fn too_deep<E: ser::Error>() -> E {
    E::custom(format_args!("it is nested deeper than {MAX_LEVELS} levels"))
}

#[cold]
fn looks_like_none<E: ser::Error>(rules: &Rules, what: &str) -> E {
    E::custom(format_args!("{} has no form for Some({what}) other than that of None", rules.name))
}

#[cold]
fn no_form<E: ser::Error>(rules: &Rules, what: impl std::fmt::Display) -> E {
    E::custom(format_args!("{what} has no {} form", rules.name))
}

/// A number that can be written with the digits that tell an `f32` from its neighbours.
///
/// What serde buffers (for `untagged` and `flatten`) is read as an `f64`, and the digits can round to
/// another `f32` on this way, as those of 7.038531e-26 do. Those of the same number as an `f64` cannot.
pub(super) fn shortest_f32(v: f32) -> Option<f32> {
    let detour = format!("{v:e}").parse::<f64>().ok()?;
    (detour as f32 == v).then_some(v)
}

/// A value that is serialized with its context.
pub(super) struct Part<'a, V: ?Sized, T> {
    pub(super) value: &'a V,
    pub(super) context: Context<T>,
}

impl<V: Serialize + ?Sized, T: Trace> Serialize for Part<'_, V, T> {
    #[inline]
    fn serialize<S: ser::Serializer>(&self, inner: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Exact { inner, context: self.context })
    }
}

/// The serializer.
pub(super) struct Exact<S, T> {
    pub(super) inner: S,
    pub(super) context: Context<T>,
}

macro_rules! as_they_are {
    ($($method:ident: $type:ty),* $(,)?) => {$(
        #[inline]
        fn $method(self, v: $type) -> Result<S::Ok, S::Error> {
            self.inner.$method(v)
        }
    )*};
}

impl<S: ser::Serializer, T: Trace> ser::Serializer for Exact<S, T> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Parts<S::SerializeSeq, T>;
    type SerializeTuple = Parts<S::SerializeTuple, T>;
    type SerializeTupleStruct = Parts<S::SerializeTupleStruct, T>;
    type SerializeTupleVariant = Parts<S::SerializeTupleVariant, T>;
    type SerializeMap = Parts<S::SerializeMap, T>;
    type SerializeStruct = Parts<S::SerializeStruct, T>;
    type SerializeStructVariant = Parts<S::SerializeStructVariant, T>;

    as_they_are! {
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_i128: i128,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_u128: u128,
        serialize_char: char,
        serialize_str: &str,
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }

    #[inline]
    fn collect_str<V: std::fmt::Display + ?Sized>(self, value: &V) -> Result<S::Ok, S::Error> {
        self.inner.collect_str(value)
    }

    fn serialize_f32(self, v: f32) -> Result<S::Ok, S::Error> {
        let rules = self.context.rules;
        if !rules.decimal_floats {
            return self.inner.serialize_f32(v);
        }
        if !v.is_finite() {
            return Err(no_form(rules, v));
        }
        match shortest_f32(v) {
            Some(v) => self.inner.serialize_f32(v),
            None => self.inner.serialize_f64(v.into()),
        }
    }

    #[inline]
    fn serialize_f64(self, v: f64) -> Result<S::Ok, S::Error> {
        if self.context.rules.decimal_floats && !v.is_finite() {
            return Err(no_form(self.context.rules, v));
        }
        let v = if sabotaged("sabotage-floats") { f64::from(v as f32) } else { v };
        self.inner.serialize_f64(v)
    }

    #[inline]
    fn serialize_bytes(self, v: &[u8]) -> Result<S::Ok, S::Error> {
        if self.context.rules.bytes_are_an_array {
            self.context.inside::<S::Error>(1)?;
        }
        self.inner.serialize_bytes(v)
    }

    #[inline]
    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.context.not_null::<S::Error>("None")?;
        self.inner.serialize_none()
    }

    #[inline]
    fn serialize_some<V: Serialize + ?Sized>(self, value: &V) -> Result<S::Ok, S::Error> {
        let context = self.context.wrapped(true)?;
        self.inner.serialize_some(&Part { value, context })
    }

    #[inline]
    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.context.not_null::<S::Error>("()")?;
        self.inner.serialize_unit()
    }

    #[inline]
    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        if self.context.rules.unit_structs {
            return self.inner.serialize_unit_struct(name);
        }
        self.context.not_null::<S::Error>(name)?;
        self.inner.serialize_unit()
    }

    #[inline]
    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_variant(name, index, variant)
    }

    #[inline]
    fn serialize_newtype_struct<V: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &V,
    ) -> Result<S::Ok, S::Error> {
        let context = self.context.wrapped(self.context.in_some)?;
        self.inner.serialize_newtype_struct(name, &Part { value, context })
    }

    #[inline]
    fn serialize_newtype_variant<V: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &V,
    ) -> Result<S::Ok, S::Error> {
        let Self { inner, context } = self;
        let context = context.inside(1)?;
        context.trace.enter(
            || Step::Variant(variant),
            || inner.serialize_newtype_variant(name, index, variant, &Part { value, context }),
        )
    }

    #[inline]
    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        let context = self.context.inside(1)?;
        Ok(Parts::new(self.inner.serialize_seq(len)?, context, len))
    }

    #[inline]
    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        let context = self.context.inside(1)?;
        Ok(Parts::new(self.inner.serialize_tuple(len)?, context, len))
    }

    #[inline]
    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        let context = self.context.inside(1)?;
        Ok(Parts::new(self.inner.serialize_tuple_struct(name, len)?, context, len))
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        let context = self.context.inside(2)?;
        let inner = self.inner.serialize_tuple_variant(name, index, variant, len)?;
        Ok(Parts::new(inner, context, len).of(variant))
    }

    #[inline]
    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        let context = self.context.inside(1)?;
        Ok(Parts::new(self.inner.serialize_map(len)?, context, len.map(|len| 2 * len)))
    }

    #[inline]
    fn serialize_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStruct, S::Error> {
        // Raw text is no level of its own. What is in it is looked at when it comes.
        let raw = name == RAW_VALUE;
        if raw && !self.context.rules.raw_json {
            return Err(no_form(self.context.rules, "serde_json::value::RawValue"));
        }
        let context = if raw { self.context } else { self.context.inside(1)? };
        Ok(Parts::new(self.inner.serialize_struct(name, len)?, context, len).raw(raw))
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        let context = self.context.inside(2)?;
        let inner = self.inner.serialize_struct_variant(name, index, variant, len)?;
        Ok(Parts::new(inner, context, len).of(variant))
    }
}
