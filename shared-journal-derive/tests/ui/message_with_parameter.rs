use serde::{Deserialize, Serialize};
use shared_journal::DurableMessage;

#[derive(Serialize, Deserialize, DurableMessage)]
#[durable(name = "account.set")]
struct Set<T> {
    value: T,
}

fn main() {}
