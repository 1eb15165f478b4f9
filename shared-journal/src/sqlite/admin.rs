//! The management of duroxide's `SqliteProvider`, whose writes wait for those of its dispatchers.

use async_trait::async_trait;
use duroxide::Event;
use duroxide::providers::{
    DeleteInstanceResult, ExecutionInfo, InstanceFilter, InstanceInfo, ProviderAdmin,
    ProviderError, PruneOptions, PruneResult, QueueDepths, SystemMetrics,
};

use super::one_writer::{Answer, OneWriter};

impl OneWriter {
    fn admin(&self) -> Answer<&dyn ProviderAdmin> {
        let missing = || ProviderError::permanent("manage", "the provider has no management");
        self.inner.as_management_capability().ok_or_else(missing)
    }
}

#[async_trait]
impl ProviderAdmin for OneWriter {
    async fn list_instances(&self) -> Answer<Vec<String>> {
        self.admin()?.list_instances().await
    }

    async fn list_instances_by_status(&self, status: &str) -> Answer<Vec<String>> {
        self.admin()?.list_instances_by_status(status).await
    }

    async fn list_executions(&self, instance: &str) -> Answer<Vec<u64>> {
        self.admin()?.list_executions(instance).await
    }

    async fn read_history_with_execution_id(
        &self,
        instance: &str,
        execution: u64,
    ) -> Answer<Vec<Event>> {
        self.admin()?.read_history_with_execution_id(instance, execution).await
    }

    async fn read_history(&self, instance: &str) -> Answer<Vec<Event>> {
        self.admin()?.read_history(instance).await
    }

    async fn latest_execution_id(&self, instance: &str) -> Answer<u64> {
        self.admin()?.latest_execution_id(instance).await
    }

    async fn get_instance_info(&self, instance: &str) -> Answer<InstanceInfo> {
        self.admin()?.get_instance_info(instance).await
    }

    async fn get_execution_info(&self, instance: &str, execution: u64) -> Answer<ExecutionInfo> {
        self.admin()?.get_execution_info(instance, execution).await
    }

    async fn get_system_metrics(&self) -> Answer<SystemMetrics> {
        self.admin()?.get_system_metrics().await
    }

    async fn get_queue_depths(&self) -> Answer<QueueDepths> {
        self.admin()?.get_queue_depths().await
    }

    async fn list_children(&self, instance: &str) -> Answer<Vec<String>> {
        self.admin()?.list_children(instance).await
    }

    async fn get_parent_id(&self, instance: &str) -> Answer<Option<String>> {
        self.admin()?.get_parent_id(instance).await
    }

    async fn delete_instances_atomic(
        &self,
        ids: &[String],
        force: bool,
    ) -> Answer<DeleteInstanceResult> {
        let admin = self.admin()?;
        self.write(|| admin.delete_instances_atomic(ids, force)).await
    }

    async fn delete_instance_bulk(&self, filter: InstanceFilter) -> Answer<DeleteInstanceResult> {
        let admin = self.admin()?;
        self.write(|| admin.delete_instance_bulk(filter.clone())).await
    }

    async fn prune_executions(&self, instance: &str, options: PruneOptions) -> Answer<PruneResult> {
        let admin = self.admin()?;
        self.write(|| admin.prune_executions(instance, options.clone())).await
    }

    async fn prune_executions_bulk(
        &self,
        filter: InstanceFilter,
        options: PruneOptions,
    ) -> Answer<PruneResult> {
        let admin = self.admin()?;
        self.write(|| admin.prune_executions_bulk(filter.clone(), options.clone())).await
    }
}
