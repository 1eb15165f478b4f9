//! The workflow that renews a subscription for a month, though the card is refused at first.

use duroxide::{ActivityContext, OrchestrationContext};
use duroxide_actix::WorkflowActors;

use crate::calendar::days;
use crate::customer::{Card, Customer};

/// After so many the customer is suspended.
const MOST_ATTEMPTS: u32 = 5;

/// Charges the card, and waits a day, two, four and eight days in between if it is refused. Returns
/// how many attempts it took.
pub(crate) async fn renew(ctx: OrchestrationContext, id: String) -> Result<String, String> {
    let customer = ctx.actor::<Customer>(&id);
    for attempt in 1..=MOST_ATTEMPTS {
        let refusals = customer.ask(Card).await.map_err(|error| error.to_string())?;
        let charge = format!("{} {attempt} {refusals}", ctx.instance_id());
        match ctx.schedule_activity("charge", charge).await {
            Ok(_) => return Ok(attempt.to_string()),
            Err(_) => ctx.schedule_timer(days(1 << (attempt - 1))).await,
        }
    }
    Err(format!("the card was refused {MOST_ATTEMPTS} times"))
}

/// A bank would get the instance and the attempt as its idempotency key: an activity can run twice.
pub(crate) async fn charge(_: ActivityContext, charge: String) -> Result<String, String> {
    let mut words = charge.split(' ').skip(1).map(|word| word.parse::<u32>().unwrap_or(0));
    match (words.next(), words.next()) {
        (Some(attempt), Some(refusals)) if attempt > refusals => Ok("charged".into()),
        _ => Err("refused".into()),
    }
}
