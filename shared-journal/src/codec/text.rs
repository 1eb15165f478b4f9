//! Payloads as text, for people and tools, and back.
//!
//! The text is JSON. What JSON has no form for, and MessagePack has, is an object with one key that
//! begins with `$`:
//!
//! | form | what |
//! |---|---|
//! | `{"$float": "NaN"}`, `"inf"`, `"-inf"`, `"NaN:7ff8000000000001"` | a float that is not finite; a NaN by its bits, 16 digits or 8 |
//! | `{"$bytes": "AAE="}` | bytes, in base64; integers of 128 bits are 16 bytes, the highest first |
//! | `{"$map": [[1, "a"], [2, "b"]]}` | a map with keys that are no text, or that would look like a form |
//! | `{"$ext": [5, "AAE="]}` | an extension of MessagePack |

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::error::CodecError;
use super::exact::MAX_LEVELS;
use super::parsed::Parsed;
use super::tokens::{Token, Tokens};
use super::{Codec, Payload, depth, shortest_f32};

pub(super) const FLOAT: &str = "$float";
pub(super) const BYTES: &str = "$bytes";
pub(super) const MAP: &str = "$map";
pub(super) const EXT: &str = "$ext";
/// Bytes that are not in their codec. Only written.
pub(super) const INVALID: &str = "$invalid";

