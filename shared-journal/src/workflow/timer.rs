//! Timers that versions before 6 of the stored format have set: an orchestration each. They still fire.

use std::time::Duration;

use duroxide::OrchestrationContext;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::asking::{insist, next_id};
use super::message::Message;
use crate::engine::now_ms;
use crate::id::ActorId;
use crate::timer::Every;

/// The orchestration of a timer that an earlier version has set; today they are in the journal. Its instances
/// are `timer/<actor type>/<actor id>/<number>`.
pub const TIMER: &str = "actors:timer";

/// What a timer was set to, as duroxide's history shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Setting {
    actor_type: String,
    actor_id: String,
    kind: String,
    message: Value,
    /// Milliseconds since 1970.
    due_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    every: Option<Every>,
}

/// The orchestration. A periodic timer is an execution a period.
pub(super) async fn run(ctx: OrchestrationContext, input: String) -> Result<String, String> {
    let Some(setting) = serde_json::from_str::<Option<Setting>>(&input).map_err(text)? else {
        return Ok("cancelled before it was set".into());
    };
    // The clock is not deterministic, and need not be: duroxide itself adds it to the delay, and a
    // replay takes the time that was recorded.
    let delay = Duration::from_millis(setting.due_ms.saturating_sub(now_ms()));
    ctx.schedule_timer(delay).await;
    let actor = ActorId::new(&setting.actor_type, &setting.actor_id);
    let message = Message::new(&actor, next_id(&ctx), &setting.kind, setting.message.clone());
    insist(&ctx, &message).await.map_err(text)?;
    let Some(every) = setting.every else { return Ok("fired".into()) };
    // Neither need it be here: this is the end of the execution, which is not replayed.
    let next = Setting { due_ms: every.next(setting.due_ms, now_ms()), ..setting };
    ctx.continue_as_new(serde_json::to_string(&next).map_err(text)?).await
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
