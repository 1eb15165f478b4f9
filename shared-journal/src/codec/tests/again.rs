//! What checking the values of a type finds, and what it cannot.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::*;

/// Checks a value, and says where and why it fails.
fn checked<T: Serialize + DeserializeOwned>(
    codec: Codec,
    value: &T,
) -> Result<T, (String, String)> {
    match Payload::encode(codec, value).unwrap().verify_as::<T>() {
        Ok(value) => Ok(value),
        Err(CodecError::Refused { type_name, path, reason }) => {
            assert_eq!(type_name, std::any::type_name::<T>());
            Err((path, reason))
        }
        Err(other) => panic!("{codec:?}: {other:?}"),
    }
}

/// Not all that it wrote can be read.
#[derive(Debug, Serialize, Deserialize)]
struct Spoilt<T> {
    inner: T,
}

fn spoilt<T: Serialize + DeserializeOwned + std::fmt::Debug>(
    codec: Codec,
    inner: T,
) -> (String, String) {
    checked(codec, &Spoilt { inner }).unwrap_err()
}

#[test]
fn a_field_that_is_left_out_and_has_no_default_is_found() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Order {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        lines: Vec<u8>,
    }
    for codec in CODECS {
        assert!(checked(codec, &Order { lines: vec![1] }).is_ok());
        let (path, reason) = spoilt(codec, Order { lines: vec![] });
        assert_eq!(path, "inner", "{reason}");
        assert!(reason.contains("does not decode") && reason.contains("lines"), "{reason}");
    }
}

#[test]
fn a_field_that_is_written_and_not_read_is_found() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Order {
        #[serde(skip_deserializing)]
        cents: u8,
    }
    for codec in CODECS {
        let (path, reason) = spoilt(codec, vec![Order { cents: 0 }, Order { cents: 7 }]);
        assert_eq!(path, "inner[1].cents");
        assert!(reason.contains("7 was written, and comes back as 0"), "{reason}");
    }
}

#[test]
fn another_variant_of_an_untagged_enum_is_found_if_it_encodes_otherwise() {
    #[derive(Debug, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Amount {
        Cents { n: u8 },
        Named { n: u8, name: String },
    }
    for codec in CODECS {
        assert!(checked(codec, &Amount::Cents { n: 1 }).is_ok());
        let (path, reason) = spoilt(codec, Amount::Named { n: 1, name: "a".into() });
        assert_eq!(path, "inner.name");
        assert!(reason.contains("\"a\" was written, and comes back as null"), "{reason}");
    }
}

#[test]
fn a_flattened_field_that_is_written_twice_is_found() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Order {
        n: u8,
        #[serde(flatten)]
        rest: HashMap<String, u8>,
    }
    let rest = |name: &str| HashMap::from([(name.to_owned(), 2)]);
    for codec in [Codec::Json, Codec::MessagePack] {
        assert!(checked(codec, &Order { n: 1, rest: rest("m") }).is_ok());
        let (_, reason) = spoilt(codec, Order { n: 1, rest: rest("n") });
        assert!(reason.contains("duplicate field"), "{reason}");
    }
    // Each gets the fields of both.
    #[derive(Debug, Serialize, Deserialize)]
    struct Twice {
        #[serde(flatten)]
        one: HashMap<String, u8>,
        #[serde(flatten)]
        other: HashMap<String, u8>,
    }
    let (_, reason) = spoilt(Codec::Json, Twice { one: rest("m"), other: rest("k") });
    assert!(reason.contains("written twice"), "{reason}");
}

#[test]
fn another_order_of_a_set_or_a_map_is_the_same_value() {
    let words: HashSet<String> = (0..50).map(|n| format!("word {n}")).collect();
    let sets: Vec<HashSet<u32>> = (0..20).map(|n| (0..n * 3).collect()).collect();
    let of_sets: HashSet<BTreeSet<u32>> = (0..20).map(|n| (0..n).collect()).collect();
    let numbers: HashMap<u32, HashSet<u8>> = (0..50).map(|n| (n, (0..10).collect())).collect();
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Held {
        All { words: HashSet<String>, sets: (Vec<HashSet<u32>>, Option<HashSet<BTreeSet<u32>>>) },
    }
    let all = Held::All { words, sets: (sets, Some(of_sets)) };
    for codec in CODECS {
        for _ in 0..5 {
            assert_eq!(checked(codec, &all).unwrap(), all);
            assert_eq!(checked(codec, &numbers).unwrap(), numbers);
        }
    }
}

/// A list that comes back in another order.
#[derive(Debug, Deserialize)]
#[serde(from = "Vec<u8>")]
struct Turned(Vec<u8>);

impl From<Vec<u8>> for Turned {
    fn from(mut list: Vec<u8>) -> Self {
        list.reverse();
        Self(list)
    }
}

impl Serialize for Turned {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[test]
fn another_order_of_a_list_is_found() {
    for codec in CODECS {
        assert!(checked(codec, &Turned(vec![1, 2, 1])).is_ok());
        let (path, reason) = spoilt(codec, Turned(vec![1, 2, 3]));
        assert_eq!(path, "inner[0]");
        assert!(reason.contains("1 was written, and comes back as 3"), "{reason}");
        // Beside a set.
        let set: HashSet<u8> = (0..100).collect();
        assert_eq!(checked(codec, &(set, Turned(vec![1, 2]))).unwrap_err().0, "[1][0]");
    }
}

#[test]
fn what_is_lost_and_encodes_as_before_is_not_found() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Cached {
        #[serde(skip)]
        cache: u8,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Number {
        Small(u8),
        Large(u64),
    }
    for codec in CODECS {
        // But who gets it sees it.
        assert_eq!(checked(codec, &Cached { cache: 5 }).unwrap(), Cached { cache: 0 });
        assert_eq!(checked(codec, &Number::Large(5)).unwrap(), Number::Small(5));
    }
}
