//! The kit for users, with both kinds of contexts.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::time::Duration;

use actix::prelude::*;
use duroxide_actix::journal::cluster::SendError;
use duroxide_actix::journal::workflow::WorkflowResult;
use duroxide_actix::journal::{ActorProvider, DurableMessage, DurableState, EventJournal};
use duroxide_actix::test_util::MemoryActorProvider;
use duroxide_actix::test_util::{Aspect, Scenario, rehearse};
use duroxide_actix::{
    ActixHost, DurableActor, DurableContext, DurableEffects, StartDurable, WrappedHost,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Message, Debug, Clone, PartialEq, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "Result<i64, String>")]
#[durable(name = "account.withdraw")]
struct Withdraw(i64);

#[derive(Message, Debug, Clone, PartialEq, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "i64")]
#[durable(name = "account.deposit")]
struct Deposit(i64);

#[derive(Message, Debug, PartialEq, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "account.approved")]
struct Approved(WorkflowResult);

/// Everything at once.
#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "account.send")]
struct Send;

/// Nothing else is handled meanwhile.
#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "i64")]
#[durable(name = "account.audit")]
struct Audit;

/// Deposits once now and once through a message to itself.
#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "i64")]
#[durable(name = "account.deposit-twice")]
struct DepositTwice(i64);

/// How often it was asked: not stored.
#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "u32")]
#[durable(name = "account.count")]
struct Count;

macro_rules! account {
    ($name:ident, $context:ident) => {
        #[derive(Default, DurableState)]
        #[durable(actor_type = "account")]
        struct $name {
            balance: i64,
            #[durable(skip)]
            counted: u32,
        }

        impl Actor for $name {
            type Context = $context<Self>;
        }

        impl DurableActor for $name {
            type Messages = (Withdraw, Deposit, Approved, Audit, Send, Count, DepositTwice);
        }

        impl Handler<Deposit> for $name {
            type Result = i64;
            fn handle(&mut self, Deposit(cents): Deposit, _: &mut Self::Context) -> i64 {
                self.balance += cents;
                self.balance
            }
        }

        impl Handler<Withdraw> for $name {
            type Result = ResponseActFuture<Self, Result<i64, String>>;
            fn handle(&mut self, Withdraw(cents): Withdraw, _: &mut Self::Context) -> Self::Result {
                // It takes its time.
                let pause = tokio::task::yield_now();
                Box::pin(pause.into_actor(self).map(move |(), it, _| {
                    it.balance =
                        Some(it.balance - cents).filter(|it| *it >= 0).ok_or("too little")?;
                    Ok(it.balance)
                }))
            }
        }

        impl Handler<Audit> for $name {
            type Result = AtomicResponse<Self, i64>;
            fn handle(&mut self, _: Audit, _: &mut Self::Context) -> Self::Result {
                let pause = tokio::task::yield_now();
                AtomicResponse::new(Box::pin(pause.into_actor(self).map(|(), it, _| it.balance)))
            }
        }

        impl Handler<Approved> for $name {
            type Result = ();
            fn handle(&mut self, _: Approved, _: &mut Self::Context) {}
        }

        impl Handler<Send> for $name {
            type Result = ();
            fn handle(&mut self, _: Send, ctx: &mut Self::Context) {
                ctx.actor::<Self>("43").tell(Deposit(1)).unwrap();
                ctx.schedule(Duration::from_secs(60), Deposit(2)).unwrap();
                ctx.start_workflow("audit", "audit/42", "now").unwrap();
                ctx.ask_workflow("approve", "approve/42", "5 EUR", Approved).unwrap();
                ctx.raise_event("audit/42", "seen", "it").unwrap();
            }
        }

        impl Handler<Count> for $name {
            type Result = u32;
            fn handle(&mut self, _: Count, _: &mut Self::Context) -> u32 {
                self.counted += 1;
                assert!(self.counted < 3, "it cannot count further");
                self.counted
            }
        }
    };
}

account!(Own, DurableContext);
account!(Wrapped, Context);

impl Handler<DepositTwice> for Own {
    type Result = i64;
    fn handle(&mut self, DepositTwice(cents): DepositTwice, ctx: &mut Self::Context) -> i64 {
        self.balance += cents;
        ctx.notify(Deposit(cents));
        self.balance
    }
}

impl Handler<DepositTwice> for Wrapped {
    type Result = i64;
    fn handle(&mut self, DepositTwice(cents): DepositTwice, _: &mut Self::Context) -> i64 {
        self.balance += cents;
        self.balance
    }
}

