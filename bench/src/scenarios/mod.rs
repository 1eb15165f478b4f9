//! What is measured, a file a scenario.

pub(crate) mod asks;
mod child;
pub(crate) mod cluster;
pub(crate) mod coexist;
pub(crate) mod compare;
pub(crate) mod contend;
mod hops;
pub(crate) mod keys;
mod node;
pub(crate) mod nodes;
pub(crate) mod portable;
pub(crate) mod postgres;
pub(crate) mod recover;
pub(crate) mod scale;
pub(crate) mod state;
pub(crate) mod tell;
pub(crate) mod timers;

use std::time::Duration;

pub(crate) use child::Child;

/// Before a side is measured.
const WARM_UP: Duration = Duration::from_millis(300);
