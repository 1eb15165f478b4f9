use shared_journal::DurableState;

#[derive(DurableState)]
#[durable(actor_type = "account")]
struct Account<'a> {
    balance: i64,
    #[durable(skip)]
    name: &'a str,
}

fn main() {}
