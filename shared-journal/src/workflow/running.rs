//! The orchestration that runs another one for an actor, and tells it how that ended.

use std::time::Duration;

use duroxide::{
    ActivityContext, Either2, Event, EventKind, OrchestrationContext, OrchestrationStatus,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::asking::{insist_if_it_fits, next_id};
use super::message::{Message, WorkflowError};
use super::orchestrated::{Mail, deliver_to, instance_of};
use super::successor::CameTo;
use super::{TELL, WATCH, WorkflowResult, instance_address};
use crate::id::{ActorId, MessageId};

/// Before a random id, its instances.
pub(super) const ASK_WORKFLOW: &str = "ask/";
/// Before a workflow is looked at again that is not a child, at first, and at most.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_AT_MOST: Duration = Duration::from_secs(60);
/// The same of one that is a child, and says so itself when it ends, unless duroxide gives it up.
const LOOK_AT_CHILD: Duration = Duration::from_secs(5);
const LOOK_AT_CHILD_AT_MOST: Duration = Duration::from_secs(86_400);
/// Looks an execution.
const LOOKS: u32 = 100;

/// What [`RUN`](super::RUN) is started with.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) actor_type: String,
    pub(super) actor_id: String,
    pub(super) kind: String,
    /// With [`WorkflowResult::awaited`] in it.
    pub(super) message: Value,
    pub(super) orchestration: String,
    pub(super) instance: String,
    pub(super) input: String,
    /// The actor is an orchestration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) orchestrated: Option<ToOrchestration>,
    /// The workflow is looked at while it runs. Instances of earlier versions only wait for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) looks: bool,
    /// No other instance ever has its name, so the ids of its messages need no more than that: they are the same when
    /// a store that was put back has it begin again. Those of earlier versions have the time of the beginning too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) unique: bool,
    /// It goes on for an instance that was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) resumed: Option<Resumed>,
}

/// How an actor that is an orchestration gets the result.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ToOrchestration {
    pub(super) message_id: MessageId,
    pub(super) begins_with: String,
}

