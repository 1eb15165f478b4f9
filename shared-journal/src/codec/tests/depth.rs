//! What is nested deep is read or refused, and never overflows the stack of a test: 2 MiB, like that
//! of a tokio worker.

use std::mem::ManuallyDrop;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CODECS, Codec, Payload, fingerprint, refused, there_and_back};

/// Levels with as much around each as people write.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Level {
    name: String,
    next: Option<Box<Level>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Chain {
    End,
    Link(Box<Chain>),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Invisible(Option<Box<Invisible>>);

// Dropping a deep value is what overflows then: none is dropped.

fn levels(n: usize) -> ManuallyDrop<Option<Level>> {
    ManuallyDrop::new(
        (0..n).fold(None, |next, _| Some(Level { name: "a".into(), next: next.map(Box::new) })),
    )
}

fn chain(n: usize) -> ManuallyDrop<Chain> {
    ManuallyDrop::new((0..n).fold(Chain::End, |next, _| Chain::Link(Box::new(next))))
}

fn arrays(n: usize) -> ManuallyDrop<Value> {
    ManuallyDrop::new((0..n).fold(Value::Bool(true), |inner, _| Value::Array(vec![inner])))
}

#[test]
fn what_is_nested_deep_is_read_or_refused() {
    for codec in CODECS {
        for n in [1, 126, 127] {
            there_and_back(codec, &*levels(n)).unwrap();
            there_and_back(codec, &*chain(n)).unwrap();
            there_and_back(codec, &*arrays(n)).unwrap();
        }
        for n in [128, 129, 1023, 10_000] {
            let reason = "it is nested deeper than 127 levels";
            assert_eq!(refused(codec, &*levels(n)).1, reason);
            assert_eq!(refused(codec, &*chain(n)).1, reason);
            assert_eq!(refused(codec, &*arrays(n)).1, reason);
        }
        let nested = (0..10_000).fold(Invisible(None), |next, _| Invisible(Some(Box::new(next))));
        let nested = ManuallyDrop::new(nested);
        refused(codec, &*nested);
        assert!(fingerprint("", &*nested).is_err());
    }
}

#[test]
fn text_that_is_json_already_has_levels_too() {
    for n in [127, 128] {
        let text = "[".repeat(n) + &"]".repeat(n);
        let raw = serde_json::value::RawValue::from_string(text).unwrap();
        let encoded = Payload::encode(Codec::Json, &raw);
        assert_eq!(encoded.is_ok(), n == 127);
        assert!(Payload::encode(Codec::MessagePack, &raw).is_err(), "it does not decode");
    }
}

#[test]
fn what_is_stored_too_deep_is_no_overflow() {
    for (codec, open, inner) in [
        (Codec::MessagePack, &b"\x91"[..], &b"\xc0"[..]),
        (Codec::MessagePack, b"\x81\xa4Link", b"\xa3End"),
        (Codec::CompactMessagePack, b"\x81\xa4Link", b"\xa3End"),
        (Codec::Json, b"{\"Link\":", b"\"End\""),
    ] {
        let deep = Payload::new(codec, [&open.repeat(100_000), inner].concat());
        assert!(deep.decode::<Chain>().is_err());
        assert!(deep.decode::<Value>().is_err());
    }
}

#[test]
fn what_earlier_versions_wrote_deeper_is_read() {
    let links = [&b"\x81\xa4Link".repeat(1000), &b"\xa3End"[..]].concat();
    let payload = Payload::new(Codec::CompactMessagePack, links);
    assert!(payload.to_text().contains(r#"{"Link":"End"}"#), "on the stack of a test");
    let thread = std::thread::Builder::new().stack_size(64 << 20);
    let read = thread.spawn(move || {
        payload.decode::<Chain>().unwrap();
    });
    read.unwrap().join().unwrap();
}
