use shared_journal::DurableState;

#[derive(DurableState)]
#[durable(actor_type = "")]
struct Account {
    balance: i64,
}

fn main() {}
