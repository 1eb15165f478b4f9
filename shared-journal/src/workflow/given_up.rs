//! Looks for instances of ours that duroxide gave up and that nobody sends to, and has them go on.

use std::collections::HashSet;
use std::time::Duration;

use duroxide::EventKind;

use super::RUN;
use super::instance::WorkflowHost;
use super::running::{self, ASK_WORKFLOW};
use super::successor::{Successor, first};
use crate::error::BoxError;
use crate::mailbox::error_text;

/// How often.
const ROUND: Duration = Duration::from_secs(60);

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
        if first(&instance).starts_with(ASK_WORKFLOW)
            && !done.contains(&instance)
            && succeed(host, &instance).await?
        {
            done.insert(instance);
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
