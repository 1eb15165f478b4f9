//! A stable hash of a value: whether a message that comes again is the same message.
//!
//! The hash is of what serde sees, not of any codec's bytes, so it stays the same when a journal
//! changes its codec. It is stored: the algorithm must never change (the test pins it).
//!
//! - Each word is mixed into the state (`mix`); text and bytes are words of
//!   eight bytes, little endian, the last one filled with zeros, preceded by their length.
//! - Integers of any width count by value. A float counts by its bits as `f64`; a NaN of an `f32` by
//!   its own bits.
//! - The entries of maps, and the elements of sequences, are added: their number counts and their
//!   order does not, because nobody can see whether a container has one.
//! - A struct is a map of its fields' names, without those that are `None`: a program that adds an
//!   optional field still recognizes its messages. Tuples have an order, newtype structs are what
//!   they contain, and the names of types do not count.

use std::fmt;

use serde::ser::{self, Serialize};

use super::CodecError;

/// Values that are nested deeper have no fingerprint, and are not encoded either.
const MAX_DEPTH: u16 = 1024;

/// A hash of a message, the same in every process, on every platform, with every codec.
///
/// Equal for equal values; different for different ones but for a chance of 2⁻⁶⁴, and but for the
/// order of a sequence's elements: a `Vec` cannot be told from a `HashSet`. Not for security: it is
/// easy to make two messages with one fingerprint on purpose.
///
/// # Errors
/// The value's `Serialize` refuses it, or it is nested too deep.
pub fn fingerprint<T: Serialize + ?Sized>(kind: &str, value: &T) -> Result<u64, CodecError> {
    match value.serialize(Hasher { depth: MAX_DEPTH }) {
        Ok(hash) => Ok(mix(text(Tag::Kind, kind), hash)),
        Err(Refusal(reason)) => Err(CodecError::Refused {
            type_name: std::any::type_name::<T>(),
            path: String::new(),
            reason,
        }),
    }
}

/// What a value is. The numbers are part of the format.
#[derive(Clone, Copy)]
enum Tag {
    Kind = 1,
    None = 2,
    Some = 3,
    Unit = 4,
    Bool = 5,
    Natural = 6,
    Negative = 7,
    Float = 8,
    NanF32 = 9,
    Text = 10,
    Bytes = 11,
    Sequence = 12,
    Tuple = 13,
    Map = 14,
    Variant = 15,
}

/// The finalizer of SplitMix64, over the state and one more word. The two are not alike: a key and a
/// value change places without it.
fn mix(state: u64, word: u64) -> u64 {
    let state = state.wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mut z = (state ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn start(tag: Tag) -> u64 {
    mix(0, tag as u64)
}

fn bytes(tag: Tag, bytes: &[u8]) -> u64 {
    let mut state = mix(start(tag), bytes.len() as u64);
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        state = mix(state, u64::from_le_bytes(word));
    }
    state
}

fn text(tag: Tag, text: &str) -> u64 {
    bytes(tag, text.as_bytes())
}

fn natural(tag: Tag, n: u128) -> u64 {
    mix(mix(start(tag), n as u64), (n >> 64) as u64)
}

fn integer(n: i128) -> u64 {
    natural(if n < 0 { Tag::Negative } else { Tag::Natural }, n.unsigned_abs())
}

fn float(x: f64) -> u64 {
    mix(start(Tag::Float), x.to_bits())
}

/// Hashes one value. By value: a hash is what serializing returns.
#[derive(Clone, Copy)]
struct Hasher {
    /// How many levels may follow.
    depth: u16,
}

/// Why a value has no fingerprint.
#[derive(Debug)]
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

impl ser::Error for Refusal {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self(reason.to_string())
    }
}

impl Hasher {
    fn deeper(self) -> Result<Self, Refusal> {
        let depth = self.depth.checked_sub(1);
        let depth = depth.ok_or_else(|| Refusal("it is nested too deep".to_owned()))?;
        Ok(Self { depth })
    }

