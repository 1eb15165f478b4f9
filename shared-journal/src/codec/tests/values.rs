//! Integers, text, bytes, and maps with keys of every kind.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{CODECS, Codec, Payload, Plain, in_every_shape, there_and_back};

#[test]
fn values_come_back_as_they_were() {
    #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
    enum Key {
        Unit,
        Of(u8, char),
    }
    for codec in CODECS {
        for n in [0, 1, i64::MIN.into(), u64::MAX.into(), i128::MIN, i128::MAX] {
            there_and_back(codec, &n).unwrap();
            there_and_back(codec, &Some(Plain { v: n })).unwrap();
        }
        there_and_back(codec, &u128::MAX).unwrap();
        in_every_shape(codec, &(u64::MAX, i64::MIN, 'ß', "\0\u{10ffff}\"\\".to_owned())).unwrap();
        in_every_shape(codec, &serde_bytes::ByteBuf::from((0..=255).collect::<Vec<u8>>())).unwrap();
        in_every_shape(codec, &[Key::Unit, Key::Of(1, 'x')]).unwrap();
        in_every_shape(codec, &BTreeMap::from([("a".to_owned(), 1), (String::new(), 2)])).unwrap();
        in_every_shape(codec, &BTreeMap::from([(Key::Unit, 1)])).unwrap();
        there_and_back(codec, &BTreeMap::from([(u128::MAX, 1)])).unwrap();
        there_and_back(codec, &BTreeMap::from([(-1i8, true)])).unwrap();
        there_and_back(codec, &BTreeMap::from([(true, 1)])).unwrap();
        there_and_back(codec, &BTreeMap::from([(Some(1), 1)])).unwrap();
    }
    for codec in [Codec::CompactMessagePack, Codec::MessagePack] {
        in_every_shape(codec, &BTreeMap::from([(-1i8, true)])).unwrap();
        in_every_shape(codec, &BTreeMap::from([((1u32, 2u32), 1)])).unwrap();
        in_every_shape(codec, &BTreeMap::from([(Key::Of(1, 'x'), 1)])).unwrap();
        in_every_shape(codec, &BTreeMap::from([(None, 1), (Some("a".to_owned()), 2)])).unwrap();
    }
    for codec in [Codec::Json, Codec::MessagePack] {
        in_every_shape(codec, &IpAddr::from([127, 0, 0, 1])).unwrap();
        in_every_shape(codec, &BTreeMap::from([(IpAddr::from([127, 0, 0, 1]), 1)])).unwrap();
    }
}

#[test]
fn fields_can_be_added() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Later {
        v: f64,
        #[serde(default)]
        since: u64,
        note: Option<String>,
    }
    for codec in CODECS {
        let later: Later = Payload::encode(codec, &Plain { v: 1.5 }).unwrap().decode().unwrap();
        assert_eq!(later, Later { v: 1.5, since: 0, note: None });
    }
}
