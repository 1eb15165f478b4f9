//! The way back to an orchestration: the outcome of a message that it posted, as an event.

use std::fmt;
use std::str::FromStr;

use duroxide::{Client, Event, EventKind};

use super::ASK;
use super::message::{Answer, Message, event};
use crate::cluster::Delivered;
use crate::mailbox::error_text;

/// Who waits for the outcome of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asker {
    pub(super) execution: u64,
    /// Of the message.
    pub(super) id: String,
    pub(super) instance: String,
}

/// As a letter has it; [`INSTANCES`](super::INSTANCES) before it says whose host it is.
impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { execution, id, instance } = self;
        write!(f, "{}/{execution}/{id}/{instance}", super::INSTANCES)
    }
}

impl FromStr for Asker {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let rest = text.strip_prefix(super::INSTANCES).and_then(|it| it.strip_prefix('/'));
        let mut parts = rest.ok_or(())?.splitn(3, '/');
        let mut next = || parts.next().ok_or(());
        let execution = next()?.parse().map_err(drop)?;
        Ok(Self { execution, id: next()?.to_owned(), instance: next()?.to_owned() })
    }
}

/// Whether an orchestration waits for an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    NotYet,
    Now,
    /// Nor will it.
    NoMore,
}

/// Raises the outcome, if it is waited for. False: not yet.
pub(super) async fn reply(client: &Client, to: &str, outcome: &Delivered) -> bool {
    let (Ok(asker), Some(answer)) = (to.parse::<Asker>(), Answer::of_delivered(outcome)) else {
        tracing::error!(to, "a reply leads nowhere");
        return true;
    };
    let answer = match serde_json::to_string(&answer) {
        Ok(answer) => answer,
        Err(error) => {
            tracing::error!(to, error = error_text(&error), "a reply does not encode");
            return true;
        }
    };
    match raise(client, &asker, answer).await {
        Ok(done) => done,
        Err(error) => {
            tracing::warn!(to, error = error_text(&error), "a reply is raised again");
            false
        }
    }
}

async fn raise(
    client: &Client,
    asker: &Asker,
    answer: String,
) -> Result<bool, duroxide::ClientError> {
    let Asker { execution, id, instance } = asker;
    let waits = if client.has_management_capability() {
        let history = client.read_execution_history(instance, *execution).await?;
        waits(&history, id)
    } else {
        Waits::Now
    };
    match waits {
        Waits::NotYet => return Ok(false),
        Waits::NoMore => return Ok(true),
        Waits::Now => {}
    }
    client.raise_event(instance.as_str(), event(id), answer).await?;
    Ok(true)
}

/// What an execution's history says of the wait for an outcome.
fn waits(history: &[Event], id: &str) -> Waits {
    // That of an instance that was deleted and made anew has no such message.
    let (Some(first), Some(last)) = (history.first(), history.last()) else { return Waits::NoMore };
    let posted = history.iter().find(|event| match &event.kind {
        EventKind::ActivityScheduled { name, input, .. } if name == ASK => {
            let message = serde_json::from_str::<Message>(input);
            message.is_ok_and(|it| it.id_in(first.timestamp_ms).to_string() == id)
        }
        _ => false,
    });
    let Some(posted) = posted.filter(|_| !last.is_terminal()) else { return Waits::NoMore };
    let name = event(id);
    let mut waits = Waits::NotYet;
    let mut wait = None;
    for event in history {
        let source = event.source_event_id;
        match &event.kind {
            EventKind::ActivityCancelRequested { .. } | EventKind::ActivityFailed { .. }
                if source == Some(posted.event_id) =>
            {
                return Waits::NoMore;
            }
            EventKind::ExternalSubscribed { name: it } if *it == name => {
                (waits, wait) = (Waits::Now, Some(event.event_id));
            }
            EventKind::ExternalSubscribedCancelled { .. } if wait.is_some() && source == wait => {
                return Waits::NoMore;
            }
            EventKind::ExternalEvent { name: it, .. } if *it == name => return Waits::NoMore,
            _ => {}
        }
    }
    waits
}
