//! duroxide's `SqliteProvider`, with one write at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use duroxide::providers::sqlite::SqliteProvider;
use duroxide::providers::{
    DispatcherCapabilityFilter, ExecutionMetadata, OrchestrationItem, Provider, ProviderAdmin,
    ProviderError, ScheduledActivityIdentifier, SessionFetchConfig, TagFilter, WorkItem,
};
use duroxide::{Event, SystemStats};
use tokio::sync::Mutex;

/// How long a write is tried again while another process's are in its way: what the provider has as
/// its connections' busy timeout.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

pub(super) type Answer<T> = Result<T, ProviderError>;
type Status = Option<(Option<String>, u64)>;

/// A provider whose writes wait for each other, and are repeated if another process was in between.
///
/// `SqliteProvider` begins its transactions as readers. One that comes to write after another has
/// committed is refused at once, whatever the busy timeout; duroxide repeats that five times within
/// 310 ms and then gives the orchestration up for good. Here the second writer waits for the first. As
/// SQLite has one writer anyway, nothing is slower for it.
pub(crate) struct OneWriter {
    pub(super) inner: Arc<dyn Provider>,
    turn: Mutex<()>,
}

impl OneWriter {
    /// `provider` with one writer, if it is a `SqliteProvider`; else itself.
    pub(crate) fn over(provider: Arc<dyn Provider>) -> Arc<dyn Provider> {
        let any: &dyn std::any::Any = &*provider;
        if !any.is::<SqliteProvider>() {
            return provider;
        }
        Arc::new(Self { inner: provider, turn: Mutex::new(()) })
    }

    /// What `provider` is over, if it is one of these; else itself.
    pub(crate) fn under(provider: &Arc<dyn Provider>) -> Arc<dyn Provider> {
        let any: &dyn std::any::Any = &**provider;
        any.downcast_ref::<Self>().map_or(provider, |this| &this.inner).clone()
    }

    pub(super) async fn write<T, F: Future<Output = Answer<T>>>(
        &self,
        mut attempt: impl FnMut() -> F,
    ) -> Answer<T> {
        let _turn = self.turn.lock().await;
        let begun = Instant::now();
        loop {
            match attempt().await {
                Err(error) if is_locked(&error) && begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(PAUSE).await;
                }
                answer => return answer,
            }
        }
    }
}

/// The provider has no other sign of it than the text, and calls some of them permanent.
fn is_locked(error: &ProviderError) -> bool {
    error.message.contains("is locked")
}

#[async_trait]
impl Provider for OneWriter {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn version(&self) -> &str {
        self.inner.version()
    }

    async fn fetch_orchestration_item(
        &self,
        lock: Duration,
        poll: Duration,
        filter: Option<&DispatcherCapabilityFilter>,
    ) -> Answer<Option<(OrchestrationItem, String, u32)>> {
        self.write(|| self.inner.fetch_orchestration_item(lock, poll, filter)).await
    }

    async fn ack_orchestration_item(
        &self,
        token: &str,
        execution: u64,
        history: Vec<Event>,
        work: Vec<WorkItem>,
        items: Vec<WorkItem>,
        metadata: ExecutionMetadata,
        cancelled: Vec<ScheduledActivityIdentifier>,
    ) -> Answer<()> {
        self.write(|| {
            self.inner.ack_orchestration_item(
                token,
                execution,
                history.clone(),
                work.clone(),
                items.clone(),
                metadata.clone(),
                cancelled.clone(),
            )
        })
        .await
    }

    async fn abandon_orchestration_item(
        &self,
        token: &str,
        delay: Option<Duration>,
        ignore_attempt: bool,
    ) -> Answer<()> {
        self.write(|| self.inner.abandon_orchestration_item(token, delay, ignore_attempt)).await
    }

    async fn read(&self, instance: &str) -> Answer<Vec<Event>> {
        self.inner.read(instance).await
    }

    async fn read_with_execution(&self, instance: &str, execution: u64) -> Answer<Vec<Event>> {
        self.inner.read_with_execution(instance, execution).await
    }

    async fn append_with_execution(
        &self,
        instance: &str,
        execution: u64,
        events: Vec<Event>,
    ) -> Answer<()> {
        self.write(|| self.inner.append_with_execution(instance, execution, events.clone())).await
    }

    async fn enqueue_for_worker(&self, item: WorkItem) -> Answer<()> {
        self.write(|| self.inner.enqueue_for_worker(item.clone())).await
    }

