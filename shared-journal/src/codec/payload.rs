//! An encoded value and how it is encoded.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::CodecError;
use super::{Codec, text};

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

    /// What it says, as JSON for people and tools, whatever its codec.
    ///
    /// What JSON has no form for is an object with one key that begins with `$`: `{"$float": "NaN"}`,
    /// `{"$bytes": "AAE="}` (base64; integers of 128 bits too), `{"$map": [[1, "a"]]}` for keys that
    /// are no text, `{"$ext": [5, "AAE="]}`. Bytes that are not in their codec are
    /// `{"$invalid": "why", "$bytes": "…"}`. [`from_text`](Self::from_text) reads all but the last.
    #[must_use]
    pub fn to_text(&self) -> Cow<'_, str> {
        text::to_text(self)
    }

    /// The payload that a text says, for a repair: what [`to_text`](Self::to_text) returned, edited or
    /// not, with the codec of the payload that it came from. For [`Codec::Json`] the text is taken as
    /// it is.
    ///
    /// It decodes to the same value as before if nothing was edited. The order of a map's text keys is
    /// not kept. Whether the application's type can be read from it is for the type to say.
    ///
    /// # Errors
    /// It is not JSON, a form has no sense, an integer outside of a form has more than 64 bits, or it
    /// is nested deeper than 127 levels.
    pub fn from_text(codec: Codec, text: &str) -> Result<Payload<'static>, CodecError> {
        text::from_text(codec, text)
    }

    /// The same as a JSON value, if that says everything that this does.
    pub(crate) fn to_value(&self) -> Option<serde_json::Value> {
        text::to_value(self)
    }

    /// Whether the bytes are what their codec writes, as far as that can be seen without their type.
    pub(crate) fn check(&self) -> Result<(), CodecError> {
        text::check(self)
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
