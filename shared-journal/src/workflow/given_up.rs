//! Looks for instances of ours that duroxide gave up and that nobody sends to, and has them go on.

use std::collections::HashSet;
use std::time::Duration;

use duroxide::{Event, EventKind};

use super::RUN;
use super::instance::WorkflowHost;
use super::running::{self, ASK_WORKFLOW};
use super::successor::{Successor, first};
use crate::error::BoxError;
use crate::mailbox::error_text;

/// How often.
const ROUND: Duration = Duration::from_secs(60);

/// What waits for a workflow, and was started.
pub(super) struct Begins {
    pub(super) instance: String,
    pub(super) input: String,
}

impl Begins {
    /// False: not yet. It may be another instance that has to, if duroxide gave up the last one before.
    pub(super) async fn has_begun(&mut self, host: &WorkflowHost) -> Result<bool, BoxError> {
        let _call = host.calls.acquire().await;
        let history = host.provider.read(&self.instance).await?;
        let is_start = |event: &Event| matches!(event.kind, EventKind::OrchestrationStarted { .. });
        if history.is_empty() || history.iter().any(is_start) {
            return Ok(!history.is_empty());
        }
        let (provider, input) = (&*host.provider, Some(self.input.as_str()));
        let next = Successor::of(provider, &self.instance, &history, input, running::fold).await?;
        if let Some(next) = next
            && next.start(host, &self.instance, RUN).await?
        {
            (self.instance, self.input) = (next.instance, next.input);
        }
        Ok(false)
    }
}

/// Runs until it is dropped.
pub(super) async fn look_for(host: WorkflowHost) {
    let mut done = HashSet::new();
    loop {
        if let Err(error) = look(&host, &mut done).await {
            let error = error_text(&*error);
            tracing::warn!(
                error,
                "it is not known whether duroxide has given up instances of ours"
            );
        }
        tokio::time::sleep(ROUND).await;
    }
}

async fn look(host: &WorkflowHost, done: &mut HashSet<String>) -> Result<(), BoxError> {
    if !host.client.has_management_capability() {
        return Ok(());
    }
    for instance in host.client.list_instances_by_status("Failed").await? {
        if !first(&instance).starts_with(ASK_WORKFLOW) || done.contains(&instance) {
            continue;
        }
        match succeed(host, &instance).await {
            Ok(true) => drop(done.insert(instance)),
            Ok(false) => {}
            // The others do not wait for it.
            Err(error) => {
                let error = error_text(&*error);
                tracing::warn!(instance, error, "an instance that was given up does not go on");
            }
        }
    }
    Ok(())
}

/// False: not yet.
async fn succeed(host: &WorkflowHost, instance: &str) -> Result<bool, BoxError> {
    let _call = host.calls.acquire().await;
    let history = host.provider.read(instance).await?;
    let is_ours = history.iter().any(
        |event| matches!(&event.kind, EventKind::OrchestrationStarted { name, .. } if name == RUN),
    );
    if !is_ours {
        return Ok(true);
    }
    match Successor::of(&*host.provider, instance, &history, None, running::fold).await? {
        Some(successor) => successor.start(host, instance, RUN).await,
        None => Ok(true),
    }
}
