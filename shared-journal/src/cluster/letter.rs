//! What travels between nodes: letters there, answers back.

use serde::{Deserialize, Serialize};

use super::host::Delivered;
use crate::codec::Payload;
use crate::envelope::{ANSWER, EnvelopeError, LETTER, decode_numbered, encode_numbered};
use crate::id::{MessageId, MessageKey};

/// A message on its way to an actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Letter {
    pub(super) key: MessageKey,
    pub(super) kind: String,
    #[serde(deserialize_with = "owned")]
    pub(super) payload: Payload<'static>,
    /// The client that waits for the reply, if anybody does.
    pub(super) reply_to: Option<String>,
    /// What the client knows the reply by. 0 if nobody waits, and in version 1, whose clients know it by
    /// the id of the message.
    #[serde(skip)]
    pub(super) correlation: u64,
}

impl Letter {
    /// To which nobody waits for a reply.
    pub(super) fn new(key: MessageKey, kind: &str, payload: Payload<'static>) -> Self {
        Self { key, kind: kind.to_owned(), payload, reply_to: None, correlation: 0 }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, EnvelopeError> {
        Ok(encode_numbered(LETTER, self, self.correlation)?)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let (letter, correlation) = decode_numbered(LETTER, bytes)?;
        Ok(Self { correlation, ..letter })
    }
}

/// What became of a message, for the client that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) id: MessageId,
    pub(super) outcome: Outcome,
    /// That of the letter.
    #[serde(skip)]
    pub(super) correlation: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Outcome {
    Processed(#[serde(deserialize_with = "owned")] Payload<'static>),
    Failed {
        attempts: u32,
        error: String,
    },
    AlreadyProcessed,
    Refused(String),
    /// Since the commits and records of version 3.
    IdReused,
}

impl Outcome {
    /// The outcome of a delivery, if it is known.
    pub(super) fn of(delivered: Delivered) -> Option<Self> {
        Some(match delivered {
            Delivered::Processed(reply) => Self::Processed(reply),
            Delivered::Failed { attempts, error } => {
                Self::Failed { attempts, error: error.to_string() }
            }
            Delivered::AlreadyProcessed => Self::AlreadyProcessed,
            Delivered::IdReused => Self::IdReused,
            Delivered::Refused(reason) => Self::Refused(reason.to_string()),
            Delivered::Kept | Delivered::Lost(_) => return None,
        })
    }
}

impl Answer {
    pub(super) fn encode(&self) -> Result<Vec<u8>, EnvelopeError> {
        Ok(encode_numbered(ANSWER, self, self.correlation)?)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let (answer, correlation) = decode_numbered(ANSWER, bytes)?;
        Ok(Self { correlation, ..answer })
    }
}

/// A letter or an answer, decoded and encoded again: for [`fuzzing`](crate::fuzzing).
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn encoded_again(kind: u8, row: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
    match kind {
        LETTER => Letter::decode(row)?.encode(),
        _ => Answer::decode(row)?.encode(),
    }
}

fn owned<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Payload<'static>, D::Error> {
    Payload::deserialize(from).map(Payload::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;

    fn letter(correlation: u64) -> Letter {
        Letter {
            key: MessageKey::Caller(MessageId::from(7)),
            kind: "account.deposit".into(),
            payload: Payload::new(Codec::Json, &br#"{"cents":5}"#[..]),
            reply_to: Some("client".into()),
            correlation,
        }
    }

    fn answers(correlation: u64) -> [Answer; 4] {
        let reply = Payload::new(Codec::Json, &b"12"[..]);
        let id = MessageId::from(7);
        [
            Outcome::Processed(reply),
            Outcome::Failed { attempts: 3, error: "boom".into() },
            Outcome::AlreadyProcessed,
            Outcome::Refused("too large".into()),
        ]
        .map(|outcome| Answer { id, outcome, correlation })
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// One envelope a line, in hexadecimal. The first version is written still where nobody waits for a
    /// reply, and to answer who wrote it.
    #[test]
    fn both_versions_are_read() {
        let fixtures = [
            (0, include_str!("../../fixtures/letters_v1.hex")),
            (300, include_str!("../../fixtures/letters_v2.hex")),
        ];
        for (correlation, fixture) in fixtures {
            let written: Vec<_> = std::iter::once(letter(correlation).encode().unwrap())
                .chain(answers(correlation).map(|answer| answer.encode().unwrap()))
                .collect();
            let lines: Vec<_> = written.iter().map(|bytes| hex(bytes)).collect();
            assert_eq!(lines.join("\n"), fixture.trim_end());
            assert_eq!(Letter::decode(&written[0]).unwrap(), letter(correlation));
            for (answer, bytes) in answers(correlation).into_iter().zip(&written[1..]) {
                assert_eq!(Answer::decode(bytes).unwrap(), answer);
            }
        }
    }
}
