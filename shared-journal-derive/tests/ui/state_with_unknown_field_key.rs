use shared_journal::DurableState;

#[derive(DurableState)]
#[durable(actor_type = "account")]
struct Account {
    balance: i64,
    #[durable(ignore)]
    pool: u8,
}

fn main() {}
