use shared_journal::DurableState;

#[derive(DurableState)]
struct BankAccount {
    balance: i64,
}

fn main() {}
