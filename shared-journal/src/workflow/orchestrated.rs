//! Actors that are orchestrations: no journal, a mailbox in duroxide's queue, and a state that is carried
//! from execution to execution.
//!
//! ```text
//! tell -> inbox -> lane -> queue -> orchestration -> activity (the handler) -> orchestration
//! ```
//!
//! A message is handled in an activity, which gets the state and returns the next one; the orchestration
//! records it and goes on. So the state changes once a message, wherever a worker is free, and what the
//! handler sends is sent from the orchestration, after that.

use std::time::Duration;

use duroxide::providers::PruneOptions;
use duroxide::{ActivityContext, OrchestrationContext};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answering::{Answer, Outcome};
use super::asking::insist;
use super::carried::{ATTEMPTS, Carried};
use super::cursor::{AGAIN, Cursor};
use super::entry::{Entry, Mark};
use super::events::next_entry;
use super::message::Message;
use super::sending::is_reserved_by_duroxide;
use super::{ANSWER, PRUNE, Request, instance_address};
use crate::cluster::{Cluster, SendError};
use crate::codec::{Codec, CodecError, Payload, to_json};
use crate::id::{ActorId, MessageId, MessageKey};
use crate::limits::MAX_ACTOR_ID_BYTES;
use crate::outbox::{Outbox, Put};
use crate::record::OutgoingMessage;

/// The queue of its messages.
const MAILBOX: &str = "mailbox";
/// Messages an execution: its history stays short.
const MESSAGES: usize = 10;
/// Executions that stay beside the one that runs, at most.
const EXECUTIONS: u64 = 16;
/// How often it is tried to remove the others, at a time.
const PRUNE_TRIES: u32 = 100;
/// Keys under which earlier versions left replies.
const REPLIES: u128 = 64;
/// Of a reply: a hundred of them go from execution to execution.
pub const ORCHESTRATED_REPLY_BYTES: usize = 60 << 10;
/// Of a state: duroxide's history has it three times for each message.
pub const ORCHESTRATED_STATE_BYTES: usize = 8 << 20;
/// How often the inbox of an actor is tried that is full, at first, and at most: thousands that try
/// leave the actor no room to empty it.
const FULL: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// A message for an actor, as it lies in its mailbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Mail {
    /// A UUID.
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) message: Value,
}

impl Mail {
    pub(super) fn new(id: MessageId, kind: &str, message: Value) -> Self {
        Self { id: id.to_string(), kind: kind.to_owned(), message }
    }
}

/// What the handler gets.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Handling {
    /// The id of the actor, within its type.
    pub actor_id: String,
    /// The id of the message, a UUID.
    pub message_id: String,
    /// The stable name of its type.
    pub kind: String,
    /// The message.
    pub message: Value,
    /// The state; none before the first message.
    pub state: Option<Value>,
    /// How often the message was tried before.
    pub attempts: u32,
    /// The number of the last message that the actor sent.
    pub(super) sent: u64,
    /// Of the actor: one that is deleted and begins again is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) life: Option<MessageId>,
}

/// What the handler returns.
#[derive(Debug, Serialize, Deserialize)]
pub struct Handled {
    pub(super) state: Value,
    pub(super) reply: Value,
    pub(super) messages: Vec<Message>,
    pub(super) sent: u64,
}

impl Handled {
    /// Says if the reply or the state is too large to be kept.
    ///
    /// # Errors
    /// Which, and its limit.
    pub fn check(&self) -> Result<(), String> {
        let parts = [
            ("reply", &self.reply, ORCHESTRATED_REPLY_BYTES),
            ("state", &self.state, ORCHESTRATED_STATE_BYTES),
        ];
        for (what, value, limit) in parts {
            let size = value.to_string().len();
            if size > limit {
                return Err(format!("the {what} has {size} bytes, the limit is {limit}"));
            }
        }
        Ok(())
    }
}

impl Handling {
    /// The outbox for what the handler sends.
    #[must_use]
    pub fn outbox(&self, actor_type: &str, limit: usize) -> Outbox {
        let actor = ActorId::new(actor_type, &self.actor_id);
        Outbox::new(actor, Codec::Json, limit, true, self.sent)
            .of_incarnation(self.life.unwrap_or(MessageId::nil()))
            .of_orchestration()
    }

    /// The id of the message.
    #[must_use]
    pub fn id(&self) -> Option<MessageId> {
        uuid::Uuid::parse_str(&self.message_id).ok().map(MessageId::from)
    }

