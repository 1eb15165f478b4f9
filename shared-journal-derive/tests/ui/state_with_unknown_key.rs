use shared_journal::DurableState;

#[derive(DurableState)]
#[durable(name = "account")]
struct Account {
    balance: i64,
}

fn main() {}
