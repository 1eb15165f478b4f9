//! What is encoded decodes to the same value, or it is not encoded.
//!
//! A serializer around that of a format. It refuses what the format would write and not read back:
//! JSON has no NaN, `Some(None)` and `None` are the same null, and both readers stop at some depth.

use std::cell::{Cell, RefCell};
use std::fmt::Display;

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::Codec;

/// How deep values may be nested: as deep as JSON is read. It is the same for every codec, so that
/// a journal can change its codec, and so that no stack overflows.
pub(super) const MAX_DEPTH: usize = 127;

/// What an encoding comes by.
pub(super) struct Watch {
    codec: Codec,
    depth: Cell<usize>,
    /// The value is directly in a `Some`.
    in_some: Cell<bool>,
    /// Where the value is, if that is wanted: it costs time.
    path: Option<RefCell<Vec<String>>>,
    fault: RefCell<Option<Fault>>,
}

/// A value that does not come back.
pub(super) struct Fault {
    pub(super) path: String,
    pub(super) reason: &'static str,
}

impl Watch {
    pub(super) fn new(codec: Codec, with_path: bool) -> Self {
        Self {
            codec,
            depth: Cell::new(0),
            in_some: Cell::new(false),
            path: with_path.then(RefCell::default),
            fault: RefCell::default(),
        }
    }

    pub(super) fn into_fault(self) -> Option<Fault> {
        self.fault.into_inner()
    }

    fn refuse<E: serde::ser::Error>(&self, reason: &'static str) -> E {
        let path = self.path.as_ref().map(|path| path.borrow().concat()).unwrap_or_default();
        *self.fault.borrow_mut() = Some(Fault { path, reason });
        E::custom(reason)
    }

    /// A value that is no null follows.
    fn value(&self) {
        self.in_some.set(false);
    }

    /// A null follows.
    fn null<E: serde::ser::Error>(&self) -> Result<(), E> {
        if self.in_some.take() {
            return Err(self.refuse("an Option with nothing in its Some is read back as None"));
        }
        Ok(())
    }

    fn float<E: serde::ser::Error>(&self, is_finite: bool) -> Result<(), E> {
        self.value();
        if self.codec == Codec::Json && !is_finite {
            return Err(self.refuse("JSON has no NaN and no infinity"));
        }
        Ok(())
    }

    /// Something that has values in it begins.
    fn open<E: serde::ser::Error>(&self, levels: usize) -> Result<(), E> {
        self.value();
        self.depth.set(self.depth.get() + levels);
        if self.depth.get() > MAX_DEPTH {
            return Err(self.refuse("it is nested deeper than 127 levels"));
        }
        Ok(())
    }

    fn close(&self, levels: usize) {
        self.depth.set(self.depth.get() - levels);
    }

    /// Goes one step down the path for as long as `encode` runs; after an error it stays there.
    fn at<T, E>(
        &self,
        step: impl FnOnce() -> String,
        encode: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        if let Some(path) = &self.path {
            path.borrow_mut().push(step());
        }
        let encoded = encode()?;
        if let Some(path) = &self.path {
            path.borrow_mut().pop();
        }
        Ok(encoded)
    }
}

/// A value that is encoded under watch.
pub(super) struct Watched<'w, T: ?Sized> {
    pub(super) value: &'w T,
    pub(super) watch: &'w Watch,
}

impl<T: Serialize + ?Sized> Serialize for Watched<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(Exact { inner: serializer, watch: self.watch })
    }
}

/// The serializer, or one of what has values in it.
struct Exact<'w, S> {
    inner: S,
    watch: &'w Watch,
}

/// What has values in it, and what of it is done.
struct Inside<'w, S> {
    inner: S,
    watch: &'w Watch,
    levels: usize,
    count: usize,
    key: Option<String>,
}

impl<'w, S> Exact<'w, S> {
    fn inside<C, E: serde::ser::Error>(
        self,
        levels: usize,
        open: impl FnOnce(S) -> Result<C, E>,
    ) -> Result<Inside<'w, C>, E> {
        self.watch.open(levels)?;
        let inner = open(self.inner)?;
        Ok(Inside { inner, watch: self.watch, levels, count: 0, key: None })
    }
}

impl<S> Inside<'_, S> {
    /// The next element of a list.
    fn element<E>(&mut self, encode: impl FnOnce(&mut S) -> Result<(), E>) -> Result<(), E> {
        let (inner, index) = (&mut self.inner, self.count);
        self.count += 1;
        self.watch.at(|| format!("[{index}]"), || encode(inner))
    }

    fn field<E>(
        &mut self,
        name: &'static str,
        encode: impl FnOnce(&mut S) -> Result<(), E>,
    ) -> Result<(), E> {
        let inner = &mut self.inner;
        self.watch.at(|| format!(".{name}"), || encode(inner))
    }

    fn end<T>(self, end: impl FnOnce(S) -> T) -> T {
        self.watch.close(self.levels);
        end(self.inner)
    }
}