    fn parts(self, tag: Tag, variant: Option<&str>) -> Result<Parts, Refusal> {
        let of = self.deeper()?;
        Ok(Parts { of, tag, variant: variant.map(variant_of), sum: 0, count: 0, key: 0 })
    }
}

fn variant_of(name: &str) -> u64 {
    text(Tag::Variant, name)
}

/// A value with parts, some of them hashed.
struct Parts {
    of: Hasher,
    tag: Tag,
    variant: Option<u64>,
    sum: u64,
    count: u64,
    key: u64,
}

impl Parts {
    fn hash<T: Serialize + ?Sized>(&self, value: &T) -> Result<u64, Refusal> {
        value.serialize(self.of)
    }

    /// A part whose place does not count.
    fn add(&mut self, hash: u64) {
        self.sum = self.sum.wrapping_add(hash);
        self.count += 1;
    }

    /// A part behind the ones before it.
    fn append(&mut self, hash: u64) {
        self.sum = mix(self.sum, hash);
        self.count += 1;
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Refusal> {
        let value = self.hash(value)?;
        if value != start(Tag::None) {
            self.add(mix(text(Tag::Text, name), value));
        }
        Ok(())
    }

    fn finish(self) -> u64 {
        let hash = mix(mix(start(self.tag), self.count), self.sum);
        self.variant.map_or(hash, |variant| mix(variant, hash))
    }
}

impl ser::Serializer for Hasher {
    type Ok = u64;
    type Error = Refusal;
    type SerializeSeq = Parts;
    type SerializeTuple = Parts;
    type SerializeTupleStruct = Parts;
    type SerializeTupleVariant = Parts;
    type SerializeMap = Parts;
    type SerializeStruct = Parts;
    type SerializeStructVariant = Parts;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, v: bool) -> Result<u64, Refusal> {
        Ok(mix(start(Tag::Bool), v.into()))
    }

    fn serialize_i8(self, v: i8) -> Result<u64, Refusal> {
        Ok(integer(v.into()))
    }

    fn serialize_i16(self, v: i16) -> Result<u64, Refusal> {
        Ok(integer(v.into()))
    }

    fn serialize_i32(self, v: i32) -> Result<u64, Refusal> {
        Ok(integer(v.into()))
    }

    fn serialize_i64(self, v: i64) -> Result<u64, Refusal> {
        Ok(integer(v.into()))
    }

    fn serialize_i128(self, v: i128) -> Result<u64, Refusal> {
        Ok(integer(v))
    }

    fn serialize_u8(self, v: u8) -> Result<u64, Refusal> {
        Ok(natural(Tag::Natural, v.into()))
    }

    fn serialize_u16(self, v: u16) -> Result<u64, Refusal> {
        Ok(natural(Tag::Natural, v.into()))
    }

    fn serialize_u32(self, v: u32) -> Result<u64, Refusal> {
        Ok(natural(Tag::Natural, v.into()))
    }

    fn serialize_u64(self, v: u64) -> Result<u64, Refusal> {
        Ok(natural(Tag::Natural, v.into()))
    }

    fn serialize_u128(self, v: u128) -> Result<u64, Refusal> {
        Ok(natural(Tag::Natural, v))
    }

    fn serialize_f32(self, v: f32) -> Result<u64, Refusal> {
        // What a conversion leaves of a NaN's bits depends on the platform.
        Ok(if v.is_nan() { mix(start(Tag::NanF32), v.to_bits().into()) } else { float(v.into()) })
    }

    fn serialize_f64(self, v: f64) -> Result<u64, Refusal> {
        Ok(float(v))
    }

    fn serialize_char(self, v: char) -> Result<u64, Refusal> {
        Ok(text(Tag::Text, v.encode_utf8(&mut [0; 4])))
    }

