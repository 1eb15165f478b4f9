//! A text that was parsed, as the value that it stands for.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, Serialize, SerializeMap, Serializer};
use serde_bytes::Bytes;
use serde_json::Value;

use super::text::{BYTES, EXT, FLOAT, INVALID, MAP, NAN};

/// A JSON value with its fields in their order, which a [`Value`] does not keep. A decoder may need it: what comes
/// before the tag of an adjacently tagged enum serde reads without its type, and then no integer of 128
/// bits is read from bytes.
///
/// It is serialized as what its forms stand for.
pub(super) enum Parsed {
    /// No array and no object.
    Scalar(Value),
    List(Vec<Parsed>),
    /// Each name once.
    Fields(Vec<(String, Parsed)>),
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Parse)
    }
}

struct Parse;

impl<'de> Visitor<'de> for Parse {
    type Value = Parsed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(Value::Null))
    }

    fn visit_bool<E>(self, v: bool) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(v.into()))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(v.into()))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(v.into()))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(v.into()))
    }

    fn visit_str<E>(self, v: &str) -> Result<Parsed, E> {
        Ok(Parsed::Scalar(v.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Parsed, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = seq.next_element()? {
            list.push(item);
        }
        Ok(Parsed::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parsed, A::Error> {
        let (mut fields, mut names) = (Vec::new(), rustc_hash::FxHashSet::default());
        while let Some((name, value)) = map.next_entry::<String, Parsed>()? {
            if !names.insert(name.clone()) {
                return Err(A::Error::custom(format_args!("{name:?} is there twice")));
            }
            fields.push((name, value));
        }
        Ok(Parsed::Fields(fields))
    }
}

impl Parsed {
    fn text(&self) -> Option<&str> {
        if let Self::Scalar(scalar) = self { scalar.as_str() } else { None }
    }

    fn base64(&self) -> Option<Vec<u8>> {
        STANDARD.decode(self.text()?).ok()
    }

    fn list(&self) -> Option<&[Self]> {
        if let Self::List(list) = self { Some(list) } else { None }
    }

    /// The content of an extension.
    fn extension(&self) -> Option<(i8, Vec<u8>)> {
        let [Self::Scalar(tag), bytes] = self.list()? else { return None };
        Some((i8::try_from(tag.as_i64()?).ok()?, bytes.base64()?))
    }
}

impl Serialize for Parsed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Scalar(scalar) => scalar.serialize(serializer),
            Self::List(items) => serializer.collect_seq(items),
            Self::Fields(fields) => match &fields[..] {
                [(name, content)] if name.starts_with('$') => form_of(name, content, serializer),
                _ if fields.iter().any(|(name, _)| name == INVALID) => {
                    Err(S::Error::custom("what could not be read cannot be written"))
                }
                _ => serializer.collect_map(fields.iter().map(|(name, value)| (name, value))),
            },
        }
    }
}

fn form_of<S: Serializer>(name: &str, content: &Parsed, serializer: S) -> Result<S::Ok, S::Error> {
    let wrong = || S::Error::custom(format_args!("that is no content of {name}"));
    match name {
        FLOAT => {
            let text = content.text().ok_or_else(wrong)?;
            match text.strip_prefix("NaN:") {
                Some(bits) => {
                    let number = u64::from_str_radix(bits, 16).map_err(|_| wrong())?;
                    match u32::try_from(number) {
                        Ok(number) if bits.len() == 8 => {
                            serializer.serialize_f32(f32::from_bits(number))
                        }
                        _ if bits.len() == 16 => serializer.serialize_f64(f64::from_bits(number)),
                        _ => Err(wrong()),
                    }
                }
                None if text == "NaN" => serializer.serialize_f64(f64::from_bits(NAN)),
                None => serializer.serialize_f64(text.parse().map_err(|_| wrong())?),
            }
        }
        BYTES => serializer.serialize_bytes(&content.base64().ok_or_else(wrong)?),
        EXT => {
            let (tag, bytes) = content.extension().ok_or_else(wrong)?;
            let parts = (tag, Bytes::new(&bytes));
            serializer.serialize_newtype_struct(rmp_serde::MSGPACK_EXT_STRUCT_NAME, &parts)
        }
        MAP => {
            let entries = content.list().ok_or_else(wrong)?;
            let mut map = serializer.serialize_map(Some(entries.len()))?;
            for entry in entries {
                let [key, value] = entry.list().ok_or_else(wrong)? else {
                    return Err(wrong());
                };
                map.serialize_entry(key, value)?;
            }
            map.end()
        }
        _ => serializer.collect_map([(name, content)]),
    }
}
