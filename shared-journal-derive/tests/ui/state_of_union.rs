use shared_journal::DurableState;

#[derive(DurableState)]
#[durable(actor_type = "bits")]
union Bits {
    int: u32,
    float: f32,
}

fn main() {}
