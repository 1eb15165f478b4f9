//! The kit for users: given, when, then, and crashes at every moment.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use duroxide_tower::journal::MessageId;
use duroxide_tower::journal::TimerId;
use duroxide_tower::journal::cluster::SendError;
use duroxide_tower::test_util::{Aspect, Moment, Scenario};
use duroxide_tower::{
    ActorContext, DurableActor, DurableMessage, DurableState, TowerHost, async_trait,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Default, DurableState)]
#[durable(actor_type = "stock")]
struct Stock {
    pieces: u64,
    reminder: Option<TimerId>,
    /// Not what an actor should answer with.
    #[durable(skip)]
    handled: u64,
    /// Charges at the outside world.
    #[durable(skip)]
    charges: Arc<AtomicU32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, DurableMessage)]
#[durable(name = "stock.order")]
enum Order {
    Add(u64),
    Take(u64),
    /// As many as the shelf with this id is to get.
    Move(String, u64),
    /// A charge, recorded or not.
    Charge {
        recorded: bool,
    },
    Remind,
    Forget,
    Count,
    Drop,
    Stop,
}

#[async_trait]
impl DurableActor for Stock {
    type Message = Order;
    type Reply = u64;
    type Error = String;

    async fn handle(&mut self, ctx: &mut ActorContext, order: Order) -> Result<u64, String> {
        self.handled += 1;
        match order {
            Order::Add(n) => self.pieces += n,
            Order::Take(n) => self.pieces = self.pieces.checked_sub(n).ok_or("too few")?,
            Order::Move(to, n) => {
                self.pieces -= n;
                ctx.actor::<Self>(to).tell(Order::Add(n)).map_err(|error| error.to_string())?;
            }
            Order::Charge { recorded } => {
                let charges = self.charges.clone();
                let charge = || async move { charges.fetch_add(1, Ordering::SeqCst) + 1 };
                self.pieces += u64::from(match recorded {
                    true => ctx.step("charge", charge).await.map_err(|error| error.to_string())?,
                    false => charge().await,
                });
            }
            Order::Remind => {
                let day = Duration::from_secs(86_400);
                self.reminder = ctx.schedule(day, Order::Count).ok();
            }
            Order::Forget => {
                if let Some(reminder) = self.reminder.take() {
                    ctx.cancel(&reminder).map_err(|error| error.to_string())?;
                }
            }
            Order::Count => return Ok(self.handled),
            Order::Drop => panic!("the shelf fell"),
            Order::Stop => ctx.stop(),
        }
        Ok(self.pieces)
    }
}

fn host() -> TowerHost<Stock> {
    let charges = Arc::<AtomicU32>::default();
    TowerHost::new(move |_| Stock { charges: charges.clone(), ..Stock::default() })
}

async fn stock() -> Scenario<Stock> {
    Scenario::new(host(), "bolts").await.unwrap()
}

#[tokio::test]
async fn replies_and_states_are_what_the_handlers_make_them() {
    let mut stock = stock().await;
    stock.given([Order::Add(10), Order::Take(3)]).await.unwrap();
    assert_eq!(stock.when(Order::Take(8)).await.unwrap(), Err("too few".to_owned()));
    assert_eq!(stock.when(Order::Take(7)).await.unwrap(), Ok(0));
    assert_eq!(stock.state().await.unwrap(), json!({"pieces": 0, "reminder": null}));
    // An opening, a commit for each message, and before.
    assert!(stock.survive_crashes().await.unwrap() >= 6);
}

#[tokio::test]
async fn a_state_of_an_earlier_version_is_where_it_begins() {
    let old = json!({"pieces": 4, "reminder": null, "colour": "red"});
    let mut stock = Scenario::with_state(host(), "bolts", &old).await.unwrap();
    assert_eq!(stock.when(Order::Take(1)).await.unwrap(), Ok(3));
    assert_eq!(stock.state().await.unwrap(), json!({"pieces": 3, "reminder": null}));
    stock.survive_crashes().await.unwrap();
    let alien = json!({"pieces": "four"});
    let error = Scenario::with_state(host(), "bolts", &alien).await.unwrap_err().to_string();
    assert!(error.contains("stock/bolts") && error.contains("does not decode"), "{error}");
}

#[tokio::test]
async fn the_same_id_is_handled_once_also_after_a_crash() {
    let mut stock = stock().await;
    let id = MessageId::from_key("delivery 7");
    for _ in 0..2 {
        assert_eq!(stock.when_with_id(id, Order::Add(5)).await.unwrap(), Ok(5));
        stock.crash().await.unwrap();
    }
    assert_eq!(stock.state().await.unwrap()["pieces"], 5);
    stock.survive_crashes().await.unwrap();
}

