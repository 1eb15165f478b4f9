//! Asks that wait for a reply that will not come: one of two stores was put back.
//!
//! If duroxide's store is older than the journal, an orchestration may wait for a reply that it had already, and whose
//! letter is gone. If the journal is the older one, the letter itself may be lost. In both cases the history has the
//! message, so it is posted again under its id: an actor that has handled it repeats its reply.
//!
//! Stores are put back while no node runs, so each looks as it joins, at the instances that run then. An ask whose
//! activity is not done is not looked for before it is: it will be posted by that. That one has no letter may also
//! mean that its reply waits for a runtime; then the second reply is one that nobody waits for.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use duroxide::{Event, EventKind};

use super::ASK;
use super::asker::Asker;
use super::awaited::{Awaited, Waits};
use super::instance::WorkflowHost;
use super::message::{Answer, Message};
use super::posting::post_by;
use super::replying::PAUSES_PER_READ;
use crate::cluster::{Cluster, WeakCluster};
use crate::engine::now_ms;
use crate::error::BoxError;
use crate::id::{ActorId, MessageId};
use crate::mailbox::error_text;

/// Instances whose asks are compared with the inboxes at a time.
const TOGETHER: usize = 1000;
/// Before instances are looked at again of which it cannot be said yet, at first.
const ROUND: Duration = Duration::from_secs(10);
/// And at most.
const ROUND_AT_MOST: Duration = Duration::from_secs(600);
/// A node begins within so long after it has joined.
const JITTER_MS: u64 = 1000;
/// Read of an inbox at a time.
const PAGE: usize = 1 << 20;

/// An ask whose outcome somebody waits for.
struct Ask {
    id: MessageId,
    by: Asker,
    message: Message,
    /// By the clock of duroxide.
    scheduled_ms: u64,
}

