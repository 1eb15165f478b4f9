//! What is encoded comes back as it was, or is refused.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::*;

const ALL: [Codec; 2] = [Codec::Json, Codec::MessagePack];

fn back<T: Serialize + DeserializeOwned>(codec: Codec, value: &T) -> Result<T, CodecError> {
    let payload = Payload::encode(codec, value)?;
    Ok(payload.decode().unwrap_or_else(|error| panic!("{codec:?} does not read it: {error}")))
}

fn refusal<T: Serialize>(codec: Codec, value: &T) -> String {
    match Payload::encode(codec, value) {
        Err(error @ CodecError::Lossy { .. }) => error.to_string(),
        encoded => panic!("{codec:?}: {encoded:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100_000))]

    #[test]
    fn every_double_comes_back_bit_for_bit_or_is_refused(bits in any::<u64>()) {
        let float = f64::from_bits(bits);
        prop_assert_eq!(back(Codec::MessagePack, &float).unwrap().to_bits(), bits);
        match back(Codec::Json, &float) {
            Ok(found) => prop_assert_eq!(found.to_bits(), bits),
            Err(_) => prop_assert!(!float.is_finite()),
        }
    }

    #[test]
    fn every_float_comes_back_bit_for_bit_or_is_refused(bits in any::<u32>()) {
        let float = f32::from_bits(bits);
        prop_assert_eq!(back(Codec::MessagePack, &float).unwrap().to_bits(), bits);
        match back(Codec::Json, &float) {
            Ok(found) => prop_assert_eq!(found.to_bits(), bits),
            Err(_) => prop_assert!(!float.is_finite()),
        }
    }
}

#[test]
fn a_number_that_drifted_stays() {
    let mut state = 195.358_875_321_066_22_f64;
    for codec in ALL {
        for _ in 0..3 {
            state = back(codec, &state).unwrap();
        }
    }
    assert_eq!(state.to_bits(), 195.358_875_321_066_22_f64.to_bits());
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Reading {
    value: f64,
    doubt: Option<Option<u8>>,
    unit: Option<()>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Sensor {
    Off,
    Many(Vec<Reading>),
    Named(HashMap<String, Reading>),
    Pair(f32, i64),
}

fn good() -> Reading {
    Reading { value: 1.5, doubt: Some(Some(3)), unit: None }
}

#[test]
fn what_is_lost_is_refused_with_its_place() {
    let nan = Reading { value: f64::NAN, ..good() };
    let sensor = Sensor::Many(vec![good(), nan.clone()]);
    assert_eq!(
        refusal(Codec::Json, &sensor),
        "shared_journal::codec::tests::Sensor::Many[1].value cannot be stored as Json: \
         JSON has no NaN and no infinity"
    );
    assert!(back(Codec::MessagePack, &sensor).is_ok());
    let named = Sensor::Named(HashMap::from([("roof".to_owned(), nan)]));
    assert!(refusal(Codec::Json, &named).contains("::Named[\"roof\"].value cannot"));
    for codec in ALL {
        let doubt = Reading { doubt: Some(None), ..good() };
        assert!(refusal(codec, &doubt).contains(".doubt cannot be stored"));
        let unit = Reading { unit: Some(()), ..good() };
        assert!(refusal(codec, &(1, unit)).contains("[1].unit cannot be stored"));
        assert!(refusal(codec, &Some(Value::Null)).contains("Option"));
        assert_eq!(back(codec, &good()).unwrap(), good());
        assert_eq!(back(codec, &Sensor::Off).unwrap(), Sensor::Off);
        assert_eq!(back(codec, &Sensor::Pair(-0.0, -1)).unwrap(), Sensor::Pair(-0.0, -1));
    }
}

#[test]
fn numbers_of_every_width_come_back() {
    for codec in ALL {
        assert_eq!(back(codec, &u64::MAX).unwrap(), u64::MAX);
        assert_eq!(back(codec, &i64::MIN).unwrap(), i64::MIN);
        assert_eq!(back(codec, &u128::MAX).unwrap(), u128::MAX);
        assert_eq!(back(codec, &i128::MIN).unwrap(), i128::MIN);
        assert_eq!(back(codec, &'\u{10ffff}').unwrap(), '\u{10ffff}');
    }
}

#[test]
fn maps_of_any_keys_come_back_or_do_not_encode() {
    let pairs = BTreeMap::from([((1_u32, 2_u32), "a".to_owned())]);
    assert_eq!(back(Codec::MessagePack, &pairs).unwrap(), pairs);
    assert!(Payload::encode(Codec::Json, &pairs).is_err());
    let numbers = BTreeMap::from([(7_i64, 1.5_f64)]);
    for codec in ALL {
        assert_eq!(back(codec, &numbers).unwrap(), numbers);
    }
}

fn nested(levels: usize) -> Value {
    (1..levels).fold(
        json!([]),
        |inner, level| {
            if level % 2 == 0 { json!([inner]) } else { json!({ "a": inner }) }
        },
    )
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Chain {
    End,
    Link(Box<Chain>),
    Pair(Box<Chain>, u8),
    Named { next: Box<Chain> },
}

fn chain(kind: usize, links: usize) -> Chain {
    (0..links).fold(Chain::End, |next, _| match kind {
        0 => Chain::Link(Box::new(next)),
        1 => Chain::Pair(Box::new(next), 1),
        _ => Chain::Named { next: Box::new(next) },
    })
}

#[test]
fn what_is_nested_too_deep_to_be_read_is_not_written() {
    for codec in ALL {
        assert_eq!(back(codec, &nested(127)).unwrap(), nested(127));
        for levels in [128, 129, 1000] {
            assert!(refusal(codec, &nested(levels)).contains("127 levels"));
        }
        for kind in 0..3 {
            let accepted = (0..200).filter(|links| match back(codec, &chain(kind, *links)) {
                Ok(found) => found == chain(kind, *links),
                Err(_) => false,
            });
            assert!(accepted.count() > 60, "{codec:?} {kind}");
            // Not that deep that dropping it is too much.
            assert!(refusal(codec, &chain(kind, 2000)).contains("127 levels"));
        }
    }
}

#[test]
fn a_panic_in_the_types_code_is_an_error() {
    struct Bomb;
    impl Serialize for Bomb {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("on purpose")
        }
    }
    impl<'de> Deserialize<'de> for Bomb {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            panic!("on purpose")
        }
    }
    for codec in ALL {
        let error = Payload::encode(codec, &Bomb).unwrap_err();
        assert!(matches!(&error, CodecError::Panicked { text } if text == "on purpose"));
        let error = Payload::encode(codec, &1).unwrap().decode::<Bomb>().err().unwrap();
        assert!(matches!(&error, CodecError::Panicked { text } if text == "on purpose"));
    }
}

#[test]
fn fields_can_be_added() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Later {
        value: f64,
        #[serde(default)]
        since: u64,
    }
    for codec in ALL {
        let later: Later = Payload::encode(codec, &good()).unwrap().decode().unwrap();
        assert_eq!(later, Later { value: 1.5, since: 0 });
    }
}