#[tokio::test]
async fn what_it_sends_is_shown_and_leaves_with_its_commit_only() {
    let mut stock = stock().await;
    stock.given([Order::Add(10), Order::Move("left".into(), 4), Order::Remind]).await.unwrap();
    // It panics, so it has sent nothing.
    let given_up = stock.when(Order::Move("right".into(), 7)).await;
    assert!(matches!(given_up, Err(SendError::DeadLetter { attempts: 3, .. })), "{given_up:?}");
    stock.given([Order::Forget]).await.unwrap();
    let sent = stock.sent().await.unwrap();
    assert_eq!(sent.len(), 3, "{sent:?}");
    assert_eq!(sent[0].to.to_string(), "stock/left");
    assert_eq!(sent[0].message::<Order>(), Some(Order::Add(4)));
    let (due, message) = sent[1].timer::<Order>().unwrap();
    assert_eq!(message, Order::Count);
    assert!(due > std::time::SystemTime::now());
    assert_eq!(sent[1].message::<Order>(), None, "it is for a timer");
    assert!(sent[1].timer_id().is_some());
    assert_eq!(sent[2].cancelled(), sent[1].timer_id());
    let letters = stock.dead_letters().await.unwrap();
    assert_eq!(letters.len(), 1);
    stock.survive_crashes().await.unwrap();
}

#[tokio::test]
async fn a_reply_that_depends_on_what_is_not_stored_is_found() {
    let mut stock = stock().await;
    stock.given([Order::Add(1), Order::Count, Order::Add(1)]).await.unwrap();
    let deviation = stock.survive_crashes().await.unwrap_err();
    assert_eq!(deviation.aspect, Aspect::Reply(2, "stock.order".into()), "{deviation}");
    assert_eq!((&deviation.expected, &deviation.found), (&json!({"Ok": 2}), &json!({"Ok": 1})));
    let Moment::Crash(writes) = deviation.moment else { panic!("{deviation}") };
    let text = format!(
        "stock/bolts, a crash behind write {writes}: the reply to message 2, stock.order, was \
         {{\"Ok\":2}} and is {{\"Ok\":1}}"
    );
    assert_eq!(deviation.to_string(), text);
}

#[tokio::test]
async fn a_side_effect_that_is_no_step_is_found_and_one_that_is_passes() {
    let mut recorded = stock().await;
    recorded.given([Order::Add(1), Order::Charge { recorded: true }]).await.unwrap();
    // With the step behind it, a crash does not charge again; before it, it does.
    let charged = recorded.survive_crashes().await.unwrap_err();
    assert_eq!(charged.aspect, Aspect::Reply(2, "stock.order".into()));
    let Moment::Crash(before_the_step) = charged.moment else { panic!("{charged}") };

    let mut repeated = stock().await;
    repeated.given([Order::Add(1), Order::Charge { recorded: false }]).await.unwrap();
    let charged = repeated.survive_crashes().await.unwrap_err();
    assert_eq!(charged.moment, Moment::Crash(before_the_step));
}

#[tokio::test]
async fn a_poison_message_is_given_up_at_every_moment() {
    let mut stock = stock().await;
    stock.given([Order::Add(2)]).await.unwrap();
    let given_up = stock.when(Order::Drop).await.unwrap_err();
    assert!(given_up.to_string().contains("the shelf fell"), "{given_up}");
    assert_eq!(stock.when(Order::Take(2)).await.unwrap(), Ok(0));
    stock.survive_crashes().await.unwrap();
}

#[tokio::test]
async fn what_a_panic_or_an_error_took_back_leaves_no_trace_in_what_is_sent_later() {
    let mut stock = stock().await;
    stock.given([Order::Add(1)]).await.unwrap();
    stock.when(Order::Move("right".into(), 7)).await.unwrap_err();
    stock.given([Order::Remind, Order::Add(1), Order::Remind]).await.unwrap();
    let sent = stock.sent().await.unwrap();
    assert_eq!(sent[0].timer_id().unwrap().to_string(), "stock/bolts#1");
    // The names of its timers are in the state.
    stock.survive_crashes().await.unwrap();
}

#[tokio::test]
async fn an_actor_that_stops_is_started_by_its_next_message() {
    let mut stock = stock().await;
    for pieces in 1..=10 {
        assert_eq!(stock.when(Order::Add(1)).await.unwrap(), Ok(pieces));
        assert_eq!(stock.when(Order::Stop).await.unwrap(), Ok(pieces));
    }
    stock.survive_crashes().await.unwrap();
}

#[tokio::test]
async fn a_message_that_nobody_waits_for_any_more_is_handled() {
    let mut stock = stock().await;
    {
        let mut when = std::pin::pin!(stock.when(Order::Add(1)));
        assert!(futures::poll!(when.as_mut()).is_pending());
    }
    assert_eq!(stock.when(Order::Add(1)).await.unwrap(), Ok(2));
}