    /// What to return: the state, the reply, and what is in the outbox.
    ///
    /// # Errors
    /// Something does not encode.
    pub fn handled(
        &self,
        state: &impl Serialize,
        reply: &impl Serialize,
        outbox: &Outbox,
    ) -> Result<Handled, CodecError> {
        let sent = outbox.take().into_iter().filter_map(|put| match put {
            Put::Message(message) => Some(message),
            // There are none.
            Put::Timer(..) | Put::Cancel { .. } => None,
        });
        let sent: Vec<_> = sent.collect();
        let last = sent.last().map_or(self.sent, |message| message.number);
        let messages = sent.into_iter().map(|message| {
            let OutgoingMessage { to, id, kind, payload, .. } = message;
            Ok(Message::new(&to, id, &kind, payload.decode()?))
        });
        Ok(Handled {
            state: to_json(state)?,
            reply: to_json(reply)?,
            messages: messages.collect::<Result<_, CodecError>>()?,
            sent: last,
        })
    }
}

/// The name of the orchestration, and of the activity, for the actors of a type.
#[must_use]
pub fn orchestrated(actor_type: &str) -> String {
    format!("actors:orchestrated/{actor_type}")
}

/// The orchestration.
pub async fn run_orchestrated(ctx: OrchestrationContext, input: String) -> Result<String, String> {
    let mut carried: Carried = serde_json::from_str(&input).map_err(text)?;
    for message in std::mem::take(&mut carried.unsent) {
        insist(&ctx, &message).await.map_err(text)?;
    }
    for _ in 0..MESSAGES {
        let Entry { mark, event, reply_to } = next_entry(&ctx, MAILBOX).await;
        let Ok(mail) = serde_json::from_str::<Mail>(&event.data) else {
            ctx.trace_error("something in the mailbox is no message of ours");
            Cursor::done(&ctx, MAILBOX, mark);
            continue;
        };
        let recorded = match carried.recorded(&mail.id).cloned() {
            Some(recorded) => recorded,
            None => {
                let outcome = handle(&ctx, &mut carried, &mail).await?;
                carried.record(mail.id, outcome)
            }
        };
        match (mark, reply_to) {
            (Some(mark), Some(_)) => answer(&ctx, mark, recorded.outcome).await?,
            (Some(mark), None) => Cursor::done(&ctx, MAILBOX, Some(mark)),
            // It came from a node of an earlier version, where who asks looks for the reply here.
            (None, _) => {
                let value = serde_json::to_string(&recorded).map_err(text)?;
                ctx.set_kv_value(reply_key(&recorded.id), value);
            }
        }
    }
    if ctx.execution_id().is_multiple_of(EXECUTIONS) {
        // The next time, if not now.
        let _ = ctx.schedule_activity(PRUNE, "").await;
    }
    ctx.continue_as_new(serde_json::to_string(&carried).map_err(text)?).await
}

/// Has a message handled, and sends what its handler sent.
async fn handle(
    ctx: &OrchestrationContext,
    carried: &mut Carried,
    mail: &Mail,
) -> Result<Outcome, String> {
    let mut attempts = 0;
    loop {
        let handling = carried.handling(mail, attempts);
        let input = serde_json::to_string(&handling).map_err(text)?;
        let error = match ctx.schedule_activity(orchestrated(carried.actor_type()), input).await {
            Ok(handled) => {
                let handled: Handled = serde_json::from_str(&handled).map_err(text)?;
                for message in &handled.messages {
                    insist(ctx, message).await.map_err(text)?;
                }
                return Ok(carried.apply(handled));
            }
            Err(error) => error,
        };
        attempts += 1;
        if attempts == ATTEMPTS {
            return Ok(Outcome::Failed { attempts, error });
        }
    }
}

/// Removes all executions but the last.
pub(super) async fn prune(ctx: ActivityContext) -> Result<String, String> {
    let client = ctx.get_client();
    let mut tries = 0;
    loop {
        let options = PruneOptions { keep_last: Some(1), ..PruneOptions::default() };
        match client.prune_executions(ctx.instance_id(), options).await {
            Ok(pruned) => return Ok(pruned.executions_deleted.to_string()),
            // On SQLite others write.
            Err(error) if error.is_retryable() && tries < PRUNE_TRIES => {
                tries += 1;
                tokio::time::sleep(FULL.0).await;
            }
            Err(error) => return Err(text(error)),
        }
    }
}

/// Has a message answered, again while the store is away.
async fn answer(ctx: &OrchestrationContext, mark: Mark, outcome: Outcome) -> Result<(), String> {
    let input = serde_json::to_string(&Answer { mark, outcome }).map_err(text)?;
    while ctx.schedule_activity(ANSWER, input.clone()).await.is_err() {
        ctx.schedule_timer(AGAIN).await;
    }
    Ok(())
}

