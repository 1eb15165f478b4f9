//! The activities that send for an orchestration. They wait for nothing but the store.

use duroxide::{ActivityContext, Event, EventKind};
use fail::fail_point;

use super::asker::Asker;
use super::message::{Answer, Message, WorkflowError, codec, decode_text};
use crate::cluster::Cluster;
use crate::codec::{Codec, Payload};
use crate::id::{MessageId, MessageKey};
use crate::mailbox::error_text;

/// The body of both: with `reply` the outcome comes as an event. Either letter stays until the history shows that it was
/// posted, so an activity that is run again, however late, is handled once.
pub(super) async fn run(
    cluster: Cluster,
    ctx: ActivityContext,
    input: String,
    reply: bool,
) -> Result<String, String> {
    fail_point!("before-activity");
    let begun = begun(&ctx, &input).await?;
    let answer = post(&cluster, &ctx, &input, begun, reply).await.unwrap_or_else(Answer::Failed);
    if let Answer::Failed(error) = &answer {
        let instance = ctx.instance_id();
        tracing::warn!(
            instance,
            error = error_text(error),
            "what it told or asked an actor failed"
        );
    }
    fail_point!("after-activity");
    serde_json::to_string(&answer).map_err(|error| error.to_string())
}

async fn post(
    cluster: &Cluster,
    ctx: &ActivityContext,
    input: &str,
    begun: u64,
    reply: bool,
) -> Result<Answer, WorkflowError> {
    let message: Message = decode_text("the message", input)?;
    let id = message.id_in(begun);
    // An instance that is told something has its own letter, until it has read it.
    let by = (reply || !message.to().is_reserved()).then(|| Asker {
        waits: reply,
        execution: ctx.execution_id(),
        id: id.to_string(),
        instance: ctx.instance_id().to_owned(),
    });
    post_by(cluster, &message, id, by.as_ref()).await
}

/// Posts a message under an id, whose letter says who waits for what becomes of it, if anybody does.
pub(super) async fn post_by(
    cluster: &Cluster,
    message: &Message,
    id: MessageId,
    by: Option<&Asker>,
) -> Result<Answer, WorkflowError> {
    let payload = Payload::encode(Codec::Json, &message.message)
        .map_err(|error| codec("the message", error))?;
    let (size, limit) = (payload.bytes().len(), cluster.message_bytes());
    if size > limit {
        return Err(WorkflowError::TooLarge { size, limit });
    }
    let (to, key) = (message.to(), MessageKey::Caller(id));
    match cluster
        .post_from_outside(&to, key, &message.kind, payload, by.map(Asker::to_string))
        .await
    {
        Ok(()) if by.is_some_and(|by| by.waits) => Ok(Answer::Posted { id: id.to_string() }),
        Ok(()) => Ok(Answer::Reply(serde_json::Value::Null)),
        Err(error) if error.is_retryable() => {
            tracing::debug!(%to, error = error_text(&error), "posted again later");
            Ok(Answer::Busy { reason: error_text(&error) })
        }
        Err(error) => Err(WorkflowError::NotAccepted { reason: error_text(&error) }),
    }
}

/// When the execution began, in milliseconds since 1970, as its history says: an instance that is deleted and
/// started again under its name is another one by that. It may be started again while an activity of the deleted one
/// runs; it has not scheduled that one.
async fn begun(ctx: &ActivityContext, message: &str) -> Result<u64, String> {
    let client = ctx.get_client();
    if !client.has_management_capability() {
        // Its instances cannot be deleted.
        return Ok(0);
    }
    let history = client.read_execution_history(ctx.instance_id(), ctx.execution_id()).await;
    let history = history.map_err(|error| error.to_string())?;
    let is_this = |event: &Event| match &event.kind {
        EventKind::ActivityScheduled { name, input, .. } => {
            name == ctx.activity_name() && input == message
        }
        _ => false,
    };
    let first = history.first().filter(|_| history.iter().any(is_this));
    Ok(first.ok_or("nobody waits: the instance was deleted")?.timestamp_ms)
}
