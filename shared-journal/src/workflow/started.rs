//! Says so when an instance that was started is not there after a while: no runtime takes it.

use std::sync::Arc;
use std::time::Duration;

use duroxide::providers::{Provider, ProviderError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use crate::mailbox::error_text;

/// When an instance should have begun.
const PATIENCE: Duration = Duration::from_secs(60);

/// The instances that were started not long ago.
pub(super) struct Started(UnboundedSender<(Instant, String)>);

impl Started {
    /// To be made in a tokio runtime. The watch ends with it.
    pub(super) fn watched(provider: Arc<dyn Provider>) -> Self {
        let (started, received) = unbounded_channel();
        tokio::spawn(watch(provider, received));
        Self(started)
    }

    pub(super) fn add(&self, instance: &str) {
        // The watch is there as long as this.
        let _ = self.0.send((Instant::now(), instance.to_owned()));
    }
}

async fn watch(provider: Arc<dyn Provider>, mut started: UnboundedReceiver<(Instant, String)>) {
    while let Some((at, instance)) = started.recv().await {
        tokio::time::sleep_until(at + PATIENCE).await;
        match is_taken(&*provider, &instance).await {
            Ok(true) => {}
            Ok(false) => {
                metrics::counter!("journal_instances_not_taken_total").increment(1);
                tracing::warn!(instance, after = ?PATIENCE, "an instance that an actor has started is not there yet: does a runtime with its orchestration run on this store?");
            }
            Err(error) => {
                tracing::debug!(
                    instance,
                    error = error_text(&error),
                    "an instance is not looked at"
                );
            }
        }
    }
}

/// Whether a runtime has begun with it.
async fn is_taken(provider: &dyn Provider, instance: &str) -> Result<bool, ProviderError> {
    Ok(!provider.read(instance).await?.is_empty())
}

#[cfg(test)]
mod tests {
    use duroxide::providers::sqlite::SqliteProvider;
    use duroxide::runtime::Runtime;
    use duroxide::runtime::registry::ActivityRegistry;
    use duroxide::{Client, OrchestrationContext, OrchestrationRegistry};

    use super::*;

    #[tokio::test]
    async fn an_instance_is_taken_when_a_runtime_has_begun_with_it() {
        let provider: Arc<dyn Provider> =
            Arc::new(SqliteProvider::new_in_memory().await.expect("memory"));
        let client = Client::new(provider.clone());
        client.start_orchestration("wait/1", "wait", "").await.expect("memory");
        assert!(!is_taken(&*provider, "wait/1").await.expect("memory"));
        let wait = async |ctx: OrchestrationContext, _: String| Ok(ctx.schedule_wait("x").await);
        let registry = OrchestrationRegistry::builder().register("wait", wait).build();
        let activities = ActivityRegistry::builder().build();
        let runtime = Runtime::start_with_store(provider.clone(), activities, registry).await;
        while !is_taken(&*provider, "wait/1").await.expect("memory") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        runtime.shutdown(Some(0)).await;
    }
}
