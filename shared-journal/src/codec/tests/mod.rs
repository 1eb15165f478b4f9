//! What is encoded comes back as it was, and what would not is refused.

mod again;
mod any;
mod depth;
mod floats;
mod refused;
mod text;
mod values;

use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Codec, CodecError, Payload, fingerprint};

const CODECS: [Codec; 3] = [Codec::Json, Codec::CompactMessagePack, Codec::MessagePack];

/// Encodes and decodes, and compares bit for bit.
fn there_and_back<T>(codec: Codec, value: &T) -> Result<(), CodecError>
where
    T: Serialize + DeserializeOwned + Debug,
{
    let bytes = Payload::encode(codec, value)?;
    let back: T = bytes.decode().unwrap_or_else(|error| {
        panic!("{codec:?}: {value:?} was encoded and does not decode: {error}")
    });
    assert_eq!(
        fingerprint("", value).unwrap(),
        fingerprint("", &back).unwrap(),
        "{codec:?}: {value:?} came back as {back:?}"
    );
    // That does not look into `Some`, and this not into the bits of a NaN.
    assert_eq!(format!("{value:?}"), format!("{back:?}"), "{codec:?}");
    Ok(())
}

fn refused<T: Serialize + ?Sized>(codec: Codec, value: &T) -> (String, String) {
    match Payload::encode(codec, value) {
        Err(CodecError::Refused { type_name, path, reason }) => {
            assert_eq!(type_name, std::any::type_name::<T>());
            (path, reason)
        }
        other => panic!("{codec:?}: {other:?}"),
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Plain<T> {
    v: T,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Flat<T> {
    n: u8,
    #[serde(flatten)]
    rest: Plain<T>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged<T> {
    A { v: T },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t")]
enum Tagged<T> {
    A { v: T },
}

/// The same value in the shapes that serde reads by way of a buffer of its own.
fn in_every_shape<T>(codec: Codec, value: &T) -> Result<(), CodecError>
where
    T: Serialize + DeserializeOwned + Debug + Clone,
{
    let v = || value.clone();
    there_and_back(codec, value)?;
    there_and_back(codec, &Some(v()))?;
    there_and_back(codec, &Plain { v: v() })?;
    there_and_back(codec, &Flat { n: 1, rest: Plain { v: v() } })?;
    there_and_back(codec, &Untagged::A { v: v() })?;
    there_and_back(codec, &Tagged::A { v: v() })
}
