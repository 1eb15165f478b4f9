//! Any value of serde's data model.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{CODECS, Codec, CodecError, Payload, fingerprint, there_and_back};

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Any {
    Unit,
    Bool(bool),
    I8(i8),
    I64(i64),
    I128(i128),
    U64(u64),
    U128(u128),
    F32(f32),
    F64(f64),
    Char(char),
    Text(String),
    Bytes(ByteBuf),
    Option(Option<Box<Any>>),
    Nested(Option<Option<bool>>),
    Units((), Option<()>, Unit),
    Seq(Vec<Any>),
    Pair(Box<(Any, Any)>),
    Texts(BTreeMap<String, Any>),
    Numbers(BTreeMap<i16, Any>),
    Pairs(BTreeMap<(u8, bool), Any>),
    Struct { left: Box<Any>, right: Option<Box<Any>>, middle: Wrapper },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Unit;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Wrapper(Option<f64>);

fn values() -> impl Strategy<Value = Any> {
    let float = || any::<u64>().prop_map(f64::from_bits);
    let leaf = prop_oneof![
        Just(Any::Unit),
        any::<bool>().prop_map(Any::Bool),
        any::<i8>().prop_map(Any::I8),
        any::<i64>().prop_map(Any::I64),
        any::<i128>().prop_map(Any::I128),
        any::<u64>().prop_map(Any::U64),
        any::<u128>().prop_map(Any::U128),
        any::<u32>().prop_map(|bits| Any::F32(f32::from_bits(bits))),
        float().prop_map(Any::F64),
        any::<char>().prop_map(Any::Char),
        any::<String>().prop_map(Any::Text),
        any::<Vec<u8>>().prop_map(|bytes| Any::Bytes(ByteBuf::from(bytes))),
        any::<Option<Option<bool>>>().prop_map(Any::Nested),
        any::<Option<()>>().prop_map(|unit| Any::Units((), unit, Unit)),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        use proptest::collection::{btree_map, vec};
        use proptest::option::of;
        prop_oneof![
            of(inner.clone()).prop_map(|value| Any::Option(value.map(Box::new))),
            vec(inner.clone(), 0..6).prop_map(Any::Seq),
            (inner.clone(), inner.clone()).prop_map(|pair| Any::Pair(Box::new(pair))),
            btree_map(any::<String>(), inner.clone(), 0..6).prop_map(Any::Texts),
            btree_map(any::<i16>(), inner.clone(), 0..6).prop_map(Any::Numbers),
            btree_map(any::<(u8, bool)>(), inner.clone(), 0..3).prop_map(Any::Pairs),
            (inner.clone(), of(inner), of(float())).prop_map(|(left, right, middle)| Any::Struct {
                left: Box::new(left),
                right: right.map(Box::new),
                middle: Wrapper(middle),
            }),
        ]
    })
}

/// Whether the codec has a form for everything in it.
fn fits(codec: Codec, value: &Any) -> bool {
    let json = codec == Codec::Json;
    let fit = |value: &Any| fits(codec, value);
    match value {
        Any::F32(x) => x.is_finite() || !json,
        Any::F64(x) => x.is_finite() || !json,
        Any::Nested(nested) => *nested != Some(None),
        Any::Units((), unit, Unit) => unit.is_none(),
        Any::Option(inner) => inner.as_deref().is_none_or(fit),
        Any::Seq(values) => values.iter().all(fit),
        Any::Pair(pair) => fit(&pair.0) && fit(&pair.1),
        Any::Texts(map) => map.values().all(fit),
        Any::Numbers(map) => map.values().all(fit),
        Any::Pairs(map) => (map.is_empty() || !json) && map.values().all(fit),
        Any::Struct { left, right, middle } => {
            fit(left)
                && right.as_deref().is_none_or(fit)
                && middle.0.is_none_or(|x| x.is_finite() || !json)
        }
        _ => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_value_comes_back_or_is_refused(value in values()) {
        for codec in CODECS {
            match there_and_back(codec, &value) {
                Ok(()) => prop_assert!(fits(codec, &value)),
                Err(CodecError::Refused { path, .. }) => {
                    prop_assert!(!fits(codec, &value));
                    prop_assert!(!path.is_empty());
                }
                Err(other) => prop_assert!(false, "{other}"),
            }
        }
    }

    #[test]
    fn any_payload_is_the_same_by_way_of_text(value in values()) {
        for codec in CODECS {
            let Ok(payload) = Payload::encode(codec, &value) else { continue };
            prop_assert!(payload.check().is_ok());
            let back = Payload::from_text(codec, &payload.to_text()).unwrap();
            let back: Any = back.decode().unwrap();
            prop_assert_eq!(fingerprint("", &value).unwrap(), fingerprint("", &back).unwrap());
            prop_assert_eq!(format!("{value:?}"), format!("{back:?}"));
        }
    }

    #[test]
    fn any_bytes_are_a_value_or_an_error(bytes in any::<Vec<u8>>()) {
        for codec in CODECS {
            let payload = Payload::new(codec, &bytes[..]);
            let _ = payload.decode::<Any>();
            let _ = payload.decode::<serde_json::Value>();
            serde_json::from_str::<serde_json::Value>(&payload.to_text()).unwrap();
        }
    }
}
