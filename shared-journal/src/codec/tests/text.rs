//! Payloads as text and back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::{CODECS, Codec, Payload};

fn text_of(codec: Codec, value: &impl Serialize) -> String {
    Payload::encode(codec, value).unwrap().to_text().into_owned()
}

#[test]
fn any_payload_is_readable() {
    #[derive(Serialize)]
    struct State {
        cents: i64,
        rate: f32,
        owner: Option<&'static str>,
        log: Vec<(u8, f64)>,
    }
    let state = State { cents: -5, rate: 0.1, owner: None, log: vec![(1, 1.0)] };
    for codec in CODECS {
        let text = r#"{"cents":-5,"rate":0.1,"owner":null,"log":[[1,1.0]]}"#;
        assert_eq!(text_of(codec, &state), text);
    }
    let text = |value: &dyn erased::Value| value.text();
    for (value, expected) in [
        (&f64::NAN as &dyn erased::Value, r#"{"$float":"NaN"}"#),
        (&f64::from_bits(0xfff8_0000_0000_0001), r#"{"$float":"NaN:fff8000000000001"}"#),
        (&f32::from_bits(0x7fc0_0001), r#"{"$float":"NaN:7fc00001"}"#),
        (&f32::NEG_INFINITY, r#"{"$float":"-inf"}"#),
        (&7.038531e-26f32, "7.038530691851209e-26"),
        (&ByteBuf::from([0, 1]), r#"{"$bytes":"AAE="}"#),
        (&1i128, r#"{"$bytes":"AAAAAAAAAAAAAAAAAAAAAQ=="}"#),
        (&BTreeMap::from([(1, "a"), (2, "b")]), r#"{"$map":[[1,"a"],[2,"b"]]}"#),
        (&BTreeMap::from([((), ())]), r#"{"$map":[[null,null]]}"#),
        (&BTreeMap::from([("$map", 1)]), r#"{"$map":[["$map",1]]}"#),
        (&BTreeMap::from([("$map", 1), ("a", 2)]), r#"{"$map":1,"a":2}"#),
        (&BTreeMap::<u8, u8>::new(), "{}"),
    ] {
        assert_eq!(text(value), expected);
    }
}

/// Values of several types in one list.
mod erased {
    use serde::Serialize;

    pub(super) trait Value {
        fn text(&self) -> String;
    }

    impl<T: Serialize> Value for T {
        fn text(&self) -> String {
            super::text_of(super::Codec::MessagePack, self)
        }
    }
}

#[test]
fn bytes_that_are_nothing_are_shown_and_not_written() {
    for (codec, bytes) in [
        (Codec::Json, &b"{\"a\":"[..]),
        (Codec::Json, b"\xff"),
        (Codec::MessagePack, b""),
        (Codec::MessagePack, b"\x92\x01"),
        (Codec::MessagePack, b"\x01\x01"),
        (Codec::CompactMessagePack, b"\xc1"),
    ] {
        let payload = Payload::new(codec, bytes);
        let text = payload.to_text();
        assert!(text.contains("\"$invalid\":\"it is not"), "{text}");
        assert!(payload.check().is_err());
        assert!(Payload::from_text(Codec::MessagePack, &text).is_err());
    }
    let deep = Payload::new(Codec::MessagePack, b"\x91".repeat(100_000));
    assert!(deep.to_text().contains("$invalid"));
    assert!(deep.check().unwrap_err().to_string().contains("too deep"));
}

#[test]
fn what_no_decoder_reads_is_found_without_a_type() {
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let check = |text: String| Payload::new(Codec::Json, text.into_bytes()).check();
    check(deep(127)).unwrap();
    assert!(check(deep(128)).unwrap_err().to_string().contains("too deep"));
    check(format!("[\"\\\"{}\"]", "[".repeat(200))).unwrap();
}

/// The tag comes before what is tagged, and stays there.
#[test]
fn integers_of_128_bits_in_tagged_enums_come_back_by_way_of_text() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "t", content = "c")]
    enum Money {
        Signed(i128),
        Unsigned { z: u128, a: Vec<i128> },
    }
    let unsigned = Money::Unsigned { z: u128::MAX, a: vec![-1, 1] };
    for codec in CODECS {
        for value in [&Money::Signed(i128::MIN), &unsigned] {
            let payload = Payload::encode(codec, value).unwrap();
            let again = Payload::from_text(codec, &payload.to_text()).unwrap();
            assert_eq!(again, payload);
            assert_eq!(again.decode::<Money>().unwrap(), *value);
        }
    }
}

#[test]
fn a_text_that_was_edited_is_a_payload() {
    for codec in CODECS {
        let text = r#" {"b": [1, -2, 2.5, "x\"[99999999999999999999\\"], "a": null} "#;
        let payload = Payload::from_text(codec, text).unwrap();
        assert_eq!(payload.codec(), codec);
        let value: serde_json::Value = payload.decode().unwrap();
        assert_eq!(value, serde_json::from_str::<serde_json::Value>(text).unwrap());
        for wrong in ["", "{", "[1,]", "nul", &("[".repeat(128) + &"]".repeat(128))] {
            assert!(Payload::from_text(codec, wrong).is_err(), "{wrong}");
        }
    }
    for wrong in [
        r#"{"$bytes": "?"}"#,
        r#"{"$float": "1,5"}"#,
        r#"{"$float": "NaN:7"}"#,
        r#"{"$map": {}}"#,
        r#"{"a": 1, "a": 2}"#,
        r#"{"$map": [[1]]}"#,
        r#"{"$ext": [1000, "AAE="]}"#,
        r#"{"a": 99999999999999999999}"#,
        r#"["\\", -9999999999999999999]"#,
    ] {
        assert!(Payload::from_text(Codec::MessagePack, wrong).is_err(), "{wrong}");
    }
    // In JSON an integer of any size is one.
    let large = Payload::from_text(Codec::Json, &u128::MAX.to_string()).unwrap();
    assert_eq!(large.decode::<u128>().unwrap(), u128::MAX);
    let ext = Payload::from_text(Codec::MessagePack, r#"{"$ext":[5,"AAE="]}"#).unwrap();
    assert_eq!(ext.bytes(), [0xd5, 5, 0, 1]);
    assert_eq!(ext.to_text(), r#"{"$ext":[5,"AAE="]}"#);
}