    async fn fetch_work_item(
        &self,
        lock: Duration,
        poll: Duration,
        session: Option<&SessionFetchConfig>,
        tags: &TagFilter,
    ) -> Answer<Option<(WorkItem, String, u32)>> {
        self.write(|| self.inner.fetch_work_item(lock, poll, session, tags)).await
    }

    async fn ack_work_item(&self, token: &str, completion: Option<WorkItem>) -> Answer<()> {
        self.write(|| self.inner.ack_work_item(token, completion.clone())).await
    }

    async fn renew_work_item_lock(&self, token: &str, extend_for: Duration) -> Answer<()> {
        self.write(|| self.inner.renew_work_item_lock(token, extend_for)).await
    }

    async fn renew_session_lock(
        &self,
        owners: &[&str],
        extend_for: Duration,
        idle: Duration,
    ) -> Answer<usize> {
        self.write(|| self.inner.renew_session_lock(owners, extend_for, idle)).await
    }

    async fn cleanup_orphaned_sessions(&self, idle: Duration) -> Answer<usize> {
        self.write(|| self.inner.cleanup_orphaned_sessions(idle)).await
    }

    async fn abandon_work_item(
        &self,
        token: &str,
        delay: Option<Duration>,
        ignore_attempt: bool,
    ) -> Answer<()> {
        self.write(|| self.inner.abandon_work_item(token, delay, ignore_attempt)).await
    }

    async fn renew_orchestration_item_lock(&self, token: &str, extend_for: Duration) -> Answer<()> {
        self.write(|| self.inner.renew_orchestration_item_lock(token, extend_for)).await
    }

    async fn enqueue_for_orchestrator(
        &self,
        item: WorkItem,
        delay: Option<Duration>,
    ) -> Answer<()> {
        self.write(|| self.inner.enqueue_for_orchestrator(item.clone(), delay)).await
    }

    fn as_management_capability(&self) -> Option<&dyn ProviderAdmin> {
        self.inner.as_management_capability().map(|_| self as &dyn ProviderAdmin)
    }

    async fn get_custom_status(&self, instance: &str, seen: u64) -> Answer<Status> {
        self.inner.get_custom_status(instance, seen).await
    }

    async fn get_kv_value(&self, instance: &str, key: &str) -> Answer<Option<String>> {
        self.inner.get_kv_value(instance, key).await
    }

    async fn get_kv_all_values(&self, instance: &str) -> Answer<HashMap<String, String>> {
        self.inner.get_kv_all_values(instance).await
    }

    async fn get_instance_stats(&self, instance: &str) -> Answer<Option<SystemStats>> {
        self.inner.get_instance_stats(instance).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: Duration = Duration::from_secs(30);

    async fn delete(provider: Arc<dyn Provider>) -> Answer<()> {
        let admin = provider.as_management_capability().unwrap();
        for _ in 0..40 {
            // There is none, which is another error.
            match admin.delete_instances_atomic(&["nobody".into()], true).await {
                Err(error) if is_locked(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    async fn enqueue_and_do(provider: Arc<dyn Provider>, task: u64) -> Answer<()> {
        for id in 0..40 {
            let item = WorkItem::ActivityExecute {
                instance: format!("{task}"),
                execution_id: 1,
                id,
                name: "nothing".into(),
                input: String::new(),
                session_id: None,
                tag: None,
            };
            provider.enqueue_for_worker(item).await?;
            let tags = TagFilter::default();
            let next = provider.fetch_work_item(LOCK, Duration::ZERO, None, &tags).await?;
            if let Some((_, token, _)) = next {
                provider.ack_work_item(&token, None).await?;
            }
        }
        Ok(())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn writers_of_one_process_and_of_two_do_not_refuse_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}?mode=rwc", folder.path().join("app.db").display());
        let mut tasks = tokio::task::JoinSet::new();
        for process in 0..2 {
            let provider = Arc::new(SqliteProvider::new(&url, None).await.unwrap());
            let provider = OneWriter::over(provider);
            for task in 0..4 {
                tasks.spawn(enqueue_and_do(provider.clone(), process * 4 + task));
            }
            tasks.spawn(delete(provider));
        }
        for done in tasks.join_all().await {
            assert_eq!(done, Ok(()));
        }
    }

    #[tokio::test]
    async fn a_provider_has_one_writer_once() {
        let provider: Arc<dyn Provider> = Arc::new(SqliteProvider::new_in_memory().await.unwrap());
        let over = OneWriter::over(provider.clone());
        assert!(Arc::ptr_eq(&OneWriter::over(over.clone()), &over));
        assert!(Arc::ptr_eq(&OneWriter::under(&over), &provider));
        assert!(Arc::ptr_eq(&OneWriter::under(&provider), &provider));
    }
}
