//! How messages, replies and states become bytes.

mod fingerprint;

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use self::fingerprint::fingerprint;

/// The encoding of payloads and states, chosen when a journal is built.
///
/// Each payload carries the name of its codec, so a journal that changes its codec still reads
/// what it wrote before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Codec {
    /// JSON: any tool reads it, and fields can be added. The default.
    #[default]
    Json,
    /// MessagePack with field names: as tolerant of added fields as JSON, smaller.
    MessagePack,
}

/// A value that does not encode or decode.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// JSON said no.
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// MessagePack could not be written.
    #[error("MessagePack: {0}")]
    MessagePackEncode(#[from] rmp_serde::encode::Error),
    /// MessagePack could not be read.
    #[error("MessagePack: {0}")]
    MessagePackDecode(#[from] rmp_serde::decode::Error),
    /// The value cannot be written so that it comes back as it is.
    #[error("{type_name}{path}: {reason}")]
    Refused {
        /// The Rust type of the whole value.
        type_name: &'static str,
        /// Where in it, for example `.readings[3].value`; empty for the value itself.
        path: String,
        /// What is wrong there.
        reason: String,
    },
}

impl Codec {
    /// Appends the encoded `value` to `out`.
    ///
    /// # Errors
    /// The value does not encode, for example a map in JSON whose keys are not strings. `out` may
    /// then hold a part of it.
    pub fn encode<T: Serialize + ?Sized>(
        self,
        value: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        match self {
            Self::Json => serde_json::to_writer(out, value)?,
            Self::MessagePack => {
                let mut serializer = rmp_serde::Serializer::new(out).with_struct_map();
                value.serialize(&mut serializer)?;
            }
        }
        Ok(())
    }

    /// Reads a value back.
    ///
    /// # Errors
    /// The bytes are not a `T` in this codec.
    pub fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, CodecError> {
        Ok(match self {
            Self::Json => serde_json::from_slice(bytes)?,
            Self::MessagePack => rmp_serde::from_slice(bytes)?,
        })
    }
}

/// An encoded value together with its codec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload<'a> {
    codec: Codec,
    #[serde(borrow, with = "serde_bytes")]
    bytes: Cow<'a, [u8]>,
}

impl<'a> Payload<'a> {
    /// Bytes that are known to be in `codec`.
    pub fn new(codec: Codec, bytes: impl Into<Cow<'a, [u8]>>) -> Self {
        Self { codec, bytes: bytes.into() }
    }

    /// Encodes a value.
    ///
    /// # Errors
    /// As [`Codec::encode`].
    pub fn encode<T: Serialize + ?Sized>(codec: Codec, value: &T) -> Result<Self, CodecError> {
        let mut bytes = Vec::with_capacity(128);
        codec.encode(value, &mut bytes)?;
        Ok(Self { codec, bytes: Cow::Owned(bytes) })
    }

    /// Decodes the value.
    ///
    /// # Errors
    /// As [`Codec::decode`].
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, CodecError> {
        self.codec.decode(&self.bytes)
    }

    /// The codec of the bytes.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// The encoded bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same payload, owning its bytes.
    #[must_use]
    pub fn into_owned(self) -> Payload<'static> {
        Payload { codec: self.codec, bytes: Cow::Owned(self.bytes.into_owned()) }
    }

    /// The same payload, borrowed.
    #[must_use]
    pub fn as_borrowed(&self) -> Payload<'_> {
        Payload { codec: self.codec, bytes: Cow::Borrowed(&self.bytes) }
    }
}
