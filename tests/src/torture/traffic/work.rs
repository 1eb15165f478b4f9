//! A workflow that an actor asks, and whose result comes back.

use serde::{Deserialize, Serialize};

use super::desk::Of;

/// What it begins with.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Work {
    /// What it comes of.
    pub of: Of,
    /// It asks this actor.
    pub asked: u32,
    /// And tells this one then.
    pub told: u32,
}

impl Work {
    /// The name of its instance: new in every age, as `ask_workflow` wants it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("work/{}/{}", self.of.age, self.of.number)
    }
}
