//! How messages, replies and states become bytes.

mod exact;
mod fingerprint;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::exact::{Watch, Watched};
pub use self::fingerprint::fingerprint;
use crate::guard::guarded;

/// The encoding of payloads and states, chosen when a journal is built.
///
/// Each payload carries the name of its codec, so a journal that changes its codec still reads
/// what it wrote before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Codec {
    /// JSON: any tool reads it. It has no NaN, no infinities, and no maps with keys that are
    /// neither strings nor numbers; such values are refused.
    Json,
    /// MessagePack with field names: as tolerant of added fields as JSON, smaller, faster, and exact
    /// for every number and every map. The default.
    #[default]
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
    /// It would be written, and not be read back as it is.
    #[error("{type_name}{path} cannot be stored as {codec:?}: {reason}")]
    Lossy {
        /// The type of the whole value.
        type_name: &'static str,
        /// Where in it, for example `.readings[3]`; empty for the value itself.
        path: String,
        /// The encoding.
        codec: Codec,
        /// What would be lost.
        reason: &'static str,
    },
    /// It has no [`fingerprint`](crate::mailbox::fingerprint).
    #[error("it cannot be compared: {reason}")]
    Fingerprint {
        /// Why not.
        reason: String,
    },
    /// The type's own code panicked while it was encoded or decoded.
    #[error("it panicked: {text}")]
    Panicked {
        /// What the panic said.
        text: String,
    },
}

impl Codec {
    /// Appends the encoded `value` to `out`. What is encoded decodes to the same value, bit for bit.
    ///
    /// # Errors
    /// The value does not encode, or would not be read back as it is
    /// ([`CodecError::Lossy`]): a NaN in JSON, `Some(None)`, more than 127 levels of nesting. `out`
    /// may then hold a part of it.
    pub fn encode<T: Serialize + ?Sized>(
        self,
        value: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        let watch = Watch::new(self, false);
        let encoded = self.encode_watched(&Watched { value, watch: &watch }, out);
        match (encoded, watch.into_fault()) {
            (Err(_), Some(fault)) => {
                // Once more, to say where.
                let watch = Watch::new(self, true);
                let _ = self.encode_watched(&Watched { value, watch: &watch }, &mut Vec::new());
                let fault = watch.into_fault().unwrap_or(fault);
                let (path, reason) = (fault.path, fault.reason);
                let type_name = std::any::type_name::<T>();
                Err(CodecError::Lossy { type_name, path, codec: self, reason })
            }
            (encoded, _) => encoded,
        }
    }

    fn encode_watched<T: Serialize>(self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
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
        guarded(|| codec.encode(value, &mut bytes))?;
        Ok(Self { codec, bytes: Cow::Owned(bytes) })
    }

    /// Decodes the value.
    ///
    /// # Errors
    /// As [`Codec::decode`].
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, CodecError> {
        guarded(|| self.codec.decode(&self.bytes))
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
