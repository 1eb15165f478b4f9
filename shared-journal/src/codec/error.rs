//! Why a value does not encode or decode.

use std::fmt;

/// A value that does not encode or decode.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// JSON could not be read, or not be written where no journal's codec was at work.
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// MessagePack could not be read.
    #[error("MessagePack: {0}")]
    MessagePackDecode(#[from] rmp_serde::decode::Error),
    /// The value cannot be written so that it comes back as it is, or what is stored is nested too
    /// deep to be read.
    #[error("{}: {reason}", At(type_name, path))]
    Refused {
        /// The Rust type of the whole value.
        type_name: &'static str,
        /// Where in it, for example `readings[3].value`; empty for the value itself, or where it is
        /// not known.
        path: String,
        /// What is wrong there.
        reason: String,
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

struct At<'a>(&'a str, &'a str);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(type_name, path) = self;
        if path.is_empty() { write!(f, "{type_name}") } else { write!(f, "{path} in {type_name}") }
    }
}
