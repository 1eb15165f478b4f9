//! From orchestrations to actors: what an orchestration calls.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use duroxide::{Either2, OrchestrationContext};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::message::{Answer, Message, WorkflowError, codec, decode_text, event};
use super::{ASK, TELL};
use crate::codec::to_json;
use crate::id::{ActorId, MessageId};

/// Where an instance keeps the number of its last message.
const SENT: &str = "actors:sent";
/// Before a message is sent again that could not be posted, at first.
const AGAIN: Duration = Duration::from_secs(1);
/// Before an orchestration of ours tells an actor again that did not accept it, at first.
const INSIST: Duration = Duration::from_secs(5);
/// And both at most.
const AGAIN_AT_MOST: Duration = Duration::from_secs(3600);

/// An actor, as an orchestration sees it.
///
/// Combine its futures with what the context has (`join`, `select2`), as all of an orchestration's. Combinators
/// that poll only what was woken (`FuturesUnordered`, `futures::future::join_all` of more than thirty) would wait
/// for ever in an orchestration; here they get [`WorkflowError::Combinator`].
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

    /// Sends a message of the type with the stable name `kind` and waits for its reply, which occupies no worker.
    ///
    /// The message is on its way when the orchestration waits next, whether for this or for something else, while the
    /// future is there. Dropping it lets the message go, or, if that is sent already, the reply.
    ///
    /// # Errors
    /// See [`WorkflowError`].
    pub fn ask<R: DeserializeOwned + Send + 'static>(
        &self,
        kind: &str,
        message: &impl Serialize,
    ) -> BoxFuture<'static, Result<R, WorkflowError>> {
        let answer = self.send(ASK, kind, message);
        AlwaysPolled(async move { answer.await?.decode() }.boxed()).boxed()
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
        let within = async move {
            match ctx.select2(answer, timer).await {
                Either2::First(answer) => answer,
                Either2::Second(()) => Err(WorkflowError::TimedOut(time)),
            }
        };
        AlwaysPolled(within.boxed()).boxed()
    }

    /// Sends a message and waits until it is durable in the inbox of its actor. If the actor refuses it there,
    /// it stays in the inbox, with an error in the log, and is delivered again every 5 s.
    ///
    /// # Errors
    /// See [`WorkflowError`].
    pub fn tell(
        &self,
        kind: &str,
        message: &impl Serialize,
    ) -> BoxFuture<'static, Result<(), WorkflowError>> {
        let answer = self.send(TELL, kind, message);
        AlwaysPolled(async move { answer.await.map(drop) }.boxed()).boxed()
    }

    fn send(
        &self,
        activity: &'static str,
        kind: &str,
        message: &impl Serialize,
    ) -> BoxFuture<'static, Result<Answer, WorkflowError>> {
        let sent = to_json(message).map(|message| {
            let message = Message::new(&self.actor, next_id(&self.ctx), kind, message);
            post(&self.ctx, activity, &message)
        });
        async move { sent.map_err(|error| codec("the message", error))?.await }.boxed()
    }
}

/// The id of an instance's next message.
pub(super) fn next_id(ctx: &OrchestrationContext) -> MessageId {
    let sent: u64 = ctx.get_kv_value(SENT).and_then(|it| it.parse().ok()).unwrap_or(0);
    ctx.set_kv_value(SENT, (sent + 1).to_string());
    let (instance, execution) = (ctx.instance_id(), ctx.execution_id());
    MessageId::from_key(&format!("workflow/{instance}/{execution}/{sent}"))
}

/// Has an actor told something by an orchestration of ours, however often that is refused: the actor's node may be
/// one that does not know it yet, and what is over the limit of this cluster waits until that is higher.
pub(super) async fn insist(
    ctx: &OrchestrationContext,
    message: &Message,
) -> Result<(), WorkflowError> {
    loop {
        match insist_if_it_fits(ctx, message).await {
            Err(WorkflowError::TooLarge { .. }) => ctx.schedule_timer(AGAIN_AT_MOST).await,
            told => return told,
        }
    }
}

/// As [`insist`], but for what is over the limit.
pub(super) async fn insist_if_it_fits(
    ctx: &OrchestrationContext,
    message: &Message,
) -> Result<(), WorkflowError> {
    let mut pause = INSIST;
    loop {
        match post(ctx, TELL, message).await {
            Err(WorkflowError::NotAccepted { .. }) => ctx.schedule_timer(pause).await,
            told => return told.map(drop),
        }
        pause = (pause * 2).min(AGAIN_AT_MOST);
    }
}

/// Has a message posted, again while that is not possible, and waits for its outcome.
pub(super) fn post(
    ctx: &OrchestrationContext,
    activity: &'static str,
    message: &Message,
) -> BoxFuture<'static, Result<Answer, WorkflowError>> {
    let ctx = ctx.clone();
    let scheduled = serde_json::to_string(message).map(|input| {
        let posting = ctx.schedule_activity(activity, input.clone());
        (input, posting)
    });
    async move {
        let (input, mut posting) = scheduled.map_err(|error| codec("the message", error))?;
        let mut pause = AGAIN;
        loop {
            let answer = posting.await.map_err(WorkflowError::Activity)?;
            match decode_text("the reply", &answer)? {
                Answer::Posted { id } => {
                    let reply = ctx.schedule_wait(event(&id)).await;
                    return match decode_text("the reply", &reply)? {
                        Answer::Failed(error) => Err(error),
                        answer => Ok(answer),
                    };
                }
                Answer::Busy { .. } => {}
                Answer::Failed(error) => return Err(error),
                answer => return Ok(answer),
            }
            ctx.schedule_timer(pause).await;
            pause = (pause * 2).min(AGAIN_AT_MOST);
            posting = ctx.schedule_activity(activity, input.clone());
        }
    }
    .boxed()
}

/// A future that is polled whenever duroxide polls its orchestration, or says that it is not.
struct AlwaysPolled<T>(BoxFuture<'static, Result<T, WorkflowError>>);

impl<T> Future for AlwaysPolled<T> {
    type Output = Result<T, WorkflowError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // duroxide polls with a waker that has no data. Some combinators have one of their own for each future,
        // and poll those that were woken. Nobody wakes any.
        if !cx.waker().data().is_null() {
            return Poll::Ready(Err(WorkflowError::Combinator));
        }
        self.0.poll_unpin(cx)
    }
}
