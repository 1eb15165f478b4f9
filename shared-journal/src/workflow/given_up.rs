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
/// At first, while something does not go on yet.
const SOON: Duration = Duration::from_secs(1);

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
    let (mut done, mut pause) = (HashSet::new(), SOON);
    loop {
        pause = match look(&host, &mut done).await {
            Ok(true) => ROUND,
            Ok(false) if pause == ROUND => SOON,
            Ok(false) => (pause * 2).min(ROUND),
            Err(error) => {
                let error = error_text(&*error);
                tracing::warn!(
                    error,
                    "it is not known whether duroxide has given up instances of ours"
                );
                ROUND
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Whether all that it found goes on.
async fn look(host: &WorkflowHost, done: &mut HashSet<String>) -> Result<bool, BoxError> {
    let mut all = true;
    if !host.client.has_management_capability() {
        return Ok(all);
    }
    for instance in host.client.list_instances_by_status("Failed").await? {
        if !first(&instance).starts_with(ASK_WORKFLOW) || done.contains(&instance) {
            continue;
        }
        match succeed(host, &instance).await {
            Ok(true) => drop(done.insert(instance)),
            Ok(false) => all = false,
            // The others do not wait for it.
            Err(error) => {
                let error = error_text(&*error);
                tracing::warn!(instance, error, "an instance that was given up does not go on");
            }
        }
    }
    Ok(all)
}

/// False: not yet. Done is it when what goes on has begun: one that has not is in no list when it is given up.
async fn succeed(host: &WorkflowHost, instance: &str) -> Result<bool, BoxError> {
    let call = host.calls.acquire().await;
    let history = host.provider.read(instance).await?;
    let is_ours = history.iter().any(
        |event| matches!(&event.kind, EventKind::OrchestrationStarted { name, .. } if name == RUN),
    );
    if !is_ours {
        return Ok(true);
    }
    let provider = &*host.provider;
    let next = Successor::of(provider, instance, &history, None, running::fold).await?;
    drop(call);
    let Some(next) = next else { return Ok(true) };
    if !next.start(host, instance, RUN).await? {
        return Ok(false);
    }
    let mut begins = Begins { instance: next.instance, input: next.input };
    loop {
        let before = begins.instance.clone();
        if begins.has_begun(host).await? {
            return Ok(true);
        }
        if begins.instance == before {
            return Ok(false);
        }
    }
}