macro_rules! values {
    ($($method:ident($type:ty))*) => {
        $(fn $method(self, value: $type) -> Result<Self::Ok, Self::Error> {
            self.watch.value();
            self.inner.$method(value)
        })*
    };
}

impl<'w, S: Serializer> Serializer for Exact<'w, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Inside<'w, S::SerializeSeq>;
    type SerializeTuple = Inside<'w, S::SerializeTuple>;
    type SerializeTupleStruct = Inside<'w, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Inside<'w, S::SerializeTupleVariant>;
    type SerializeMap = Inside<'w, S::SerializeMap>;
    type SerializeStruct = Inside<'w, S::SerializeStruct>;
    type SerializeStructVariant = Inside<'w, S::SerializeStructVariant>;

    values! {
        serialize_bool(bool)
        serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64)
        serialize_i128(i128)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64)
        serialize_u128(u128)
        serialize_char(char) serialize_str(&str) serialize_bytes(&[u8])
    }

    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        self.watch.float(value.is_finite())?;
        self.inner.serialize_f32(value)
    }

    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        self.watch.float(value.is_finite())?;
        self.inner.serialize_f64(value)
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.watch.null()?;
        self.inner.serialize_none()
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.watch.null()?;
        self.inner.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.watch.in_some.set(true);
        self.inner.serialize_some(&Watched { value, watch: self.watch })
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        match self.watch.codec {
            Codec::Json => self.watch.null()?,
            Codec::MessagePack => self.watch.value(),
        }
        self.inner.serialize_unit_struct(name)
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.watch.value();
        self.inner.serialize_unit_variant(name, index, variant)
    }

    /// As the value in it, also in a `Some`; and it may be the only thing between a type and
    /// itself.
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_newtype_struct(name, &Watched { value, watch: self.watch })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.watch.open(1)?;
        let Self { inner, watch } = self;
        let value = Watched { value, watch };
        let encoded = watch.at(
            || format!("::{variant}"),
            || inner.serialize_newtype_variant(name, index, variant, &value),
        )?;
        watch.close(1);
        Ok(encoded)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        self.inside(1, |inner| inner.serialize_seq(len))
    }

    fn serialize_tuple(self, len: usize) -> Result<Self::SerializeTuple, S::Error> {
        self.inside(1, |inner| inner.serialize_tuple(len))
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        self.inside(1, |inner| inner.serialize_tuple_struct(name, len))
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        self.inside(2, |inner| inner.serialize_tuple_variant(name, index, variant, len))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        self.inside(1, |inner| inner.serialize_map(len))
    }

    fn serialize_struct(
        self,
        name: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStruct, S::Error> {
        self.inside(1, |inner| inner.serialize_struct(name, len))
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        self.inside(2, |inner| inner.serialize_struct_variant(name, index, variant, len))
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.watch.value();
        self.inner.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! lists {
    ($($trait:ident::$method:ident)*) => {
        $(impl<S: $trait> $trait for Inside<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
                let watch = self.watch;
                self.element(|inner| inner.$method(&Watched { value, watch }))
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                Inside::end(self, S::end)
            }
        })*
    };
}

lists! {
    SerializeSeq::serialize_element
    SerializeTuple::serialize_element
    SerializeTupleStruct::serialize_field
    SerializeTupleVariant::serialize_field
}

macro_rules! structs {
    ($($trait:ident)*) => {
        $(impl<S: $trait> $trait for Inside<'_, S> {
            type Ok = S::Ok;
            type Error = S::Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), S::Error> {
                let watch = self.watch;
                self.field(name, |inner| inner.serialize_field(name, &Watched { value, watch }))
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), S::Error> {
                self.inner.skip_field(name)
            }

            fn end(self) -> Result<S::Ok, S::Error> {
                Inside::end(self, S::end)
            }
        })*
    };
}

structs! { SerializeStruct SerializeStructVariant }

impl<S: SerializeMap> SerializeMap for Inside<'_, S> {
    type Ok = S::Ok;
    type Error = S::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), S::Error> {
        let watch = self.watch;
        if watch.path.is_some() {
            self.key = serde_json::to_string(key).ok();
        }
        self.element(|inner| inner.serialize_key(&Watched { value: key, watch }))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), S::Error> {
        let Self { inner, watch, key, .. } = self;
        let step = || format!("[{}]", key.take().unwrap_or_else(|| "?".to_owned()));
        watch.at(step, || inner.serialize_value(&Watched { value, watch }))
    }

    fn end(self) -> Result<S::Ok, S::Error> {
        Inside::end(self, S::end)
    }
}
