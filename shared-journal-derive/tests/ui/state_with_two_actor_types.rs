use shared_journal::DurableState;

#[derive(DurableState)]
#[durable(actor_type = "account")]
#[durable(actor_type = "konto")]
struct Account {
    balance: i64,
}

fn main() {}
