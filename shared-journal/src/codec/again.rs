//! Values that are decoded and encoded again: what a type makes of what it wrote.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::compare::{Comparison, json};
use super::error::CodecError;
use super::{Codec, Payload, depth};
use crate::guard::guarded;

/// A payload decoded and encoded again, by a type.
pub(crate) type Again = fn(&Payload<'_>) -> Result<Payload<'static>, CodecError>;

/// A type whose values are stored, by what it does with their payloads: for adapters, which list the
/// types of their actors in [`Types`](crate::Types).
#[derive(Debug, Clone, Copy)]
pub struct StoredType {
    pub(crate) decodes: fn(&Payload<'_>) -> Result<(), CodecError>,
    pub(crate) again: Again,
}

impl StoredType {
    /// The type `T`.
    #[must_use]
    pub fn of<T: Serialize + DeserializeOwned>() -> Self {
        Self {
            decodes: |payload| payload.decode::<T>().map(drop),
            again: |payload| Payload::encode(payload.codec(), &payload.decode::<T>()?),
        }
    }
}

impl Payload<'static> {
    /// Encodes a value, and, if `checks` says so, verifies it.
    pub(crate) fn encode_checked<T: Serialize + DeserializeOwned>(
        codec: Codec,
        value: &T,
        checks: bool,
    ) -> Result<Self, CodecError> {
        let payload = Self::encode(codec, value)?;
        if checks {
            payload.verify_as::<T>()?;
        }
        Ok(payload)
    }
}

impl Payload<'_> {
    /// Decodes the value, encodes it again, and compares: what
    /// [`check_values`](crate::EventJournalBuilder::check_values) does with everything that is stored.
    /// Another order of a map or of a set is the same value.
    ///
    /// # Errors
    /// [`CodecError::Refused`], with the type and the path in it: it does not decode, or comes back as
    /// another value.
    pub fn verify_as<T: Serialize + DeserializeOwned>(&self) -> Result<T, CodecError> {
        let refused = |path: String, reason: String| CodecError::Refused {
            type_name: std::any::type_name::<T>(),
            path,
            reason,
        };
        let value = self.decode::<T>().map_err(|error| match error {
            panicked @ CodecError::Panicked { .. } => panicked,
            error => refused(self.path_of_decoding::<T>(), format!("it does not decode: {error}")),
        })?;
        let again = Payload::encode(self.codec(), &value)?;
        if again.bytes() == self.bytes() {
            return Ok(value);
        }
        let comparison = Comparison::of(self, Some(StoredType::of::<T>().again));
        if let Some(it) = comparison.difference(&json(&again)) {
            let (first, second) = (excerpt(&it.first), excerpt(&it.second));
            let reason = format!("{first} was written, and comes back as {second}");
            return Err(refused(it.path, reason));
        }
        // The same values, in whichever order, take the same room.
        if again.bytes().len() != self.bytes().len() {
            return Err(refused(String::new(), "a field or a key is written twice".to_owned()));
        }
        Ok(value)
    }

    /// Where in the value decoding fails, as far as its type says.
    #[cold]
    fn path_of_decoding<T: DeserializeOwned>(&self) -> String {
        let mut path = String::new();
        // That it fails is known, and why.
        let _ = guarded(|| {
            let bytes = self.bytes();
            let at = match self.codec() {
                Codec::Json => path_of::<T, _>(&mut serde_json::Deserializer::from_slice(bytes)),
                Codec::CompactMessagePack => {
                    depth::check_message_pack::<T>(bytes)?;
                    path_of::<T, _>(&mut rmp_serde::Deserializer::from_read_ref(bytes))
                }
                Codec::MessagePack => {
                    depth::check_message_pack::<T>(bytes)?;
                    let reader = rmp_serde::Deserializer::from_read_ref(bytes);
                    path_of::<T, _>(&mut reader.with_human_readable())
                }
            };
            path = at;
            Ok(())
        });
        path
    }
}

fn path_of<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(deserializer: D) -> String {
    let failed = serde_path_to_error::deserialize::<D, T>(deserializer).err();
    let path = failed.map(|error| error.path().to_string());
    path.filter(|path| path != ".").unwrap_or_default()
}

/// The beginning of a value, for an error.
fn excerpt(value: &Value) -> String {
    const CHARS: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
