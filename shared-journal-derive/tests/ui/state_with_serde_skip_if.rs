use shared_journal::DurableState;

#[derive(DurableState)]
#[durable(actor_type = "account")]
struct Account {
    #[serde(rename = "notes", skip_serializing_if = "Vec::is_empty")]
    note: Vec<String>,
}

fn main() {}