/// Looks at the instances that run as the node joins, until each of their asks is answered, has its letter, or has it
/// again.
pub(super) async fn look_for(host: WorkflowHost, cluster: WeakCluster) {
    if !host.client.has_management_capability() {
        return;
    }
    // What one node has posted others see that have joined in the same moment.
    let jitter = Duration::from_millis(MessageId::random().as_u128() as u64 % JITTER_MS);
    tokio::time::sleep(jitter).await;
    let mut pause = ROUND;
    let mut left: Option<Vec<String>> = None;
    loop {
        match look(&host, &cluster, left.as_deref()).await {
            Ok(open) if open.is_empty() => return,
            Ok(open) => left = Some(open),
            Err(error) => {
                let error = error_text(&*error);
                tracing::warn!(
                    error,
                    "it is not known whether orchestrations wait for replies that are lost"
                );
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(ROUND_AT_MOST);
    }
}

/// Posts again what is lost of these instances, of all at first. Those of which it cannot be said yet.
async fn look(
    host: &WorkflowHost,
    cluster: &WeakCluster,
    left: Option<&[String]>,
) -> Result<Vec<String>, BoxError> {
    let instances = match left {
        Some(left) => left,
        None => &host.client.list_instances_by_status("Running").await?,
    };
    let mut open = Vec::new();
    for instances in instances.chunks(TOGETHER) {
        let mut asks = BTreeMap::<ActorId, Vec<Ask>>::new();
        for instance in instances {
            let begin = Instant::now();
            let history = {
                let _call = host.calls.acquire().await;
                host.provider.read(instance).await?
            };
            let (posted, is_open) = waiting(instance, &history);
            open.extend(is_open.then(|| instance.clone()));
            for ask in posted {
                asks.entry(ask.message.to()).or_default().push(ask);
            }
            tokio::time::sleep(begin.elapsed() * PAUSES_PER_READ).await;
        }
        let Some(cluster) = cluster.upgrade() else { return Ok(Vec::new()) };
        for (actor, asks) in asks {
            let posted = posted(&cluster, &actor).await?;
            for ask in asks.into_iter().filter(|ask| !posted.contains(&ask.id)) {
                if !post(&cluster, &ask).await {
                    open.push(ask.by.instance);
                }
            }
        }
    }
    open.sort_unstable();
    open.dedup();
    Ok(open)
}

/// The asks of an execution that were posted and wait, and whether there are others: their activities run yet, or
/// it is not in the history how they ended. An actor that is an orchestration knows too few of its last messages to
/// be asked again.
fn waiting(instance: &str, history: &[Event]) -> (Vec<Ask>, bool) {
    let awaited = Awaited::of(history);
    let begun = history.first().map_or(0, |first| first.timestamp_ms);
    let (mut asks, mut is_open) = (Vec::<Ask>::new(), false);
    for event in history {
        let EventKind::ActivityScheduled { name, input, .. } = &event.kind else { continue };
        let Ok(message) = serde_json::from_str::<Message>(input) else { continue };
        let id = message.id_in(begun);
        if name != ASK || message.to().is_reserved() || asks.iter().any(|ask| ask.id == id) {
            continue;
        }
        let (name, instance) = (id.to_string(), instance.to_owned());
        match awaited.waits(&name) {
            Waits::NoMore => {}
            Waits::NotYet => is_open = true,
            Waits::Now => {
                let by = Asker { waits: true, execution: event.execution_id, id: name, instance };
                asks.push(Ask { id, by, message, scheduled_ms: event.timestamp_ms });
            }
        }
    }
    (asks, is_open)
}

/// The ids of the letters that wait for an actor.
async fn posted(cluster: &Cluster, actor: &ActorId) -> Result<HashSet<MessageId>, BoxError> {
    let (mut ids, mut after) = (HashSet::new(), 0);
    loop {
        let mail = cluster.mail(actor, after, PAGE).await?;
        let Some(last) = mail.last() else { return Ok(ids) };
        after = last.number;
        ids.extend(mail.into_iter().map(|letter| letter.id));
    }
}

/// What an actor has handled must still be known to it, so what is old is left to an operator. False: it may be
/// possible later.
async fn post(cluster: &Cluster, Ask { id, by, message, scheduled_ms }: &Ask) -> bool {
    let (actor, instance) = (message.to(), &by.instance);
    let age = Duration::from_millis(now_ms().saturating_sub(*scheduled_ms));
    if age > cluster.dedup_age() / 2 {
        tracing::warn!(
            %actor, instance, ?age,
            "an orchestration waits for a reply, and its ask is in no inbox any more: if a store was put back, cancel it"
        );
        return true;
    }
    let answer = post_by(cluster, message, *id, Some(by)).await;
    let is_posted = matches!(answer, Ok(Answer::Posted { .. }));
    if is_posted {
        tracing::info!(
            %actor, instance,
            "an ask that an orchestration waits for is in no inbox: it is asked again, under its id"
        );
    } else {
        tracing::debug!(%actor, instance, ?answer, "an ask that is lost is posted again later");
    }
    is_posted
}

#[cfg(test)]
mod tests {
    use super::super::message::{Answer, event};
    use super::*;

    #[test]
    fn what_is_not_posted_yet_is_left_to_its_activity() {
        let message = Message::new(&ActorId::new("a", "1"), MessageId::from(7), "add", 1.into());
        let id = message.id_in(1);
        let (name, input) = (ASK.to_owned(), serde_json::to_string(&message).unwrap());
        let posted = serde_json::to_string(&Answer::Posted { id: id.to_string() }).unwrap();
        let kinds = [
            (None, EventKind::ActivityScheduled { name, input, session_id: None, tag: None }),
            (Some(1), EventKind::ActivityCompleted { result: posted }),
            (None, EventKind::ExternalSubscribed { name: event(&id.to_string()) }),
        ];
        let events: Vec<_> = (1..)
            .zip(kinds)
            .map(|(number, (source, kind))| {
                let event = Event::with_event_id(number, "pay/1", 1, source, kind);
                Event { timestamp_ms: 1, ..event }
            })
            .collect();
        for (seen, posted, is_open) in [(0, 0, false), (1, 0, true), (2, 0, true), (3, 1, false)] {
            let (asks, open) = waiting("pay/1", &events[..seen]);
            assert_eq!((asks.len(), open), (posted, is_open), "{seen}");
            assert!(asks.iter().all(|ask| ask.by.id == id.to_string() && ask.by.execution == 1));
        }
    }
}
