//! From orchestrations to actors: two activities, and what an orchestration calls them through.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use duroxide::{ActivityContext, Either2, OrchestrationContext};
use fail::fail_point;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cluster::{Cluster, SendError};
use crate::codec::{Codec, Payload, to_json};
use crate::id::{ActorId, MessageId, MessageKey};
use crate::mailbox::error_text;

/// The activity that asks an actor.
pub const ASK: &str = "actors:ask";
/// The activity that tells an actor something.
pub const TELL: &str = "actors:tell";
/// Where an instance keeps the number of its last message.
const SENT: &str = "actors:sent";
/// Before a message that did not get through is sent again.
const RETRY: Duration = Duration::from_millis(200);
/// Before an orchestration of ours tells an actor again that did not accept it, at first.
const INSIST: Duration = Duration::from_secs(5);
/// And at most.
const INSIST_AT_MOST: Duration = Duration::from_secs(3600);

/// What an orchestration hands to the activity, as duroxide's history shows it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Message {
    actor_type: String,
    actor_id: String,
    /// A UUID.
    id: String,
    kind: String,
    message: Value,
}

impl Message {
    pub(super) fn new(to: &ActorId, id: MessageId, kind: &str, message: Value) -> Self {
        Self {
            actor_type: to.actor_type().to_owned(),
            actor_id: to.id().to_owned(),
            id: id.to_string(),
            kind: kind.to_owned(),
            message,
        }
    }

    /// Tells it from an orchestration, under the id that it has. Again and again while it is not
    /// accepted: the actor's node may be one that does not know it yet.
    pub(super) async fn send(&self, ctx: &OrchestrationContext) -> Result<(), WorkflowError> {
        let input = serde_json::to_string(self).map_err(|error| codec("the message", error))?;
        let mut pause = INSIST;
        loop {
            let told = ctx.schedule_activity(TELL, input.clone()).await;
            match decode_text("the reply", &told.map_err(WorkflowError::Activity)?)? {
                Answer::Reply(_) | Answer::Encoded { .. } => return Ok(()),
                Answer::Failed(WorkflowError::NotAccepted { .. }) => {
                    ctx.schedule_timer(pause).await;
                }
                Answer::Failed(error) => return Err(error),
            }
            pause = (pause * 2).min(INSIST_AT_MOST);
        }
    }
}

/// What the activity hands back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Reply(Value),
    /// A reply that JSON has no form for.
    Encoded {
        codec: Codec,
        /// In base64.
        bytes: String,
    },
    Failed(WorkflowError),
}

impl Answer {
    fn of(reply: &Payload<'_>) -> Self {
        match reply.to_value() {
            Some(value) => Self::Reply(value),
            None => Self::Encoded { codec: reply.codec(), bytes: STANDARD.encode(reply.bytes()) },
        }
    }

    fn decode<R: DeserializeOwned>(self) -> Result<R, WorkflowError> {
        match self {
            Self::Reply(value) => decode("the reply", value),
            Self::Encoded { codec: of, bytes } => {
                let bytes = STANDARD.decode(bytes).map_err(|error| codec("the reply", error))?;
                Payload::new(of, bytes).decode().map_err(|error| codec("the reply", error))
            }
            Self::Failed(error) => Err(error),
        }
    }
}

/// Why an orchestration has no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WorkflowError {
    /// The message was not accepted: this call is no reason that it is handled.
    #[error("the message was not accepted: {reason}")]
    NotAccepted {
        /// Why not.
        reason: String,
    },
    /// The handler panicked as often as it was allowed to. The message is a dead letter.
    #[error("the message was given up after {attempts} attempts: {error}")]
    DeadLetter {
        /// How often it was tried.
        attempts: u32,
        /// What the last attempt died of.
        error: String,
    },
    /// The message was handled, and there was no room to keep its reply.
    #[error("the message was handled, but its reply is not kept")]
    AlreadyProcessed,
    /// The message or its reply does not encode or decode.
    #[error("{what} does not encode or decode: {error}")]
    Codec {
        /// Which of the two.
        what: String,
        /// Why not.
        error: String,
    },
    /// There was no reply in time. The message may be handled yet.
    #[error("no reply within {0:?}")]
    TimedOut(Duration),
    /// duroxide could not run the activity.
    #[error("{0}")]
    Activity(String),
}

