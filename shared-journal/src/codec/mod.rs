//! How messages, replies and states become bytes.

mod again;
mod compare;
mod depth;
mod error;
mod exact;
mod fingerprint;
mod parsed;
mod parts;
mod path;
mod payload;
#[cfg(test)]
mod tests;
mod text;
mod tokens;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};

#[cfg(feature = "test-util")]
pub(crate) use self::again::Again;
pub use self::again::StoredType;
#[cfg(feature = "test-util")]
pub(crate) use self::compare::{Comparison, json};
pub use self::error::CodecError;
use self::exact::{COMPACT, Context, Exact, JSON, MESSAGE_PACK, shortest_f32};
pub use self::fingerprint::fingerprint;
use self::path::{NoTrace, Path, Trace};
pub use self::payload::Payload;
use crate::guard::guarded;

/// The encoding of payloads and states, chosen when a journal is built.
///
/// Each payload carries the name of its codec, so a journal that changes its codec still reads
/// what it wrote before.
///
/// What is encoded decodes to an equal value, bit for bit. Where a codec has no form for a value, it
/// does not encode: see [`encode`](Self::encode).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Codec {
    /// JSON. Any tool reads it, and fields can be added. It has no NaN and no infinities, no maps
    /// with keys that are more than a scalar, and inside of `#[serde(flatten, untagged, tag)]` no
    /// maps with keys that are numbers.
    Json,
    /// MessagePack as versions before 0.2 wrote it: types that have two forms are in their binary
    /// one, which does not decode inside of `#[serde(flatten, untagged, tag)]` (an `IpAddr`, for
    /// example).
    CompactMessagePack,
    /// MessagePack with field names: as tolerant of added fields as JSON, smaller and faster, with
    /// every float and any keys. Types that have two forms are in their readable one. The default;
    /// [`Payload::to_text`] shows it.
    #[default]
    MessagePack,
}

impl Codec {
    /// Appends the encoded `value` to `out`.
    ///
    /// # Errors
    /// - [`CodecError::Refused`]: something in the value would not come back as it is, and which: a
    ///   `Some` around something that looks like `None`; more than 127 levels of arrays and maps; in
    ///   JSON a float that is not finite, or a map with keys that are no scalars. Or its `Serialize`
    ///   refuses it.
    /// - [`CodecError::Panicked`]: its `Serialize` panicked.
    ///
    /// `out` is then as it was.
    pub fn encode<T: Serialize + ?Sized>(
        self,
        value: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        let len = out.len();
        guarded(|| self.write(value, out, NoTrace)).map_err(|error| {
            out.truncate(len);
            match error {
                CodecError::Refused { type_name, reason, .. } => {
                    CodecError::Refused { type_name, path: self.path_of_error(value), reason }
                }
                other => other,
            }
        })
    }

    /// Where a value that does not encode does not.
    #[cold]
    fn path_of_error<T: Serialize + ?Sized>(self, value: &T) -> String {
        let path = Path::default();
        // That it fails is known, and why.
        let _ = guarded(|| self.write(value, &mut Vec::new(), &path));
        path.to_string()
    }

    fn write<T: Serialize + ?Sized>(
        self,
        value: &T,
        out: &mut Vec<u8>,
        trace: impl Trace,
    ) -> Result<(), CodecError> {
        match self {
            Self::Json => {
                exactly(value, &mut serde_json::Serializer::new(out), Context::new(&JSON, trace))
            }
            Self::CompactMessagePack => {
                let mut inner = rmp_serde::Serializer::new(out).with_struct_map();
                exactly(value, &mut inner, Context::new(&COMPACT, trace))
            }
            Self::MessagePack => {
                let inner = rmp_serde::Serializer::new(out).with_struct_map();
                let context = Context::new(&MESSAGE_PACK, trace);
                exactly(value, &mut inner.with_human_readable(), context)
            }
        }
    }

    /// Reads a value back.
    ///
    /// # Errors
    /// The bytes are not a `T` in this codec, or its `Deserialize` panicked.
    pub fn decode<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, CodecError> {
        guarded(|| {
            Ok(match self {
                Self::Json => serde_json::from_slice(bytes)?,
                Self::CompactMessagePack => {
                    depth::check_message_pack::<T>(bytes)?;
                    rmp_serde::from_slice(bytes)?
                }
                Self::MessagePack => {
                    depth::check_message_pack::<T>(bytes)?;
                    let reader = rmp_serde::Deserializer::from_read_ref(bytes);
                    T::deserialize(&mut reader.with_human_readable())?
                }
            })
        })
    }
}

/// Serializes a value, or says why that would not be exact.
fn exactly<T: Serialize + ?Sized, S: Serializer>(
    value: &T,
    inner: S,
    context: Context<impl Trace>,
) -> Result<S::Ok, CodecError> {
    value.serialize(Exact { inner, context }).map_err(|error| CodecError::Refused {
        type_name: std::any::type_name::<T>(),
        path: String::new(),
        reason: error.to_string(),
    })
}

/// A value in the JSON of duroxide's histories, as exact as [`Codec::Json`] is.
pub(crate) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<serde_json::Value, CodecError> {
    let (inner, context) = (serde_json::value::Serializer, Context::new(&JSON, NoTrace));
    guarded(|| exactly(value, inner, context)).map_err(|error| match error {
        CodecError::Refused { type_name, reason, .. } => {
            let path = Codec::Json.path_of_error(value);
            CodecError::Refused { type_name, path, reason }
        }
        other => other,
    })
}
