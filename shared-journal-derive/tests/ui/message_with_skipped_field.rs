use serde::{Deserialize, Serialize};
use shared_journal::DurableMessage;

#[derive(Serialize, Deserialize, DurableMessage)]
#[durable(name = "account.command")]
enum Command {
    Deposit {
        #[durable(skip)]
        cents: i64,
    },
}

fn main() {}
