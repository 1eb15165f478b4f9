//! How deep what is stored is nested, found without recursion.

use super::error::CodecError;
use super::tokens::{Token, Tokens};

/// What is read: rmp-serde's own limit, which it does not keep to for enums. What is written is
/// nested less deep; versions before 0.2 knew no limit.
const MAX_LEVELS_READ: usize = 1023;

/// How many arrays and objects are in each other in a text of JSON, whose syntax is not checked.
pub(super) fn of_json(text: &[u8]) -> usize {
    let (mut level, mut most) = (0usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                level += 1;
                most = most.max(level);
            }
            b']' | b'}' if !quoted => level = level.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// Whether bytes of MessagePack can be read without overflowing the stack.
pub(super) fn check_message_pack<T>(bytes: &[u8]) -> Result<(), CodecError> {
    if !is_too_deep(bytes) {
        return Ok(());
    }
    Err(CodecError::Refused {
        type_name: std::any::type_name::<T>(),
        path: String::new(),
        reason: format!("what is stored is nested deeper than {MAX_LEVELS_READ} levels"),
    })
}

/// Whether bytes of MessagePack are nested deeper than is read.
pub(super) fn is_too_deep(bytes: &[u8]) -> bool {
    // Each level is a byte at least.
    bytes.len() > MAX_LEVELS_READ && levels_of_message_pack(bytes) > MAX_LEVELS_READ
}

/// How many arrays and maps are in each other, as far as the bytes are MessagePack.
fn levels_of_message_pack(bytes: &[u8]) -> usize {
    let mut tokens = Tokens(bytes);
    // Of each level around the next token, how many values are yet to come.
    let mut around: Vec<u64> = Vec::new();
    let mut most = 0;
    while let Some(token) = tokens.next() {
        if matches!(token, Token::Array(_) | Token::Map(_)) {
            around.push(token.values());
            most = most.max(around.len());
            if token.values() > 0 {
                continue;
            }
            around.pop();
        }
        while let Some(left) = around.last_mut() {
            *left -= 1;
            if *left > 0 {
                break;
            }
            around.pop();
        }
        if around.is_empty() {
            break;
        }
    }
    most
}
