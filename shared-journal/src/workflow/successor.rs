//! Where an instance of ours goes on when duroxide has given it up.
//!
//! Name and input follow from the history of the one before, so it is started once, whoever starts it.

use std::time::Duration;

use duroxide::providers::Provider;
use duroxide::{AppErrorKind, ErrorDetails, Event, EventKind};

use super::instance::WorkflowHost;
use crate::engine::now_ms;
use crate::error::BoxError;

/// Before the time at which the instance before it began, in milliseconds since 1970, and the name of the first.
const SUCCESSOR: &str = "actors:successor/";
/// Before an instance is succeeded that was given up again without having done anything, at first.
const PAUSE: Duration = Duration::from_secs(1);
/// And at most: it may be given up each time.
const PAUSE_AT_MOST: Duration = Duration::from_secs(3600);

/// The next instance.
#[derive(Debug)]
pub(super) struct Successor {
    pub(super) instance: String,
    pub(super) input: String,
    /// Why the one before it was given up.
    error: String,
    /// When it may begin, in milliseconds since 1970.
    due_ms: u64,
}

/// What an instance that was given up had come to.
pub(super) struct CameTo {
    /// What goes on from there begins with this.
    pub(super) input: String,
    /// How often in a row it was given up without having done anything.
    pub(super) given_up: u32,
}

/// Finds what an execution came to that began with an input, and at a time, by its history.
pub(super) type Fold = fn(&str, &[Event], u64) -> Result<CameTo, serde_json::Error>;

impl Successor {
    /// Of an instance with this history, which may have been given up before that says what it `began` with. None: it was
    /// not given up, but cancelled.
    ///
    /// # Errors
    /// The history does not say what the state was, or the store is away.
    pub(super) async fn of(
        provider: &dyn Provider,
        instance: &str,
        history: &[Event],
        began: Option<&str>,
        fold: Fold,
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
            None => {
                let carried_on = carried_on(provider, instance, history, began).await?;
                carried_on.ok_or("what it began with is nowhere")?
            }
        };
        // As when they were posted.
        let in_ids = provider.as_management_capability().map_or(0, |_| begun_ms);
        let CameTo { input, given_up } = fold(&input, history, in_ids)?;
        let pause = PAUSE * (2_u32.pow(given_up.saturating_sub(1).min(12)) - 1);
        let pause = pause.min(PAUSE_AT_MOST).as_millis();
        Ok(Some(Self {
            instance: format!("{SUCCESSOR}{begun_ms:x}/{}", first(instance)),
            input,
            error: details.display_message(),
            due_ms: at_ms.saturating_add(u64::try_from(pause).unwrap_or(u64::MAX)),
        }))
    }

    /// Starts it, if that was not done. False: it is not time yet.
    pub(super) async fn start(
        &self,
        host: &WorkflowHost,
        before: &str,
        orchestration: &str,
    ) -> Result<bool, BoxError> {
        let Self { instance, input, error, due_ms } = self;
        if host.provider.read(instance).await?.is_empty() {
            if now_ms() < *due_ms {
                return Ok(false);
            }
            tracing::warn!(
                instance = before,
                error,
                successor = instance,
                "duroxide has given up an instance: it goes on in another one"
            );
            metrics::counter!("journal_instances_succeeded_total").increment(1);
            host.client.start_orchestration(instance, orchestration, input.as_str()).await?;
        }
        Ok(true)
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
    began: Option<&str>,
) -> Result<Option<String>, BoxError> {
    // duroxide writes the failure with the number of the one or the other.
    let number = history.first().map_or(0, |event| event.execution_id);
    for execution in [number, number.saturating_sub(1)] {
        let before = provider.read_with_execution(instance, execution).await?;
        let is_first = execution == 1 && !before.is_empty();
        let input = before.into_iter().find_map(|event| match event.kind {
            EventKind::OrchestrationContinuedAsNew { input } => Some(input),
            _ => None,
        });
        if input.is_some() {
            return Ok(input);
        }
        if is_first {
            return Ok(began.map(str::to_owned));
        }
    }
    Ok(None)
}

/// The name of the first instance, whose address the mail has.
pub(super) fn first(instance: &str) -> &str {
    let rest = instance.strip_prefix(SUCCESSOR).and_then(|rest| rest.split_once('/'));
    rest.map_or(instance, |(_, first)| first)
}
