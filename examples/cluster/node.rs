//! A process that runs aircraft, and the handle of the process that started it.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use duroxide_actix::WrappedHost;
use duroxide_actix::journal::Limits;
use duroxide_actix::journal::cluster::{Cluster, ClusterBuilder};
use duroxide_pg::PostgresProvider;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use crate::aircraft::Aircraft;
use crate::options::Store;

/// More than there will ever be nodes, so that each has an even share.
const SHARDS: u32 = 12;
/// How long a killed node keeps its aircraft. The default is 15 s; a demonstration has no patience.
const LEASE: Duration = Duration::from_secs(2);

/// What all processes of the cluster say alike.
pub(crate) fn builder(name: &str) -> ClusterBuilder {
    // The same file may be sent again next week, and is to be recognised then.
    let year = Duration::from_secs(366 * 24 * 3600);
    let limits = Limits { dedup_age: year, ..Limits::default() };
    Cluster::builder("flights", SHARDS).node(name).lease(LEASE).limits(limits)
}

/// duroxide's store in PostgreSQL.
pub(crate) async fn provider(store: &Store) -> anyhow::Result<Arc<PostgresProvider>> {
    let provider = PostgresProvider::new_with_schema(&store.database, Some(&store.schema)).await;
    let unreachable = || format!("cannot open the schema {} of {}", store.schema, store.database);
    Ok(Arc::new(provider.with_context(unreachable)?))
}

/// Removes the schema.
pub(crate) async fn drop_schema(store: &Store) -> anyhow::Result<()> {
    let provider = provider(store).await?;
    provider.cleanup_schema().await?;
    Ok(())
}

/// The whole life of a node: runs aircraft until its input ends.
pub(crate) async fn run(name: &str, store: &Store) -> anyhow::Result<()> {
    let cluster = builder(name)
        .host(WrappedHost::new(|_| Aircraft::default()))
        .join(provider(store).await?)
        .await?;
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    cluster.leave().await?;
    Ok(())
}

/// A node in a process of its own.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    process: Child,
}

impl Node {
    pub(crate) fn start(name: &str, store: &Store) -> anyhow::Result<Self> {
        let process = Command::new(std::env::current_exe()?)
            .args(["--database", &store.database, "--schema", &store.schema, "node", name])
            .stdin(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a node")?;
        Ok(Self { name: name.to_owned(), process })
    }

    /// SIGKILL: it has no time to do anything.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().await.context("cannot kill a node")
    }

    /// Lets the node hand its aircraft over and end.
    pub(crate) async fn leave(mut self) -> anyhow::Result<()> {
        drop(self.process.stdin.take());
        let status = self.process.wait().await?;
        anyhow::ensure!(status.success(), "node {} ended with {status}", self.name);
        Ok(())
    }
}