impl WorkflowError {
    /// Whether the same message can be sent again, as a new one, without being handled twice.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::NotAccepted { .. })
    }
}

/// An actor, as an orchestration sees it.
#[derive(Clone)]
pub struct WorkflowActor {
    ctx: OrchestrationContext,
    actor: ActorId,
}

impl std::fmt::Debug for WorkflowActor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("WorkflowActor").field(&self.actor).finish()
    }
}

impl WorkflowActor {
    /// The actor with this name, for the orchestration with this context.
    #[must_use]
    pub fn new(ctx: &OrchestrationContext, actor: ActorId) -> Self {
        Self { ctx: ctx.clone(), actor }
    }

    /// Sends a message of the type with the stable name `kind` and waits for its reply.
    ///
    /// The message is on its way when this is called, whether or not it is awaited then. Dropping the
    /// future lets the activity go; the message may be handled.
    ///
    /// # Errors
    /// See [`WorkflowError`].
    pub fn ask<R: DeserializeOwned + Send + 'static>(
        &self,
        kind: &str,
        message: &impl Serialize,
    ) -> BoxFuture<'static, Result<R, WorkflowError>> {
        let answer = self.schedule(ASK, kind, message);
        async move { answer.await?.decode() }.boxed()
    }

    /// As [`ask`](Self::ask), for at most so long.
    ///
    /// # Errors
    /// See [`WorkflowError`].
    pub fn ask_within<R: DeserializeOwned + Send + 'static>(
        &self,
        time: Duration,
        kind: &str,
        message: &impl Serialize,
    ) -> BoxFuture<'static, Result<R, WorkflowError>> {
        let (ctx, answer) = (self.ctx.clone(), self.ask(kind, message));
        let timer = ctx.schedule_timer(time);
        async move {
            match ctx.select2(answer, timer).await {
                Either2::First(answer) => answer,
                Either2::Second(()) => Err(WorkflowError::TimedOut(time)),
            }
        }
        .boxed()
    }

    /// Sends a message and waits until it is durable that it will be handled.
    ///
    /// # Errors
    /// See [`WorkflowError`].
    pub fn tell(
        &self,
        kind: &str,
        message: &impl Serialize,
    ) -> BoxFuture<'static, Result<(), WorkflowError>> {
        let answer = self.schedule(TELL, kind, message);
        async move { answer.await.map(drop) }.boxed()
    }

    /// Tells it until it is accepted.
    pub(super) async fn insist(
        &self,
        kind: &str,
        message: &impl Serialize,
    ) -> Result<(), WorkflowError> {
        let message = to_json(message).map_err(|error| codec("the message", error))?;
        Message::new(&self.actor, self.next_id(), kind, message).send(&self.ctx).await
    }

    /// Schedules an activity with a message that has its id already.
    fn schedule(
        &self,
        activity: &str,
        kind: &str,
        message: &impl Serialize,
    ) -> BoxFuture<'static, Result<Answer, WorkflowError>> {
        let scheduled = to_json(message).and_then(|message| {
            let message = Message::new(&self.actor, self.next_id(), kind, message);
            let input = serde_json::to_string(&message)?;
            Ok(self.ctx.schedule_activity(activity, input))
        });
        async move {
            let scheduled = scheduled.map_err(|error| codec("the message", error))?;
            let answer = scheduled.await.map_err(WorkflowError::Activity)?;
            match decode_text("the reply", &answer)? {
                Answer::Failed(error) => Err(error),
                answer => Ok(answer),
            }
        }
        .boxed()
    }

    fn next_id(&self) -> MessageId {
        let sent: u64 = self.ctx.get_kv_value(SENT).and_then(|it| it.parse().ok()).unwrap_or(0);
        self.ctx.set_kv_value(SENT, (sent + 1).to_string());
        let (instance, execution) = (self.ctx.instance_id(), self.ctx.execution_id());
        MessageId::from_key(&format!("workflow/{instance}/{execution}/{sent}"))
    }
}

