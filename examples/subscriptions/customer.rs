//! An Actix actor a customer, in its own `Context`. What it does besides changing itself is in the
//! calls on `ctx`: a timer, a workflow, and the cancellation of a timer.

use actix::prelude::*;
use duroxide_actix::DurableEffects;
use duroxide_actix::journal::OutboxError;
use duroxide_actix::journal::workflow::WorkflowResult;
use duroxide_actix::journal::{Missed, TimerId};
use serde::{Deserialize, Serialize};

use crate::calendar::days;

/// So many months are sold.
pub(crate) const MONTHS: u32 = 3;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Status {
    #[default]
    New,
    Trial,
    Active,
    /// The last month was paid for.
    Done,
    /// The card was refused too often.
    Suspended,
}

/// A customer of a magazine.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Customer {
    pub(crate) status: Status,
    /// The card is refused so many times, each month.
    pub(crate) refusals: u32,
    pub(crate) months_paid: u32,
    /// Attempts to charge the card, those that succeeded and those that did not.
    pub(crate) attempts: u32,
    reminder: Option<TimerId>,
    pub(crate) reminded: u32,
}

impl Actor for Customer {
    type Context = Context<Self>;
}

/// Begins with some days for nothing.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Result<(), String>")]
pub(crate) struct Subscribe {
    pub(crate) refusals: u32,
}

impl Handler<Subscribe> for Customer {
    type Result = Result<(), String>;

    fn handle(
        &mut self,
        Subscribe { refusals }: Subscribe,
        ctx: &mut Self::Context,
    ) -> Self::Result {
        let said = |error: OutboxError| error.to_string();
        ctx.schedule(days(3), MonthBegins).map_err(said)?;
        let reminder = ctx.schedule_every(days(10), Missed::Once, Remind).map_err(said)?;
        *self =
            Self { status: Status::Trial, refusals, reminder: Some(reminder), ..Self::default() };
        Ok(())
    }
}

/// Time to pay.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct MonthBegins;

impl Handler<MonthBegins> for Customer {
    type Result = ();

    fn handle(&mut self, _: MonthBegins, ctx: &mut Self::Context) {
        let id = ctx.outbox().map(|outbox| outbox.actor().id().to_owned());
        let renewal = id.and_then(|id| {
            let instance = format!("renewal/{id}/{}", self.months_paid + 1);
            ctx.ask_workflow("renew", &instance, &id, Renewed)
        });
        renewal.expect("customers live in a cluster");
    }
}

/// How the renewal ended, be it after days.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct Renewed(pub(crate) WorkflowResult);

impl Handler<Renewed> for Customer {
    type Result = ();

    fn handle(&mut self, Renewed(renewal): Renewed, ctx: &mut Self::Context) {
        match renewal.result.map(|attempts| attempts.parse().unwrap_or(0)) {
            Ok(attempts) => {
                self.attempts += attempts;
                self.months_paid += 1;
                self.status = if self.months_paid < MONTHS { Status::Active } else { Status::Done };
            }
            Err(reason) => {
                tracing::info!(reason, instance = renewal.instance, "suspended");
                self.status = Status::Suspended;
            }
        }
        let next = match self.status {
            Status::Active => ctx.schedule(days(30), MonthBegins).map(drop),
            _ => self.reminder.take().map_or(Ok(()), |reminder| ctx.cancel(&reminder)),
        };
        next.expect("customers live in a cluster");
    }
}

/// There is a magazine.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct Remind;

impl Handler<Remind> for Customer {
    type Result = ();

    fn handle(&mut self, _: Remind, _: &mut Self::Context) {
        self.reminded += 1;
    }
}

/// How often the card will be refused: asked by the workflow.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u32")]
pub(crate) struct Card;

impl Handler<Card> for Customer {
    type Result = u32;

    fn handle(&mut self, _: Card, _: &mut Self::Context) -> u32 {
        self.refusals
    }
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Customer")]
pub(crate) struct Show;

impl Handler<Show> for Customer {
    type Result = MessageResult<Show>;

    fn handle(&mut self, _: Show, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.clone())
    }
}
