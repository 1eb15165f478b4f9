//! The activities that send for an orchestration. They wait for nothing but the store.

use duroxide::{ActivityContext, Client};
use fail::fail_point;

use super::message::{Answer, Message, WorkflowError, codec, decode_text};
use super::replying::Asker;
use crate::cluster::Cluster;
use crate::codec::{Codec, Payload};
use crate::id::MessageKey;
use crate::mailbox::error_text;

/// The body of both: with `reply` the outcome comes as an event.
pub(super) async fn run(
    cluster: Cluster,
    ctx: ActivityContext,
    input: String,
    reply: bool,
) -> Result<String, String> {
    fail_point!("before-activity");
    let begun = begun(&ctx.get_client(), ctx.instance_id(), ctx.execution_id()).await?;
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
    let payload = Payload::encode(Codec::Json, &message.message)
        .map_err(|error| codec("the message", error))?;
    let asker = reply.then(|| Asker {
        execution: ctx.execution_id(),
        id: id.to_string(),
        instance: ctx.instance_id().to_owned(),
    });
    let key = MessageKey::Caller(id);
    let (to, reply_to) = (message.to(), asker.as_ref().map(ToString::to_string));
    match cluster.post_from_outside(&to, key, &message.kind, payload, reply_to).await {
        Ok(()) => Ok(match asker {
            Some(Asker { id, .. }) => Answer::Posted { id },
            None => Answer::Reply(serde_json::Value::Null),
        }),
        Err(error) if error.is_retryable() => {
            tracing::debug!(%to, error = error_text(&error), "posted again later");
            Ok(Answer::Busy { reason: error_text(&error) })
        }
        Err(error) => Err(WorkflowError::NotAccepted { reason: error_text(&error) }),
    }
}

/// When the execution began, in milliseconds since 1970, as its history says: an instance that is deleted and
/// started again under its name is another one by that.
pub(super) async fn begun(client: &Client, instance: &str, execution: u64) -> Result<u64, String> {
    if !client.has_management_capability() {
        // Its instances cannot be deleted.
        return Ok(0);
    }
    let history = client.read_execution_history(instance, execution).await;
    let history = history.map_err(|error| error.to_string())?;
    let first = history.first().ok_or("nobody waits: the instance is gone")?;
    Ok(first.timestamp_ms)
}
