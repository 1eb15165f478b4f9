use serde::{Deserialize, Serialize};
use shared_journal::DurableMessage;

#[derive(Serialize, Deserialize, DurableMessage)]
#[durable(name = "")]
struct Deposit;

fn main() {}
