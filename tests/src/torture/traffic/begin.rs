//! What instances begin with that processes start, and their names.

use serde::{Deserialize, Serialize};

use super::desk::Of;

/// A workflow that reads events for as long as it is there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Line {
    /// Which one. It tells the actor of this number.
    pub line: u32,
    /// Which life of it: a number that is used once.
    pub life: u64,
    /// Events that an execution reads.
    pub chunk: u32,
    /// It asks its actor and tries again if that refuses. Else it tells it.
    pub asks: bool,
}

/// A workflow that asks some actors, and is made anew under its name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Anew {
    /// Which one.
    pub place: u32,
    /// Which life of it: a number that is used once.
    pub life: u64,
    /// The step that made it.
    pub of: Of,
    /// The actors that it asks.
    pub asked: Vec<u32>,
}

/// An instance that is made anew.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Instance {
    /// One that reads.
    Line(Line),
    /// One that asks.
    Anew(Anew),
}

impl Instance {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Line(line) => line_name(line.line),
            Self::Anew(anew) => format!("anew/{}", anew.place),
        }
    }

    /// The name of its orchestration.
    #[must_use]
    pub fn orchestration(&self) -> &'static str {
        match self {
            Self::Line(_) => "line",
            Self::Anew(_) => "anew",
        }
    }

    /// Its input.
    ///
    /// # Errors
    /// It does not encode.
    pub fn input(&self) -> serde_json::Result<String> {
        match self {
            Self::Line(line) => serde_json::to_string(line),
            Self::Anew(anew) => serde_json::to_string(anew),
        }
    }
}

/// The instance of a line.
#[must_use]
pub fn line_name(line: u32) -> String {
    format!("line/{line}")
}