/// The body of both activities.
pub(super) async fn run(
    cluster: Cluster,
    ctx: ActivityContext,
    input: String,
    reply: bool,
) -> Result<String, String> {
    fail_point!("before-activity");
    let answer = tokio::select! {
        answer = send(&cluster, &input, reply) => match answer {
            Ok(reply) => Answer::of(&reply),
            Err(error) => {
                tracing::warn!(instance = ctx.instance_id(), error = error_text(&error), "what it told or asked an actor failed");
                Answer::Failed(error)
            }
        },
        () = ctx.cancelled() => return Err("nobody waits for the reply".into()),
    };
    fail_point!("after-activity");
    serde_json::to_string(&answer).map_err(|error| error.to_string())
}

/// Sends until it is known what became of the message.
async fn send(
    cluster: &Cluster,
    input: &str,
    reply: bool,
) -> Result<Payload<'static>, WorkflowError> {
    let Message { actor_type, actor_id, id, kind, message } = decode_text("the message", input)?;
    let id = uuid::Uuid::parse_str(&id).map_err(|error| codec("the message", error))?;
    let (actor, key) = (ActorId::new(actor_type, actor_id), MessageKey::Generated(id.into()));
    let payload =
        Payload::encode(Codec::Json, &message).map_err(|error| codec("the message", error))?;
    loop {
        let sent = if reply {
            cluster.ask(&actor, key, &kind, payload.clone()).await
        } else {
            let told = cluster.tell(&actor, key, &kind, payload.clone()).await;
            told.map(|()| Payload::new(Codec::Json, &b"null"[..]))
        };
        return match sent {
            Ok(reply) => Ok(reply),
            Err(error) if error.is_retryable() => {
                tracing::debug!(%actor, error = error_text(&error), "sent again");
                tokio::time::sleep(RETRY).await;
                continue;
            }
            Err(SendError::DeadLetter { attempts, error, .. }) => {
                Err(WorkflowError::DeadLetter { attempts, error: error.to_string() })
            }
            Err(SendError::AlreadyProcessed { .. }) => Err(WorkflowError::AlreadyProcessed),
            Err(error) => Err(WorkflowError::NotAccepted { reason: error_text(&error) }),
        };
    }
}

fn decode<R: DeserializeOwned>(what: &str, value: Value) -> Result<R, WorkflowError> {
    serde_json::from_value(value).map_err(|error| codec(what, error))
}

fn decode_text<R: DeserializeOwned>(what: &str, text: &str) -> Result<R, WorkflowError> {
    serde_json::from_str(text).map_err(|error| codec(what, error))
}

fn codec(what: &str, error: impl std::fmt::Display) -> WorkflowError {
    WorkflowError::Codec { what: what.to_owned(), error: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_reply_of_any_codec_comes_back_and_is_json_where_it_can() {
        fn there_and_back<T>(of: Codec, reply: T) -> Value
        where
            T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
        {
            let answer = Answer::of(&Payload::encode(of, &reply).unwrap());
            let text = serde_json::to_string(&answer).unwrap();
            let back: Answer = serde_json::from_str(&text).unwrap();
            assert_eq!(back.decode::<T>().unwrap(), reply);
            serde_json::from_str(&text).unwrap()
        }
        for of in [Codec::Json, Codec::MessagePack] {
            let shown = there_and_back(of, Ok::<_, String>((5, Some("a".to_owned()), 0.1f32)));
            assert_eq!(shown["reply"], serde_json::json!({"Ok": [5, "a", 0.1]}));
            there_and_back(of, u128::MAX);
            there_and_back(of, BTreeMap::from([(1u8, 2)]));
        }
        let infinite = there_and_back(Codec::MessagePack, f64::INFINITY);
        assert_eq!(infinite["encoded"]["codec"], "MessagePack");
        there_and_back(Codec::CompactMessagePack, std::net::IpAddr::from([127, 0, 0, 1]));
    }
}
