//! Where an actor that is an orchestration goes on when duroxide has given its instance up.
//!
//! Name and input follow from the history of the one before, so it is started once, whoever starts it.

use std::time::Duration;

use duroxide::providers::Provider;
use duroxide::{AppErrorKind, ErrorDetails, Event, EventKind};

use super::carried::Carried;
use crate::error::BoxError;

/// Before the time at which the instance before it began, in milliseconds since 1970, and the name of the first.
const SUCCESSOR: &str = "actors:successor/";
/// Before an instance is succeeded that was given up, at first.
const PAUSE: Duration = Duration::from_secs(1);
/// And at most: it may be given up each time.
const PAUSE_AT_MOST: Duration = Duration::from_secs(3600);

/// The next instance of an actor.
#[derive(Debug)]
pub(super) struct Successor {
    pub(super) instance: String,
    pub(super) input: String,
    /// Why the one before it was given up.
    pub(super) error: String,
    /// When it may begin, in milliseconds since 1970.
    pub(super) due_ms: u64,
}

impl Successor {
    /// Of an instance with this history. None: it was not given up, but cancelled.
    ///
    /// # Errors
    /// The history does not say what the state was, or the store is away.
    pub(super) async fn of(
        provider: &dyn Provider,
        instance: &str,
        history: &[Event],
    ) -> Result<Option<Self>, BoxError> {
        let failed = history.iter().rev().find_map(|event| match &event.kind {
            EventKind::OrchestrationFailed { details } => Some((event.timestamp_ms, details)),
            _ => None,
        });
        let Some((at_ms, details)) = failed else { return Ok(None) };
        if let ErrorDetails::Application { kind: AppErrorKind::Cancelled { .. }, .. } = details {
            return Ok(None);
        }
        let begun_ms = history.first().map_or(0, |event| event.timestamp_ms);
        let input = match input(history) {
            Some(input) => input.to_owned(),
            None => carried_on(provider, instance, history).await?.ok_or("its state is nowhere")?,
        };
        let carried = serde_json::from_str::<Carried>(&input)?.folded(history, begun_ms)?;
        let pause = PAUSE * 2_u32.saturating_pow(carried.given_up.saturating_sub(1).min(12));
        let pause = pause.min(PAUSE_AT_MOST).as_millis();
        Ok(Some(Self {
            instance: format!("{SUCCESSOR}{begun_ms:x}/{}", first(instance)),
            input: serde_json::to_string(&carried)?,
            error: details.display_message(),
            due_ms: at_ms.saturating_add(u64::try_from(pause).unwrap_or(u64::MAX)),
        }))
    }
}

fn input(history: &[Event]) -> Option<&str> {
    history.iter().find_map(|event| match &event.kind {
        EventKind::OrchestrationStarted { input, .. } if !input.is_empty() => Some(input.as_str()),
        _ => None,
    })
}

/// What the execution before carried on, if the last one was given up before it had begun.
async fn carried_on(
    provider: &dyn Provider,
    instance: &str,
    history: &[Event],
) -> Result<Option<String>, BoxError> {
    // duroxide writes the failure with the number of the one or the other.
    let number = history.first().map_or(0, |event| event.execution_id);
    for execution in [number, number.saturating_sub(1)] {
        let before = provider.read_with_execution(instance, execution).await?;
        let input = before.into_iter().find_map(|event| match event.kind {
            EventKind::OrchestrationContinuedAsNew { input } => Some(input),
            _ => None,
        });
        if input.is_some() {
            return Ok(input);
        }
    }
    Ok(None)
}

/// The name of the first instance, whose address the mail has.
pub(super) fn first(instance: &str) -> &str {
    let rest = instance.strip_prefix(SUCCESSOR).and_then(|rest| rest.split_once('/'));
    rest.map_or(instance, |(_, first)| first)
}
