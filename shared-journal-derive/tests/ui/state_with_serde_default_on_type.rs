use shared_journal::DurableState;

#[derive(Default, DurableState)]
#[durable(actor_type = "account")]
#[serde(rename_all = "camelCase", default)]
struct Account {
    balance: i64,
}

fn main() {}