/// A payload as text.
pub(super) fn to_text<'a>(payload: &'a Payload<'_>) -> Cow<'a, str> {
    let bytes = payload.bytes();
    let text = match payload.codec() {
        Codec::Json => std::str::from_utf8(bytes)
            .ok()
            .filter(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
            .map(Cow::Borrowed),
        Codec::CompactMessagePack | Codec::MessagePack => message_pack(bytes).map(Cow::Owned),
    };
    text.unwrap_or_else(|| {
        let why = format!("it is not {:?}", payload.codec());
        Cow::Owned(json!({INVALID: why, BYTES: STANDARD.encode(bytes)}).to_string())
    })
}

/// A payload as a JSON value, if that says everything that the payload does.
pub(super) fn to_value(payload: &Payload<'_>) -> Option<Value> {
    let text = to_text(payload);
    let is_exact = match payload.codec() {
        Codec::Json => large_integer(&text).is_none(),
        Codec::MessagePack => !text.contains("{\"$"),
        // Its types are in forms that are not read from JSON.
        Codec::CompactMessagePack => false,
    };
    is_exact.then(|| serde_json::from_str(&text).ok()).flatten()
}

/// Whether bytes are what their codec writes, as far as that can be seen without their type.
pub(super) fn check(payload: &Payload<'_>) -> Result<(), CodecError> {
    let bytes = payload.bytes();
    let refused = |reason: String| {
        Err(CodecError::Refused { type_name: "what is stored", path: String::new(), reason })
    };
    let (is_readable, is_too_deep) = match payload.codec() {
        Codec::Json => {
            serde_json::from_slice::<IgnoredAny>(bytes)?;
            (true, depth::of_json(bytes) > MAX_LEVELS.into())
        }
        Codec::CompactMessagePack | Codec::MessagePack => {
            (message_pack(bytes).is_some(), depth::is_too_deep(bytes))
        }
    };
    if is_too_deep {
        return refused("it is nested too deep to be read".to_owned());
    }
    if is_readable { Ok(()) } else { refused(format!("it is not {:?}", payload.codec())) }
}

fn message_pack(bytes: &[u8]) -> Option<String> {
    if depth::is_too_deep(bytes) {
        return None;
    }
    let mut tokens = Tokens(bytes);
    let mut out = String::new();
    render(&mut tokens, &mut out)?;
    tokens.0.is_empty().then_some(out)
}

/// An array or a map that is being written.
struct Level {
    begun: Token<'static>,
    close: &'static str,
    /// Of a key from its value, and of a value from what follows.
    separators: [&'static str; 2],
    done: u64,
}

/// Writes one value, without recursion.
fn render(tokens: &mut Tokens<'_>, out: &mut String) -> Option<()> {
    let mut levels: Vec<Level> = Vec::new();
    loop {
        let level = |begun, close, separators| Some(Level { begun, close, separators, done: 0 });
        let begun = match tokens.next()? {
            Token::Array(len) => {
                out.push('[');
                level(Token::Array(len), "]", [",", ","])
            }
            Token::Map(len) if is_object(tokens.clone(), len)? => {
                out.push('{');
                level(Token::Map(len), "}", [":", ","])
            }
            Token::Map(len) => {
                out.push_str("{\"$map\":[[");
                level(Token::Map(len), "]]}", [",", "],["])
            }
            scalar => {
                out.push_str(&text_of(scalar));
                None
            }
        };
        match begun {
            Some(level) if level.begun.values() > 0 => {
                levels.push(level);
                continue;
            }
            Some(empty) => out.push_str(empty.close),
            None => {}
        }
        loop {
            let Some(level) = levels.last_mut() else { return Some(()) };
            level.done += 1;
            if level.done < level.begun.values() {
                let key = level.done % 2 == 1;
                out.push_str(level.separators[usize::from(!key)]);
                break;
            }
            out.push_str(level.close);
            levels.pop();
        }
    }
}

fn text_of(scalar: Token<'_>) -> String {
    match scalar {
        Token::Bool(v) => v.to_string(),
        Token::Natural(n) => n.to_string(),
        Token::Negative(n) => n.to_string(),
        Token::F32(x) if x.is_nan() => form(FLOAT, json!(format!("NaN:{:08x}", x.to_bits()))),
        Token::F32(x) if x.is_finite() => match shortest_f32(x) {
            Some(x) => json_text(&x),
            None => json_text(&f64::from(x)),
        },
        Token::F32(x) => form(FLOAT, json!(x.to_string())),
        Token::F64(x) if x.is_finite() => json_text(&x),
        Token::F64(x) if x.is_nan() && x.to_bits() != NAN => {
            form(FLOAT, json!(format!("NaN:{:016x}", x.to_bits())))
        }
        Token::F64(x) => form(FLOAT, json!(x.to_string())),
        Token::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => json_text(text),
            Err(_) => form(BYTES, json!(STANDARD.encode(text))),
        },
        Token::Bytes(bytes) => form(BYTES, json!(STANDARD.encode(bytes))),
        Token::Extension(tag, bytes) => form(EXT, json!([tag, STANDARD.encode(bytes)])),
        Token::Nil | Token::Array(_) | Token::Map(_) => "null".to_owned(),
    }
}

/// The NaN of `f64::NAN`.
pub(super) const NAN: u64 = 0x7ff8_0000_0000_0000;

fn form(name: &str, content: Value) -> String {
    json!({name: content}).to_string()
}

fn json_text<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// Whether a map can be an object: text for keys, each once, and none that makes it a form.
fn is_object(mut tokens: Tokens<'_>, len: u32) -> Option<bool> {
    let mut keys = rustc_hash::FxHashSet::default();
    for _ in 0..len {
        let Token::Text(key) = tokens.next()? else { return Some(false) };
        let is_form = |name: &str| key == name.as_bytes();
        let form = len == 1 && [FLOAT, BYTES, MAP, EXT].into_iter().any(is_form);
        if form || is_form(INVALID) || std::str::from_utf8(key).is_err() || !keys.insert(key) {
            return Some(false);
        }
        tokens.skip()?;
    }
    Some(true)
}

/// The payload that a text stands for.
pub(super) fn from_text(codec: Codec, text: &str) -> Result<Payload<'static>, CodecError> {
    let refused = |reason: &str| CodecError::Refused {
        type_name: "text",
        path: String::new(),
        reason: reason.to_owned(),
    };
    if depth::of_json(text.as_bytes()) > MAX_LEVELS.into() {
        return Err(refused("it is nested too deep"));
    }
    if codec == Codec::Json {
        let IgnoredAny = serde_json::from_str(text)?;
        return Ok(Payload::new(codec, text.trim_ascii().as_bytes().to_vec()));
    }
    let value: Parsed = serde_json::from_str(text)?;
    if let Some(number) = large_integer(text) {
        return Err(refused(&format!("{number} has more than 64 bits; write it as $bytes")));
    }
    Payload::encode(codec, &value)
}

/// An integer that a [`Value`] makes a float of.
fn large_integer(text: &str) -> Option<&str> {
    // What is between quotes, with what is escaped in there, is every other part.
    let unescaped = text.replace("\\\\", "..").replace("\\\"", "..");
    let mut start = 0;
    for (place, part) in unescaped.split('"').enumerate() {
        let range = start..start + part.len();
        start = range.end + 1;
        if place % 2 == 0 {
            let is_number = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
            let numbers = text.get(range)?.split(|c| !is_number(c));
            let mut integers = numbers.filter(|number| {
                let digits = number.strip_prefix('-').unwrap_or(number);
                !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())
            });
            let large = integers.find(|n| n.parse::<u64>().is_err() && n.parse::<i64>().is_err());
            if large.is_some() {
                return large;
            }
        }
    }
    None
}
