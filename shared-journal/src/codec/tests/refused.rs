//! What does not encode, and how that is told.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    CODECS, Codec, CodecError, Payload, Plain, Untagged, in_every_shape, refused, there_and_back,
};

#[test]
fn what_json_has_no_form_for_is_refused_with_its_place() {
    #[derive(Serialize)]
    struct Reading {
        value: f32,
    }
    #[derive(Serialize)]
    enum Entry {
        Of { readings: Vec<Reading> },
        Pair(u8, f64),
    }
    #[derive(Serialize)]
    struct State {
        entries: BTreeMap<&'static str, Entry>,
    }
    let state = |name, entry| State {
        entries: BTreeMap::from([("a", Entry::Pair(0, 0.0)), (name, entry)]),
    };
    let reading = |value| Reading { value };
    let readings = vec![reading(0.0), reading(f32::NAN)];
    let of = |path: &str, reason: &str| (path.to_owned(), reason.to_owned());
    assert_eq!(
        refused(Codec::Json, &state("b", Entry::Of { readings })),
        of("entries[\"b\"]::Of.readings[1].value", "NaN has no JSON form"),
    );
    assert_eq!(
        refused(Codec::Json, &state("b", Entry::Pair(1, f64::NEG_INFINITY))),
        of("entries[\"b\"]::Pair.1", "-inf has no JSON form"),
    );
    let (path, reason) = refused(Codec::Json, &HashMap::from([((1, 2), 3)]));
    assert_eq!((path.as_str(), reason.as_str()), ("[key]", "key must be a string"));
    assert_eq!(refused(Codec::Json, &f64::NAN), of("", "NaN has no JSON form"));
    let error = Payload::encode(Codec::Json, &(0, [f64::NAN])).unwrap_err();
    assert_eq!(error.to_string(), ".1.0 in (i32, [f64; 1]): NaN has no JSON form");
}

#[test]
fn a_some_that_looks_like_none_is_refused() {
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Unit;
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Newtype<T>(T);
    #[derive(Debug, Clone, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Null {
        A,
    }
    for codec in CODECS {
        let none = Plain { v: Some(None::<u8>) };
        let (path, reason) = refused(codec, &none);
        assert_eq!(path, "v");
        assert!(reason.ends_with("has no form for Some(None) other than that of None"), "{reason}");
        for (path, _) in [
            refused(codec, &Some(Some(None::<u8>))),
            refused(codec, &Some(())),
            refused(codec, &Some(Newtype(()))),
            refused(codec, &Some(Newtype(None::<u8>))),
            refused(codec, &Some(Null::A)),
            refused(codec, &Some(Value::Null)),
        ] {
            assert_eq!(path, "");
        }
        in_every_shape(codec, &Some(Some(5))).unwrap();
        in_every_shape(codec, &vec![None, Some(1)]).unwrap();
        in_every_shape(codec, &Some(vec![()])).unwrap();
        in_every_shape(codec, &Some(json!({"a": null}))).unwrap();
        if codec == Codec::CompactMessagePack {
            there_and_back(codec, &Some(Unit)).unwrap();
        } else {
            refused(codec, &Some(Unit));
            there_and_back(codec, &Untagged::A { v: Unit }).unwrap();
        }
    }
}

#[test]
fn what_serialize_says_wrong_is_refused() {
    struct Liar;
    impl Serialize for Liar {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeSeq;
            let mut three = serializer.serialize_seq(Some(3))?;
            three.serialize_element(&1)?;
            three.end()
        }
    }
    struct Refuses;
    impl Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not today"))
        }
    }
    for codec in [Codec::CompactMessagePack, Codec::MessagePack] {
        assert_eq!(refused(codec, &[Liar]), (".0".into(), "1 parts instead of 3".into()));
    }
    for codec in CODECS {
        assert_eq!(refused(codec, &Plain { v: Refuses }), ("v".into(), "not today".into()));
    }
}

#[test]
fn a_map_that_leaves_out_a_key_or_a_value_is_refused() {
    /// Keys are true, values false. With the number of entries that it announces.
    struct Halves(Option<usize>, &'static [bool]);
    impl Serialize for Halves {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeMap;
            let mut map = serializer.serialize_map(self.0)?;
            for is_key in self.1 {
                if *is_key { map.serialize_key("a")? } else { map.serialize_value(&1)? }
            }
            map.end()
        }
    }
    let no_value = ("v[\"a\"]", "a key without a value");
    for (halves, (path, reason)) in [
        (&[true][..], no_value),
        (&[true, true], no_value),
        (&[true, true, false], no_value),
        (&[true, false, true], no_value),
        (&[false, false], ("v", "a value without a key")),
        (&[true, false, false, true], ("v", "a value without a key")),
    ] {
        for (codec, announced) in CODECS.into_iter().flat_map(|it| [(it, None), (it, Some(1))]) {
            let value = Plain { v: Halves(announced, halves) };
            assert_eq!(refused(codec, &value), (path.into(), reason.into()), "{halves:?}");
        }
    }
    for codec in CODECS {
        Payload::encode(codec, &Halves(Some(1), &[true, false])).unwrap();
    }
}

#[test]
fn a_panic_is_an_error_with_its_text_and_leaves_nothing() {
    #[derive(Debug)]
    struct Panics;
    impl Serialize for Panics {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("no")
        }
    }
    impl<'de> Deserialize<'de> for Panics {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            panic!("never")
        }
    }
    for codec in CODECS {
        let mut out = b"before".to_vec();
        let error = codec.encode(&(1, Panics), &mut out).unwrap_err();
        assert_eq!(out, b"before");
        assert!(matches!(&error, CodecError::Panicked { text } if text == "no"), "{error}");
        let error = Payload::encode(codec, &1).unwrap().decode::<Panics>().unwrap_err();
        assert!(matches!(&error, CodecError::Panicked { text } if text == "never"), "{error}");
    }
}
