use shared_journal::DurableState;

#[derive(DurableState)]
#[durable(actor_type = "account")]
struct Account {
    #[serde(rename(serialize = "cents"))]
    balance: i64,
}

fn main() {}
