use shared_journal::DurableState;

#[derive(DurableState)]
#[durable(actor_type = "counter")]
struct Counter(i64);

fn main() {}
