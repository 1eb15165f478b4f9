//! The name of a message.

use serde::{Deserialize, Serialize};
use shared_journal::DurableMessage;

#[derive(Serialize, Deserialize, DurableMessage)]
#[durable(name = "account.deposit")]
struct Deposit {
    #[serde(rename = "cents")]
    _cents: i64,
}

#[derive(Serialize, Deserialize, DurableMessage)]
#[durable(name = "account.add")]
struct Add(i64);

#[derive(Serialize, Deserialize, DurableMessage)]
#[durable(name = "account.close")]
struct Close;

#[derive(Serialize, Deserialize, DurableMessage)]
#[durable(name = "account.command")]
enum Command {
    Deposit { cents: i64 },
    Add(Add),
    Close,
}

#[test]
fn any_shape_of_type_has_the_name_given() {
    assert_eq!(Deposit::NAME, "account.deposit");
    assert_eq!(Add::NAME, "account.add");
    assert_eq!(Close::NAME, "account.close");
    assert_eq!(Command::NAME, "account.command");
}

#[test]
fn the_longest_name_has_200_bytes() {
    #[derive(Serialize, Deserialize, DurableMessage)]
    #[durable(
        name = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789éééééééééééééééééééééééééééééééééééééééééééééééééé"
    )]
    struct Long;

    assert_eq!(Long::NAME.len(), 200);
}

#[test]
fn the_journal_may_be_reached_through_another_crate() {
    mod platform {
        pub(crate) use shared_journal as journal;
    }

    #[derive(Serialize, Deserialize, DurableMessage)]
    #[durable(name = "account.audit")]
    #[durable(crate = "platform::journal")]
    struct Audit;

    assert_eq!(Audit::NAME, "account.audit");
}