    fn serialize_str(self, v: &str) -> Result<u64, Refusal> {
        Ok(text(Tag::Text, v))
    }

    fn serialize_bytes(self, v: &[u8]) -> Result<u64, Refusal> {
        Ok(bytes(Tag::Bytes, v))
    }

    fn serialize_none(self) -> Result<u64, Refusal> {
        Ok(start(Tag::None))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<u64, Refusal> {
        Ok(mix(start(Tag::Some), value.serialize(self.deeper()?)?))
    }

    fn serialize_unit(self) -> Result<u64, Refusal> {
        Ok(start(Tag::Unit))
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<u64, Refusal> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<u64, Refusal> {
        Ok(variant_of(variant))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<u64, Refusal> {
        value.serialize(self.deeper()?)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<u64, Refusal> {
        Ok(mix(variant_of(variant), value.serialize(self.deeper()?)?))
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Parts, Refusal> {
        self.parts(Tag::Sequence, None)
    }

    fn serialize_tuple(self, _len: usize) -> Result<Parts, Refusal> {
        self.parts(Tag::Tuple, None)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Parts, Refusal> {
        self.parts(Tag::Tuple, None)
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Parts, Refusal> {
        self.parts(Tag::Tuple, Some(variant))
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Parts, Refusal> {
        self.parts(Tag::Map, None)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Parts, Refusal> {
        self.parts(Tag::Map, None)
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Parts, Refusal> {
        self.parts(Tag::Map, Some(variant))
    }
}

impl ser::SerializeSeq for Parts {
    type Ok = u64;
    type Error = Refusal;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        let hash = self.hash(value)?;
        self.add(hash);
        Ok(())
    }

    fn end(self) -> Result<u64, Refusal> {
        Ok(self.finish())
    }
}

impl ser::SerializeMap for Parts {
    type Ok = u64;
    type Error = Refusal;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refusal> {
        self.key = self.hash(key)?;
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        let hash = mix(self.key, self.hash(value)?);
        self.add(hash);
        Ok(())
    }

    fn end(self) -> Result<u64, Refusal> {
        Ok(self.finish())
    }
}

/// Parts that have an order.
macro_rules! in_order {
    ($($part:ident: $method:ident),*) => {$(
        impl ser::$part for Parts {
            type Ok = u64;
            type Error = Refusal;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
                let hash = self.hash(value)?;
                self.append(hash);
                Ok(())
            }

            fn end(self) -> Result<u64, Refusal> {
                Ok(self.finish())
            }
        }
    )*};
}

in_order!(
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field
);

/// Parts that have names.
macro_rules! by_name {
    ($($part:ident),*) => {$(
        impl ser::$part for Parts {
            type Ok = u64;
            type Error = Refusal;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Refusal> {
                self.field(name, value)
            }

            fn end(self) -> Result<u64, Refusal> {
                Ok(self.finish())
            }
        }
    )*};
}

by_name!(SerializeStruct, SerializeStructVariant);

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap, HashSet};

    use serde::Serialize;
    use serde_json::{Value, json};

    use super::fingerprint;
    use crate::CodecError;

    fn of(value: impl Serialize) -> u64 {
        fingerprint("kind", &value).unwrap()
    }

    #[derive(Serialize)]
    enum Order {
        Nothing,
        Add(u64),
        Move(String, f32),
        Take { n: i128, note: Option<char>, wait: () },
    }

    #[derive(Serialize)]
    enum Tree {
        Leaf,
        Left(Box<Tree>),
        Right(Box<Tree>),
    }

    #[test]
    fn the_algorithm_never_changes() {
        let value = (
            [Order::Nothing, Order::Add(u64::MAX), Order::Move("über allem".to_owned(), -0.5)],
            Order::Take { n: i128::MIN, note: Some('x'), wait: () },
            BTreeMap::from([
                (true, vec![1.5, f64::from_bits(0x7ff8_0000_0000_0001)]),
                (false, vec![]),
            ]),
            serde_bytes::Bytes::new(b"\x00\xff234567\x08"),
            (f32::from_bits(0x7fc0_0001), Some(Some(-1i8))),
        );
        assert_eq!(fingerprint("order", &value).unwrap(), 0xd6c8_22d5_3d64_9d1b);
        assert_eq!(fingerprint("", &()).unwrap(), 0x0173_d348_c3f3_8277);
    }

    #[test]
    fn what_differs_has_another_fingerprint() {
        let different = [
            of(()),
            of(None::<()>),
            of(Some(())),
            of(Some(None::<()>)),
            of(0),
            of(-1),
            of(1),
            of(u128::MAX),
            of(0.0),
            of(-0.0),
            of(f64::NAN),
            of(-f64::NAN),
            of(f32::NAN),
            of(f64::INFINITY),
            of(false),
            of(""),
            of("\0"),
            of("a"),
            of("ab"),
            of(serde_bytes::Bytes::new(b"a")),
            of([(); 0]),
            of(Vec::<()>::new()),
            of([0; 1]),
            of(vec![0]),
            of(vec![0, 0]),
            of(vec![1, 2]),
            of((1, 2)),
            of((2, 1)),
            of((-1.0, 16)),
            of((1.0, 0)),
            of(vec![vec![1], vec![2]]),
            of(vec![vec![1, 2], vec![]]),
            of(json!({})),
            of(json!({"a": null})),
            of(json!({"a": 1, "b": 2})),
            of(json!({"a": 2, "b": 1})),
            of(BTreeMap::from([(1, 2)])),
            of(BTreeMap::from([(2, 1)])),
            of(Tree::Left(Box::new(Tree::Right(Box::new(Tree::Leaf))))),
            of(Tree::Right(Box::new(Tree::Left(Box::new(Tree::Leaf))))),
            of(Order::Nothing),
            of(Order::Add(1)),
            of(Order::Move("a".to_owned(), 1.0)),
            of(Order::Take { n: 1, note: None, wait: () }),
            of(Order::Take { n: 1, note: Some('a'), wait: () }),
            fingerprint("another", &()).unwrap(),
        ];
        assert_eq!(HashSet::from(different).len(), different.len());
    }

    #[test]
    fn the_order_of_what_has_none_does_not_count() {
        let numbers = || 0..100;
        let sets: HashSet<u64> = (0..20).map(|_| of(numbers().collect::<HashSet<_>>())).collect();
        assert_eq!(sets.len(), 1);
        let maps = (0..20).map(|_| of(numbers().map(|n| (n, n)).collect::<HashMap<_, _>>()));
        assert_eq!(maps.collect::<HashSet<_>>().len(), 1);
    }

    #[test]
    fn a_new_optional_field_and_a_wider_number_change_nothing() {
        #[derive(Serialize)]
        struct Before {
            n: u8,
            x: f32,
        }
        #[derive(Serialize)]
        struct After {
            x: f64,
            note: Option<String>,
            n: i64,
        }
        assert_eq!(of(Before { n: 7, x: 0.1 }), of(After { n: 7, x: 0.1f32.into(), note: None }));
        assert_ne!(of(Before { n: 7, x: 0.5 }), of(After { n: 7, x: 0.5, note: Some("".into()) }));
    }

    #[test]
    fn what_is_nested_too_deep_is_refused() {
        let nested = |depth| (0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        assert!(fingerprint("kind", &nested(127)).is_ok());
        let mut deep = nested(10_000);
        let refused = fingerprint("kind", &deep).unwrap_err();
        assert!(matches!(refused, CodecError::Refused { .. }), "{refused}");
        // Dropped level by level: dropping it at once would overflow the stack of a test.
        while let Value::Array(mut inner) = deep {
            deep = inner.pop().unwrap_or_default();
        }
    }
}
