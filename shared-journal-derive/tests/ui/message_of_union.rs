use shared_journal::DurableMessage;

#[derive(DurableMessage)]
#[durable(name = "bits")]
union Bits {
    int: u32,
    float: f32,
}

fn main() {}
