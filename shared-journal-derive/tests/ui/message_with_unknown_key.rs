use serde::{Deserialize, Serialize};
use shared_journal::DurableMessage;

#[derive(Serialize, Deserialize, DurableMessage)]
#[durable(actor_type = "account")]
struct Deposit;

fn main() {}
