//! Instances that processes start themselves, and delete.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use duroxide::providers::Provider;
use duroxide::{Client, ClientError, EventKind};
use tests::torture::Answer;
use tests::torture::traffic::Instance;

/// Before it is looked again whether an instance has begun.
const LOOK: Duration = Duration::from_millis(5);

/// Starts it, if it is not there, and waits until it is.
pub(super) async fn begin(provider: &Arc<dyn Provider>, instance: &Instance) -> Result<()> {
    let client = Client::new(provider.clone());
    client
        .start_orchestration(instance.name(), instance.orchestration(), instance.input()?)
        .await?;
    while input(provider, &instance.name()).await?.is_none() {
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// Deletes it, as it is, and starts it again.
pub(super) async fn renew(provider: &Arc<dyn Provider>, instance: &Instance) -> Answer {
    match try_to_renew(provider, instance).await {
        Ok(()) => Answer::Done,
        Err(error) => Answer::Unknown(format!("{error:#}")),
    }
}

async fn try_to_renew(provider: &Arc<dyn Provider>, instance: &Instance) -> Result<()> {
    let client = Client::new(provider.clone());
    let name = instance.name();
    // One that was started before and has not begun yet takes the place of this one.
    loop {
        match client.delete_instance(&name, true).await {
            Ok(_) | Err(ClientError::InstanceNotFound { .. }) => {}
            // Another one writes to the file.
            Err(error) if error.is_retryable() => {
                tokio::time::sleep(LOOK).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        begin(provider, instance).await?;
        if input(provider, &name).await? == Some(instance.input()?) {
            return Ok(());
        }
    }
}

/// What the instance has begun with. None: it is not there.
async fn input(provider: &Arc<dyn Provider>, instance: &str) -> Result<Option<String>> {
    let history = provider.read(instance).await?;
    Ok(history.into_iter().find_map(|event| match event.kind {
        EventKind::OrchestrationStarted { input, .. } => Some(input),
        _ => None,
    }))
}
