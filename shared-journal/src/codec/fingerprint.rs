//! What a message is about, in 64 bits: to tell the same message that comes again under its id from
//! another one.
//!
//! Of the value, not of its bytes: the same for every codec, every process and every order in which
//! a map or a set gives its elements. The constants and rules are part of the stored format.

use serde::ser::{
    Error as _, Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::CodecError;
use super::exact::{MAX_LEVELS, MAX_WRAPPERS};
use crate::guard::guarded;

/// The fingerprint of a message of the type with the stable name `kind`.
///
/// Elements of maps and of sequences count in any order, since a set is a sequence to serde; those
/// of tuples and structs do not. A field that is `None` counts as absent, so that a message has the
/// same fingerprint when a later version of the program adds an optional field. Two messages that
/// differ have the same fingerprint by chance once in 2^64.
///
/// # Errors
/// The value does not serialize, or is nested too deep.
pub fn fingerprint<T: Serialize + ?Sized>(kind: &str, value: &T) -> Result<u64, CodecError> {
    guarded(|| {
        let content = value.serialize(Hasher { levels: 0, wrappers: 0 });
        let content = content.map_err(|Unhashable(reason)| CodecError::Fingerprint { reason })?;
        Ok(mix(bytes(kind.as_bytes()), content))
    })
}

const NOTHING: u64 = 0x6e6f_7468_696e_6721;
const INTEGER: u64 = 1;
const FLOAT: u64 = 2;
const BOOL: u64 = 3;
const VARIANT: u64 = 4;
const TUPLE: u64 = 5;
const SEQUENCE: u64 = 6;
const MAP: u64 = 7;

/// The last step of SplitMix64 (Steele, Lea, Flood 2014), over both.
fn mix(a: u64, b: u64) -> u64 {
    let mut x = a.rotate_left(23) ^ b.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn bytes(bytes: &[u8]) -> u64 {
    let mut hash = mix(bytes.len() as u64, 0);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = mix(hash, u64::from_le_bytes(word));
    }
    hash
}

#[derive(Debug)]
struct Unhashable(String);

impl std::fmt::Display for Unhashable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unhashable {}

impl serde::ser::Error for Unhashable {
    fn custom<T: std::fmt::Display>(text: T) -> Self {
        Self(text.to_string())
    }
}

type Hashed = Result<u64, Unhashable>;

#[derive(Clone, Copy)]
struct Hasher {
    levels: u16,
    /// `Some`s and newtypes, which are no levels and take stack all the same.
    wrappers: u16,
}

/// Values in something; `variant` is 0, or the hash of the variant's name.
struct Inside {
    hasher: Hasher,
    variant: u64,
    hash: u64,
    key: u64,
}

impl Hasher {
    fn inside(self, variant: u64, begin: u64) -> Result<Inside, Unhashable> {
        let hasher = Self { levels: self.levels + 1, ..self }.checked()?;
        Ok(Inside { hasher, variant, hash: begin, key: 0 })
    }

    fn wrapped(self) -> Result<Self, Unhashable> {
        Self { wrappers: self.wrappers + 1, ..self }.checked()
    }

    fn checked(self) -> Result<Self, Unhashable> {
        if self.levels > MAX_LEVELS || self.wrappers > MAX_WRAPPERS {
            return Err(Unhashable::custom("it is nested too deep"));
        }
        Ok(self)
    }

    fn named(variant: &str) -> u64 {
        mix(VARIANT, bytes(variant.as_bytes()))
    }
}

impl Inside {
    fn in_order<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unhashable> {
        self.hash = mix(self.hash, value.serialize(self.hasher)?);
        Ok(())
    }

    fn in_any_order(&mut self, key: u64, value: u64) {
        self.hash = self.hash.wrapping_add(mix(key, value));
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Unhashable> {
        let value = value.serialize(self.hasher)?;
        if value != NOTHING {
            self.in_any_order(bytes(name.as_bytes()), value);
        }
        Ok(())
    }

    fn finish(self) -> u64 {
        if self.variant == 0 { self.hash } else { mix(self.variant, self.hash) }
    }
}

macro_rules! integers {
    ($($method:ident($type:ty))*) => {
        $(fn $method(self, value: $type) -> Hashed {
            self.serialize_i128(value.into())
        })*
    };
}

impl Serializer for Hasher {
    type Ok = u64;
    type Error = Unhashable;
    type SerializeSeq = Inside;
    type SerializeTuple = Inside;
    type SerializeTupleStruct = Inside;
    type SerializeTupleVariant = Inside;
    type SerializeMap = Inside;
    type SerializeStruct = Inside;
    type SerializeStructVariant = Inside;

    integers! {
        serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64)
        serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64)
    }

    fn serialize_i128(self, value: i128) -> Hashed {
        Ok(mix(INTEGER, bytes(&value.to_le_bytes())))
    }

    fn serialize_u128(self, value: u128) -> Hashed {
        match i128::try_from(value) {
            Ok(value) => self.serialize_i128(value),
            Err(_) => Ok(mix(INTEGER, mix(1, bytes(&value.to_le_bytes())))),
        }
    }

    fn serialize_bool(self, value: bool) -> Hashed {
        Ok(mix(BOOL, value.into()))
    }

    fn serialize_f32(self, value: f32) -> Hashed {
        Ok(mix(FLOAT, value.to_bits().into()))
    }

    fn serialize_f64(self, value: f64) -> Hashed {
        Ok(mix(FLOAT, value.to_bits()))
    }

    fn serialize_char(self, value: char) -> Hashed {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Hashed {
        Ok(bytes(value.as_bytes()))
    }

    fn serialize_bytes(self, value: &[u8]) -> Hashed {
        Ok(bytes(value))
    }

    fn serialize_none(self) -> Hashed {
        Ok(NOTHING)
    }

    fn serialize_unit(self) -> Hashed {
        Ok(NOTHING)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Hashed {
        Ok(NOTHING)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Hashed {
        value.serialize(self.wrapped()?)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Hashed {
        value.serialize(self.wrapped()?)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Hashed {
        Ok(Self::named(variant))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Hashed {
        let mut inside = self.inside(Self::named(variant), 0)?;
        inside.hash = value.serialize(inside.hasher)?;
        Ok(inside.finish())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Inside, Unhashable> {
        self.inside(0, SEQUENCE)
    }

    fn serialize_tuple(self, _: usize) -> Result<Inside, Unhashable> {
        self.inside(0, TUPLE)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Inside, Unhashable> {
        self.inside(0, TUPLE)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Inside, Unhashable> {
        self.inside(Self::named(variant), TUPLE)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Inside, Unhashable> {
        self.inside(0, MAP)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Inside, Unhashable> {
        self.inside(0, MAP)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Inside, Unhashable> {
        self.inside(Self::named(variant), MAP)
    }
}

impl SerializeSeq for Inside {
    type Ok = u64;
    type Error = Unhashable;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unhashable> {
        let value = value.serialize(self.hasher)?;
        self.in_any_order(SEQUENCE, value);
        Ok(())
    }

    fn end(self) -> Hashed {
        Ok(self.finish())
    }
}

macro_rules! tuples {
    ($($trait:ident::$method:ident)*) => {
        $(impl $trait for Inside {
            type Ok = u64;
            type Error = Unhashable;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unhashable> {
                self.in_order(value)
            }

            fn end(self) -> Hashed {
                Ok(self.finish())
            }
        })*
    };
}

tuples! {
    SerializeTuple::serialize_element
    SerializeTupleStruct::serialize_field
    SerializeTupleVariant::serialize_field
}

macro_rules! structs {
    ($($trait:ident)*) => {
        $(impl $trait for Inside {
            type Ok = u64;
            type Error = Unhashable;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Unhashable> {
                self.field(name, value)
            }

            fn end(self) -> Hashed {
                Ok(self.finish())
            }
        })*
    };
}

structs! { SerializeStruct SerializeStructVariant }

impl SerializeMap for Inside {
    type Ok = u64;
    type Error = Unhashable;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unhashable> {
        self.key = key.serialize(self.hasher)?;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unhashable> {
        let (key, value) = (self.key, value.serialize(self.hasher)?);
        self.in_any_order(key, value);
        Ok(())
    }

    fn end(self) -> Hashed {
        Ok(self.finish())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use serde::Serialize;

    use super::*;

    fn of<T: Serialize>(value: T) -> u64 {
        fingerprint("kind", &value).unwrap()
    }

    #[derive(Serialize)]
    enum Order {
        Stop,
        Move { from: u32, to: u32 },
        Pair(u32, u32),
        Note(Option<&'static str>),
    }

    #[test]
    fn it_is_the_same_for_ever() {
        let pay = Order::Move { from: 1, to: 2 };
        assert_eq!(fingerprint("account.order", &pay).unwrap(), PINNED);
    }

    #[test]
    fn other_messages_have_others() {
        let all = [
            of(Order::Stop),
            of(Order::Move { from: 1, to: 2 }),
            of(Order::Move { from: 2, to: 1 }),
            of(Order::Pair(1, 2)),
            of(Order::Pair(2, 1)),
            of(Order::Note(None)),
            of(Order::Note(Some(""))),
            of(0),
            of(0.0),
            of(-0.0),
            of(f64::NAN),
            of(u128::MAX),
            of(-1),
            of(false),
            of([1, 1]),
            of(vec![1, 1]),
            of(vec![1]),
            of(vec![2]),
            of("a"),
            of("a\0"),
            of(()),
            fingerprint("other", &()).unwrap(),
            of(HashMap::from([(1, 2)])),
            of(HashMap::from([(2, 1)])),
        ];
        assert_eq!(HashSet::from(all).len(), all.len(), "{all:x?}");
    }

    #[test]
    fn the_order_of_a_set_and_a_field_without_a_value_make_no_difference() {
        let sets: HashSet<_> = (0..20).map(|_| of((0..100).collect::<HashSet<u32>>())).collect();
        assert_eq!(sets.len(), 1);

        #[derive(Serialize)]
        struct Old {
            cents: u64,
        }
        #[derive(Serialize)]
        struct New {
            memo: Option<String>,
            cents: u64,
        }
        assert_eq!(of(Old { cents: 5 }), of(New { memo: None, cents: 5 }));
        assert_ne!(of(Old { cents: 5 }), of(New { memo: Some(String::new()), cents: 5 }));
    }

    const PINNED: u64 = 18_207_054_034_655_299_008;
}