async fn replies_states_and_what_is_sent<A>(mut account: Scenario<A>)
where
    A: DurableActor + Handler<Deposit> + Handler<Withdraw> + Handler<Send> + Handler<Audit>,
{
    // Before the others: it changes the order of the futures in its context.
    assert_eq!(account.when(Audit).await.unwrap(), 0);
    account.given([Deposit(50), Deposit(1)]).await.unwrap();
    assert_eq!(account.when(Withdraw(52)).await.unwrap(), Err("too little".to_owned()));
    assert_eq!(account.when_with_id(7, Withdraw(20)).await.unwrap(), Ok(31));
    account.crash().await.unwrap();
    assert_eq!(account.when_with_id(7, Withdraw(20)).await.unwrap(), Ok(31));
    account.when(Send).await.unwrap();
    assert_eq!(account.state().await.unwrap(), json!({"balance": 31}));
    let sent = account.sent().await.unwrap();
    assert_eq!(sent.len(), 5);
    assert_eq!(sent[0].message::<Deposit>(), Some(Deposit(1)));
    assert_eq!(sent[0].to.id(), "43");
    assert_eq!(sent[1].timer::<Deposit>().unwrap().1, Deposit(2));
    let owned = |name: &str, instance: &str, input: &str| {
        Some((name.to_owned(), instance.to_owned(), input.to_owned()))
    };
    assert_eq!(sent[2].workflow(), owned("audit", "audit/42", "now"));
    assert_eq!(sent[3].workflow(), owned("approve", "approve/42", "5 EUR"));
    assert_eq!(sent[4].event(), owned("audit/42", "seen", "it"));
    assert!(account.survive_crashes().await.unwrap() > 6);
}

/// Names a test that hangs.
async fn soon(test: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(20), test).await.expect("the test hangs");
}

#[actix::test]
async fn an_actor_with_a_durable_context_is_given_messages() {
    let host = ActixHost::new(|_| Own::default());
    soon(replies_states_and_what_is_sent(Scenario::new(host, "42").await.unwrap())).await;
}

#[actix::test]
async fn an_unmodified_actor_is_given_messages() {
    let host = WrappedHost::new(|_| Wrapped::default());
    soon(replies_states_and_what_is_sent(Scenario::new(host, "42").await.unwrap())).await;
}

#[actix::test]
async fn what_is_not_stored_is_found_missing_after_a_crash() {
    let old = json!({"balance": 5});
    let host = ActixHost::new(|_| Own::default());
    let mut account = Scenario::with_state(host, "42", &old).await.unwrap();
    assert_eq!(account.when(Deposit(1)).await.unwrap(), 6);
    account.given([Count, Count]).await.unwrap();
    let deviation = account.survive_crashes().await.unwrap_err();
    assert_eq!(deviation.aspect, Aspect::Reply(3, "account.count".into()), "{deviation}");
    let given_up = account.when(Count).await.unwrap_err();
    assert!(matches!(given_up, SendError::DeadLetter { attempts: 3, .. }), "{given_up}");
}

#[actix::test]
async fn a_recorded_journal_is_rehearsed_with_the_other_context() {
    let store = MemoryActorProvider::new();
    let journal = EventJournal::builder().open_on(store.clone()).await.unwrap();
    let account = Own::default().start_durable(&journal, "42").await.unwrap();
    for cents in 1..=20 {
        account.send(Deposit(cents)).await.unwrap();
    }
    account.send(Withdraw(10)).await.unwrap().unwrap();
    let recorded: std::sync::Arc<dyn ActorProvider> = store;
    let rehearsal =
        rehearse(recorded.clone(), WrappedHost::new(|_| Wrapped::default())).await.unwrap();
    assert!(rehearsal.is_clean(), "{rehearsal}");
    assert_eq!((rehearsal.actors, rehearsal.messages), (1, 21));
    // The journal was read only: its owner goes on.
    assert_eq!(account.send(Deposit(0)).await.unwrap(), 200);
}

#[actix::test]
async fn what_an_actor_sends_to_itself_is_waited_for_and_rehearsed_once() {
    let store = MemoryActorProvider::new();
    let journal = EventJournal::builder().open_on(store.clone()).await.unwrap();
    let recorded = Own::default().start_durable(&journal, "42").await.unwrap();
    let mut account = Scenario::new(ActixHost::new(|_| Own::default()), "42").await.unwrap();
    for cents in 1..=20 {
        account.when(DepositTwice(cents)).await.unwrap();
        recorded.send(DepositTwice(cents)).await.unwrap();
    }
    assert_eq!(account.state().await.unwrap(), json!({"balance": 420}));
    account.survive_crashes().await.unwrap();
    while recorded.send(Deposit(0)).await.unwrap() < 420 {}
    let store: std::sync::Arc<dyn ActorProvider> = store;
    let host = ActixHost::new(|_| Own::default());
    let rehearsal = rehearse(store, host).await.unwrap();
    assert!(rehearsal.is_clean(), "{rehearsal}");
    assert!(rehearsal.messages >= 41, "{rehearsal}");
}