impl Asked {
    /// What tells the actor how the workflow ended.
    fn told(
        &self,
        id: MessageId,
        result: Result<String, String>,
    ) -> Result<Message, serde_json::Error> {
        let actor = ActorId::new(&self.actor_type, &self.actor_id);
        let result = WorkflowResult { instance: self.instance.clone(), result };
        let mut message = self.message.clone();
        put_result(&mut message, &self.instance, &result)?;
        let message = match &self.orchestrated {
            None => Message::new(&actor, id, &self.kind, message),
            Some(ToOrchestration { message_id, begins_with }) => {
                let mail = Mail::new(*message_id, &self.kind, message);
                let request =
                    serde_json::to_value(deliver_to(&actor, begins_with.clone(), &mail)?)?;
                Message::new(&instance_address(&instance_of(&actor)), id, "deliver", request)
            }
        };
        Ok(if self.unique { message.unchanged() } else { message })
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Resumed {
    given_up: u32,
    from: Stage,
}

/// How far it was.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    /// The workflow may be there, and is no child of this.
    Watching,
    Ended(Result<String, String>),
    /// The actor may have been told.
    Telling(Message),
}

pub(super) async fn run(ctx: OrchestrationContext, input: String) -> Result<String, String> {
    let mut asked: Asked = serde_json::from_str(&input).map_err(text)?;
    let result = match asked.resumed.take().map(|resumed| resumed.from) {
        None => child(&ctx, &asked).await,
        Some(Stage::Watching) => match watch(&ctx, &asked.instance).await {
            Some(Seen::Ended(result)) => result,
            Some(Seen::Nowhere) => child(&ctx, &asked).await,
            Some(Seen::Running) | None => return ctx.continue_as_new(input).await,
        },
        Some(Stage::Ended(result)) => result,
        Some(Stage::Telling(message)) => return tell(&ctx, &asked, &message).await,
    };
    let message = asked.told(next_id(&ctx), result).map_err(text)?;
    tell(&ctx, &asked, &message).await
}

/// Tells the actor, and if the result is too large, that.
async fn tell(
    ctx: &OrchestrationContext,
    asked: &Asked,
    message: &Message,
) -> Result<String, String> {
    let mut told = insist_if_it_fits(ctx, message).await;
    if let Err(error @ WorkflowError::TooLarge { .. }) = &told {
        let result = Err(format!("the result does not reach its actor: {error}"));
        told = insist_if_it_fits(ctx, &asked.told(next_id(ctx), result).map_err(text)?).await;
    }
    told.map_err(text)?;
    Ok("told".into())
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Runs the workflow. duroxide does not tell a parent of a child whose turn it could not write, so it is looked at too.
async fn child(ctx: &OrchestrationContext, asked: &Asked) -> Result<String, String> {
    let Asked { orchestration, instance, input, looks, .. } = asked;
    let ended = ctx.schedule_sub_orchestration_with_id(orchestration, instance, input);
    if !looks {
        return ended.await;
    }
    match ctx.select2(ended, seen_to_end(ctx, instance)).await {
        Either2::First(result) | Either2::Second(result) => result,
    }
}

/// Looks at a workflow that runs until it has ended: seldom, because it says so itself.
async fn seen_to_end(ctx: &OrchestrationContext, instance: &str) -> Result<String, String> {
    let mut pause = LOOK_AT_CHILD;
    loop {
        ctx.schedule_timer(pause).await;
        if let Some(Seen::Ended(result)) = look_at(ctx, instance).await {
            return result;
        }
        pause = (pause * 2).min(LOOK_AT_CHILD_AT_MOST);
    }
}

/// A workflow, as the activity sees it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Seen {
    Nowhere,
    Running,
    Ended(Result<String, String>),
}

/// Looks at a workflow until it has ended. None: it has not, for as long as an execution may be.
async fn watch(ctx: &OrchestrationContext, instance: &str) -> Option<Seen> {
    let mut pause = LOOK;
    for _ in 0..LOOKS {
        if let Some(seen @ (Seen::Ended(_) | Seen::Nowhere)) = look_at(ctx, instance).await {
            return Some(seen);
        }
        ctx.schedule_timer(pause).await;
        pause = (pause * 2).min(LOOK_AT_MOST);
    }
    None
}

async fn look_at(ctx: &OrchestrationContext, instance: &str) -> Option<Seen> {
    let seen = ctx.schedule_activity(WATCH, instance).await;
    seen.ok().and_then(|seen| serde_json::from_str(&seen).ok())
}

/// The activity.
pub(super) async fn look(ctx: ActivityContext, instance: String) -> Result<String, String> {
    let status = ctx.get_client().get_orchestration_status(&instance).await;
    let seen = match status.map_err(|error| error.to_string())? {
        OrchestrationStatus::NotFound => Seen::Nowhere,
        OrchestrationStatus::Running { .. } => Seen::Running,
        OrchestrationStatus::Completed { output, .. } => Seen::Ended(Ok(output)),
        OrchestrationStatus::Failed { details, .. } => Seen::Ended(Err(details.display_message())),
    };
    serde_json::to_string(&seen).map_err(text)
}

/// What an instance had come to when it was given up.
pub(super) fn fold(
    input: &str,
    history: &[Event],
    begun_ms: u64,
) -> Result<CameTo, serde_json::Error> {
    let mut asked: Asked = serde_json::from_str(input)?;
    let given_up = asked.resumed.as_ref().map_or(0, |resumed| resumed.given_up).saturating_add(1);
    let mut from = asked.resumed.map_or(Stage::Watching, |resumed| resumed.from);
    for event in history {
        match &event.kind {
            EventKind::SubOrchestrationCompleted { result } => {
                from = Stage::Ended(Ok(result.clone()));
            }
            EventKind::SubOrchestrationFailed { details } => {
                from = Stage::Ended(Err(details.display_message()));
            }
            EventKind::ActivityScheduled { name, input, .. } if name == TELL => {
                let message: Message = serde_json::from_str(input)?;
                from = Stage::Telling(message.travelling(begun_ms));
                break;
            }
            _ => {}
        }
    }
    asked.resumed = Some(Resumed { given_up, from });
    Ok(CameTo { input: serde_json::to_string(&asked)?, given_up })
}

/// Puts a result where a message awaits it, and counts how often that was.
pub(super) fn put_result(
    message: &mut Value,
    instance: &str,
    result: &WorkflowResult,
) -> Result<usize, serde_json::Error> {
    fn put(value: &mut Value, awaited: &Value, result: &Value) -> usize {
        if value == awaited {
            *value = result.clone();
            return 1;
        }
        match value {
            Value::Array(items) => items.iter_mut().map(|it| put(it, awaited, result)).sum(),
            Value::Object(fields) => fields.values_mut().map(|it| put(it, awaited, result)).sum(),
            _ => 0,
        }
    }
    let awaited = serde_json::to_value(WorkflowResult::awaited(instance))?;
    Ok(put(message, &awaited, &serde_json::to_value(result)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_put_where_it_is_awaited() {
        #[derive(Serialize, Deserialize, PartialEq, Debug)]
        enum Message {
            Renewed { attempt: u32, how: WorkflowResult },
        }
        let of = |how| Message::Renewed { attempt: 3, how };
        let mut message = serde_json::to_value(of(WorkflowResult::awaited("renew/7"))).unwrap();
        let failed = || WorkflowResult { instance: "renew/7".into(), result: Err("no".into()) };
        assert_eq!(put_result(&mut message, "renew/7", &failed()).unwrap(), 1);
        assert_eq!(serde_json::from_value::<Message>(message).unwrap(), of(failed()));
    }
}
