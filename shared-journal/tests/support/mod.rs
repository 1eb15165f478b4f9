//! An actor whose dead letters are sent again.

use std::path::Path;

use serde::Serialize;
use shared_journal::mailbox::{MESSAGE, Resolution, Work};
use shared_journal::sqlite::SqliteActorProvider;
use shared_journal::{ActorId, Durability, DurableState, EventJournal, Limits, Mailbox};

pub(crate) struct Nobody;

impl Work for Nobody {
    fn resolve(self, _: Resolution) {}
}

/// The numbers that were handled.
#[derive(Default)]
pub(crate) struct Seen(pub(crate) Vec<u64>);

impl DurableState for Seen {
    const ACTOR_TYPE: &'static str = "seen";
    type State = Vec<u64>;

    fn snapshot(&self) -> impl Serialize {
        &self.0
    }

    fn restore(&mut self, seen: Vec<u64>) {
        self.0 = seen;
    }
}

pub(crate) fn actor() -> ActorId {
    ActorId::new("seen", "1")
}

pub(crate) async fn open(path: &Path) -> EventJournal {
    let store = SqliteActorProvider::open(path, Durability::ProcessCrash).unwrap();
    let limits = Limits { attempts: 1, ..Limits::default() };
    EventJournal::builder().limits(limits).open_on(store).await.unwrap()
}

/// A journal whose actor has given up the numbers from 1 to `count`, in rows of their own.
pub(crate) async fn given_up(path: &Path, count: u64) -> EventJournal {
    let journal = open(path).await;
    let mut mailbox = activate(&journal).await;
    accept(&mut mailbox, "number", 1..=count);
    let mut seen = Seen::default();
    live(&mut mailbox, &mut seen, |_| false).await;
    drop(mailbox);
    journal.checkpoint().await.unwrap();
    journal
}

pub(crate) async fn activate(journal: &EventJournal) -> Mailbox<Nobody> {
    journal.activate(&actor()).await.unwrap()
}

pub(crate) fn accept(
    mailbox: &mut Mailbox<Nobody>,
    kind: &'static str,
    numbers: impl IntoIterator<Item = u64>,
) {
    for number in numbers {
        let payload = mailbox.encode(MESSAGE, &number).unwrap();
        mailbox.accept(None, kind, payload, None, Nobody, None).unwrap();
    }
}

/// Handles what waits. A number of which `succeeds` says no is given up.
pub(crate) async fn live(
    mailbox: &mut Mailbox<Nobody>,
    seen: &mut Seen,
    mut succeeds: impl FnMut(u64) -> bool,
) {
    loop {
        while let Some(delivery) = mailbox.next().unwrap() {
            let number = delivery.payload().decode().unwrap();
            seen.0.push(number);
            if succeeds(number) {
                let reply = mailbox.encode("the reply", &number).unwrap();
                mailbox.processed(delivery, reply);
            } else {
                mailbox.failed(delivery, "boom", seen).unwrap();
            }
        }
        let _ = mailbox.end_run(seen).unwrap();
        if mailbox.is_empty() {
            return;
        }
        mailbox.ready().await;
    }
}

pub(crate) async fn contents(journal: &EventJournal) -> Vec<u64> {
    let letters = journal.dead_letters(&actor()).await.unwrap();
    letters.iter().map(|letter| letter.payload.decode().unwrap()).collect()
}