/// What brings a message into an actor's mailbox, and begins the actor if it is not there.
pub(super) fn deliver(to: &ActorId, mail: &Mail) -> Result<Request, serde_json::Error> {
    deliver_to(to, begins_with(to)?, mail)
}

/// What an actor begins with.
pub(super) fn begins_with(actor: &ActorId) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Carried::new(actor))
}

/// As [`deliver`], to an actor that begins with this.
pub(super) fn deliver_to(
    to: &ActorId,
    input: String,
    mail: &Mail,
) -> Result<Request, serde_json::Error> {
    Ok(Request::Deliver {
        orchestration: orchestrated(to.actor_type()),
        input,
        queue: MAILBOX.to_owned(),
        data: serde_json::to_string(mail)?,
    })
}

/// The instance of an actor: named as the actor is, if duroxide and the address allow it.
pub(super) fn instance_of(actor: &ActorId) -> String {
    let name = format!("actor/{}", actor.path());
    if name.len() > MAX_ACTOR_ID_BYTES || is_reserved_by_duroxide(&name) {
        return format!("actor#/{}", MessageId::from_key(&name));
    }
    name
}

fn reply_key(id: &str) -> String {
    format!("actors:reply/{}", MessageId::from_key(id).as_u128() % REPLIES)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// An actor that is an orchestration, to send to. Adapters have typed references on top of it.
#[derive(Clone)]
pub struct OrchestratedActor {
    cluster: Cluster,
    actor: ActorId,
}

impl std::fmt::Debug for OrchestratedActor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OrchestratedActor").field(&self.actor).finish()
    }
}

/// Why an [`OrchestratedActor`] has no reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OrchestratedError {
    /// The message did not get through, or it was given up.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The reply does not decode. The message is handled.
    #[error("the reply of message {id} does not decode")]
    Reply {
        /// The message.
        id: MessageId,
        /// Why not.
        source: CodecError,
    },
}

impl OrchestratedError {
    /// Whether the same call, with the same id, can succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Send(error) => error.is_retryable(),
            Self::Reply { .. } => false,
        }
    }
}

impl OrchestratedActor {
    /// The actor with this name; it begins with its first message.
    #[must_use]
    pub fn new(cluster: &Cluster, actor: ActorId) -> Self {
        Self { cluster: cluster.clone(), actor }
    }

    /// Sends a message and returns when it is durable that it will be handled. Waits while a thousand
    /// ([`inbox_letters`](crate::cluster::ClusterBuilder::inbox_letters)) wait for the actor.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn tell(
        &self,
        id: MessageId,
        kind: &str,
        message: &impl Serialize,
    ) -> Result<(), SendError> {
        let (address, key) = (self.address(), MessageKey::Generated(id));
        let payload = self.payload(id, kind, message)?;
        while_full(|| self.cluster.tell(&address, key, kind, payload.clone())).await
    }

    /// Sends a message and waits for its reply. Waits while the inbox is full as [`tell`](Self::tell) does.
    ///
    /// Dropping the future does not take the message back. A message with an id that is among the last
    /// 100 is not handled again and gets the first reply.
    ///
    /// # Errors
    /// See [`OrchestratedError`].
    pub async fn ask(
        &self,
        id: MessageId,
        kind: &str,
        message: &impl Serialize,
    ) -> Result<Value, OrchestratedError> {
        let (address, key) = (self.address(), MessageKey::Generated(id));
        let payload = self.payload(id, kind, message)?;
        let reply = while_full(|| self.cluster.ask(&address, key, kind, payload.clone())).await?;
        reply.decode().map_err(|source| OrchestratedError::Reply { id, source })
    }

    fn address(&self) -> ActorId {
        instance_address(&instance_of(&self.actor))
    }

    fn payload(
        &self,
        id: MessageId,
        kind: &str,
        message: &impl Serialize,
    ) -> Result<Payload<'static>, SendError> {
        let refused = |error: &dyn std::fmt::Display| SendError::NotAccepted {
            reason: format!("the message does not encode: {error}").into(),
        };
        let message = to_json(message).map_err(|error| refused(&error))?;
        let mail = Mail::new(id, kind, message);
        let request = deliver(&self.actor, &mail).map_err(|error| refused(&error))?;
        Payload::encode(Codec::Json, &request).map_err(|error| refused(&error))
    }
}

/// Sends, again while the inbox has no room.
async fn while_full<T, F>(send: impl Fn() -> F) -> Result<T, SendError>
where
    F: Future<Output = Result<T, SendError>>,
{
    let mut pause = FULL.0;
    loop {
        match send().await {
            Err(SendError::InboxFull { .. }) => tokio::time::sleep(pause).await,
            sent => return sent,
        }
        pause = (pause * 2).min(FULL.1);
    }
}
