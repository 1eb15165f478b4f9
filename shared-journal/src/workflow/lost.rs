//! Asks that wait for a reply that will not come: one of two stores was put back.
//!
//! If duroxide's store is older than the journal, an orchestration may wait for a reply that it had already, and whose
//! letter is gone. If the journal is the older one, the letter itself may be lost. In both cases the history has the
//! message, so it is posted again under its id: an actor that has handled it repeats its reply.
//!
//! Stores are put back while no node runs, so each looks once, as it joins. That an ask has no letter may also mean
//! that its reply waits for a runtime; then the second reply is one that nobody waits for.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use duroxide::{Event, EventKind};

use super::ASK;
use super::asker::Asker;
use super::awaited::{Awaited, Waits};
use super::instance::WorkflowHost;
use super::message::Message;
use crate::cluster::{Cluster, WeakCluster};
use crate::codec::{Codec, Payload};
use crate::error::BoxError;
use crate::id::{ActorId, MessageId, MessageKey};
use crate::mailbox::error_text;

/// Histories are read for a fifth of the time at most.
const PAUSES_PER_READ: u32 = 4;
/// Instances whose asks are compared with the inboxes at a time.
const TOGETHER: usize = 1000;
/// After a failure.
const RETRY: Duration = Duration::from_secs(60);
/// Read of an inbox at a time.
const PAGE: usize = 1 << 20;

/// An ask whose outcome somebody waits for.
struct Ask {
    by: Asker,
    message: Message,
    /// By the clock of duroxide.
    scheduled_ms: u64,
}

/// Looks once, until that is possible.
pub(super) async fn look_for(host: WorkflowHost, cluster: WeakCluster) {
    while host.client.has_management_capability()
        && let Err(error) = post_again(&host, &cluster).await
    {
        let error = error_text(&*error);
        tracing::warn!(
            error,
            "it is not known whether orchestrations wait for replies that are lost"
        );
        tokio::time::sleep(RETRY).await;
    }
}

async fn post_again(host: &WorkflowHost, cluster: &WeakCluster) -> Result<(), BoxError> {
    let running = host.client.list_instances_by_status("Running").await?;
    for instances in running.chunks(TOGETHER) {
        let mut asks = BTreeMap::<ActorId, Vec<Ask>>::new();
        for instance in instances {
            let begin = Instant::now();
            let history = {
                let _call = host.calls.acquire().await;
                host.provider.read(instance).await?
            };
            for ask in waiting(instance, &history) {
                asks.entry(ask.message.to()).or_default().push(ask);
            }
            tokio::time::sleep(begin.elapsed() * PAUSES_PER_READ).await;
        }
        let Some(cluster) = cluster.upgrade() else { return Ok(()) };
        for (actor, asks) in asks {
            let posted = posted(&cluster, &actor).await?;
            for ask in asks.into_iter().filter(|ask| !posted.contains(&ask.by.id)) {
                post(&cluster, &actor, ask).await;
            }
        }
    }
    Ok(())
}

/// The asks of an execution that wait, or will. An actor that is an orchestration knows too few of its last
/// messages to be asked again.
fn waiting(instance: &str, history: &[Event]) -> Vec<Ask> {
    let awaited = Awaited::of(history);
    let begun = history.first().map_or(0, |first| first.timestamp_ms);
    let mut asks = Vec::<Ask>::new();
    for event in history {
        let EventKind::ActivityScheduled { name, input, .. } = &event.kind else { continue };
        let Ok(message) = serde_json::from_str::<Message>(input) else { continue };
        let (id, instance) = (message.id_in(begun).to_string(), instance.to_owned());
        let is_open = name == ASK
            && awaited.waits(&id) != Waits::NoMore
            && !message.to().is_reserved()
            && asks.iter().all(|ask| ask.by.id != id);
        if is_open {
            let by = Asker { waits: true, execution: event.execution_id, id, instance };
            asks.push(Ask { by, message, scheduled_ms: event.timestamp_ms });
        }
    }
    asks
}

/// The ids of the letters that wait for an actor.
async fn posted(cluster: &Cluster, actor: &ActorId) -> Result<HashSet<String>, BoxError> {
    let (mut ids, mut after) = (HashSet::new(), 0);
    loop {
        let mail = cluster.mail(actor, after, PAGE).await?;
        let Some(last) = mail.last() else { return Ok(ids) };
        after = last.number;
        ids.extend(mail.into_iter().map(|letter| letter.id.to_string()));
    }
}

/// What an actor has handled must still be known to it, so what is old is left to an operator.
async fn post(cluster: &Cluster, actor: &ActorId, ask: Ask) {
    let Ask { by, message, scheduled_ms } = ask;
    let instance = &by.instance;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let age = now.saturating_sub(Duration::from_millis(scheduled_ms));
    let known = cluster.dedup_age() / 2;
    if age > known {
        tracing::warn!(
            %actor, instance, ?age,
            "an orchestration waits for a reply, and its ask is in no inbox any more: if a store was put back, cancel it"
        );
        return;
    }
    let id = by.id.parse::<uuid::Uuid>().map(MessageId::from);
    let payload = Payload::encode(Codec::Json, &message.message);
    let (Ok(id), Ok(payload)) = (id, payload) else { return };
    let (key, to) = (MessageKey::Caller(id), Some(by.to_string()));
    match cluster.post_from_outside(actor, key, &message.kind, payload, to).await {
        Ok(()) => tracing::info!(
            %actor, instance,
            "an ask that an orchestration waits for is in no inbox: it is asked again, under its id"
        ),
        Err(error) => {
            let error = error_text(&error);
            tracing::warn!(%actor, instance, error, "an ask that is lost is not posted again");
        }
    }
}
