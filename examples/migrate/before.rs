//! An Actix application that keeps an account in memory. What it knows is gone when it ends.
//!
//! ```text
//! cargo run -p examples --bin migrate-before
//! ```

use actix::prelude::*;

#[derive(Default)]
struct Account {
    cents: i64,
}

impl Actor for Account {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "i64")]
struct Deposit {
    cents: i64,
}

#[derive(Message)]
#[rtype(result = "Result<i64, Refusal>")]
struct Withdraw {
    cents: i64,
}

#[derive(Message)]
#[rtype(result = "i64")]
struct Balance;

#[derive(Debug, thiserror::Error)]
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
    let account = Account::default().start();

    account.send(Deposit { cents: 100 }).await?;
    account.send(Withdraw { cents: 30 }).await??;
    match account.send(Withdraw { cents: 5000 }).await? {
        Ok(cents) => println!("withdrawn, {cents} cents are left"),
        Err(refusal) => println!("not withdrawn: {refusal}"),
    }
    println!("balance: {} cents", account.send(Balance).await?);
    Ok(())
}
