use shared_journal::DurableState;

#[derive(DurableState)]
#[durable(actor_type = "door")]
enum Door {
    Open,
    Closed,
}

fn main() {}
