//! The activity that answers a message to an actor that is an orchestration.

use duroxide::ActivityContext;
use fail::fail_point;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entry::{Mark, opened};
use super::instance_address;
use super::successor::first;
use crate::cluster::{Cluster, Delivered, Mail, Settled};
use crate::codec::{Codec, Payload};
use crate::error::JournalError;
use crate::mailbox::error_text;

/// What became of a message.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Processed(Value),
    Failed { attempts: u32, error: String },
}

/// What the activity gets.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    /// The letter.
    pub(super) mark: Mark,
    pub(super) outcome: Outcome,
}

/// Settles the letter with the outcome, unless that was done.
pub(super) async fn run(
    cluster: Cluster,
    ctx: ActivityContext,
    input: String,
) -> Result<String, String> {
    fail_point!("before-answer");
    let Answer { mark, outcome } =
        serde_json::from_str(&input).map_err(|error| error.to_string())?;
    let delivered = match outcome {
        Outcome::Processed(reply) => {
            let reply = Payload::encode(Codec::Json, &reply).map_err(|error| error.to_string())?;
            Delivered::Processed(reply)
        }
        Outcome::Failed { attempts, error } => Delivered::Failed { attempts, error: error.into() },
    };
    let address = instance_address(first(ctx.instance_id()));
    let text = |error: JournalError| {
        let instance = ctx.instance_id();
        tracing::warn!(instance, error = error_text(&error), "an answer cannot be given");
        error_text(&error)
    };
    let mail = cluster.mail(&address, mark.0.saturating_sub(1), 1).await.map_err(text)?;
    let waits =
        |mail: &Mail| opened(mail).is_some_and(|(_, entry)| entry.mark.as_ref() == Some(&mark));
    if let Some(mail) = mail.into_iter().find(waits) {
        let reply = mail.reply_to.map(|(client, number)| (client, number, mail.id, delivered));
        let settled = Settled { number: mail.number, reply };
        cluster.settle(&address, vec![settled]).await.map_err(text)?;
    }
    fail_point!("after-answer");
    Ok("answered".into())
}
