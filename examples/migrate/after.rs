//! An Actix application that keeps an account in a journal. The next run goes on where it ends.
//!
//! ```text
//! cargo run -p examples --bin migrate-after
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use actix::prelude::*;
use anyhow::Context as _;
use duroxide::providers::sqlite::SqliteProvider;
use duroxide_actix::journal::{DurableMessage, DurableState, EventJournal};
use duroxide_actix::{DurableActor, DurableContext, StartDurable};
use serde::{Deserialize, Serialize};

#[derive(Default, DurableState)]
#[durable(actor_type = "account")]
struct Account {
    cents: i64,
}

impl Actor for Account {
    type Context = DurableContext<Self>;
}

impl DurableActor for Account {
    type Messages = (Deposit, Withdraw);
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[durable(name = "account.deposit")]
#[rtype(result = "i64")]
struct Deposit {
    cents: i64,
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[durable(name = "account.withdraw")]
#[rtype(result = "Result<i64, Refusal>")]
struct Withdraw {
    cents: i64,
}

#[derive(Message)]
#[rtype(result = "i64")]
struct Balance;

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
enum Refusal {
    #[error("{missing} cents are missing")]
    Overdrawn { missing: i64 },
    #[error("{cents} cents cannot be withdrawn")]
    NotPositive { cents: i64 },
}

impl Handler<Deposit> for Account {
    type Result = i64;

    fn handle(&mut self, deposit: Deposit, _: &mut Self::Context) -> i64 {
        self.cents += deposit.cents;
        self.cents
    }
}

impl Handler<Withdraw> for Account {
    type Result = Result<i64, Refusal>;

    fn handle(&mut self, Withdraw { cents }: Withdraw, _: &mut Self::Context) -> Self::Result {
        if cents <= 0 {
            return Err(Refusal::NotPositive { cents });
        }
        if cents > self.cents {
            return Err(Refusal::Overdrawn { missing: cents - self.cents });
        }
        self.cents -= cents;
        Ok(self.cents)
    }
}

impl Handler<Balance> for Account {
    type Result = i64;

    fn handle(&mut self, _: Balance, _: &mut Self::Context) -> i64 {
        self.cents
    }
}

#[actix::main]
async fn main() -> anyhow::Result<()> {
    let store = std::env::args_os().nth(1).map(PathBuf::from);
    let store = store.unwrap_or_else(|| std::env::temp_dir().join("migrate.db"));
    let url = format!("sqlite:{}?mode=rwc", store.display());
    let provider = SqliteProvider::new(&url, None).await.with_context(|| url.clone())?;
    let journal = EventJournal::open(Arc::new(provider)).await?;
    let account = Account::default().start_durable(&journal, "alice").await?;

    account.send(Deposit { cents: 100 }).await?;
    account.send(Withdraw { cents: 30 }).await??;
    match account.send(Withdraw { cents: 5000 }).await? {
        Ok(cents) => println!("withdrawn, {cents} cents are left"),
        Err(refusal) => println!("not withdrawn: {refusal}"),
    }
    println!("balance: {} cents", account.send(Balance).await?);
    journal.close().await?;
    Ok(())
}
