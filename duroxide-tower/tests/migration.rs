//! A tokio actor loop with its own channel and its own oneshots becomes durable.

mod support;

use duroxide_tower::{CallError, DurableActorService, IntoRequest, MessageId, Request};
use support::{Gate, Ledger, Op, Refused, Store, soon};
use tokio::sync::{mpsc, oneshot};

/// As the loop had it before.
enum Command {
    Add { amount: i64, reply: oneshot::Sender<Result<usize, String>> },
    Log(i64),
    Pay { order: String, amount: i64, reply: oneshot::Sender<Vec<i64>> },
}

impl IntoRequest<Ledger> for Command {
    fn into_request(self) -> Request<Ledger> {
        match self {
            Self::Add { amount, reply } => {
                let op = if amount < 0 { Op::Refuse(amount) } else { Op::Add(amount) };
                Request::<Ledger>::ask(op, |answer| {
                    let _ = reply.send(match answer {
                        Ok(entries) => Ok(entries.len()),
                        Err(CallError::Domain(Refused(n))) => Err(format!("not {n}")),
                        Err(other) => Err(other.to_string()),
                    });
                })
            }
            Self::Log(amount) => Request::tell(Op::Add(amount)),
            Self::Pay { order, amount, reply } => {
                Request::<Ledger>::ask(Op::Add(amount), |answer| {
                    if let Ok(entries) = answer {
                        let _ = reply.send(entries);
                    }
                })
                .id(MessageId::from_key(&order))
            }
        }
    }
}

fn ledger() -> Ledger {
    Ledger { entries: Vec::new(), gate: Gate::open() }
}

#[tokio::test]
async fn the_senders_of_a_loop_do_not_change() {
    let store = Store::new();
    for restart in 0..2 {
        let journal = store.open().await;
        let (sender, receiver) = mpsc::channel(8);
        let service =
            DurableActorService::from_receiver(&journal, "1", ledger(), receiver).await.unwrap();
        let run = tokio::spawn(service.run());

        let (reply, paid) = oneshot::channel();
        let pay = Command::Pay { order: "o-1".to_owned(), amount: 10, reply };
        sender.send(pay).await.unwrap();
        let paid = soon("a reply", paid).await.unwrap();
        assert_eq!(paid, [10], "paid once, the first reply again");

        sender.send(Command::Log(1)).await.unwrap();
        let (reply, refused) = oneshot::channel();
        let add = Command::Add { amount: -1, reply };
        sender.send(add).await.unwrap();
        assert_eq!(soon("a reply", refused).await.unwrap().unwrap_err(), "not -1");

        let (reply, count) = oneshot::channel();
        sender.send(Command::Add { amount: 5, reply }).await.unwrap();
        assert_eq!(soon("a reply", count).await.unwrap().unwrap(), 4 + 3 * restart);
        drop(sender);
        soon("the end", run).await.unwrap().unwrap();
    }
}
