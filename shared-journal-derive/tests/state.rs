//! What is stored of a struct, and what a restore replaces.

mod support;

use shared_journal::{DurableState, MAX_ACTOR_TYPE_BYTES};
use support::recover;

#[derive(Debug, Default, PartialEq, DurableState)]
#[durable(actor_type = "account")]
struct Account {
    balance: i64,
    r#type: String,
    history: Vec<(u32, Option<i64>)>,
    #[durable(skip)]
    pool: Pool,
}

/// Neither `Serialize` nor `Clone`.
#[derive(Debug, Default, PartialEq)]
struct Pool(u8);

#[derive(Debug, PartialEq, DurableState)]
#[durable(actor_type = "ping")]
struct Ping;

#[derive(Debug, PartialEq, DurableState)]
#[durable(actor_type = "cache")]
struct Cache {
    #[durable(skip)]
    hits: u32,
}

fn account() -> Account {
    Account {
        balance: -5,
        r#type: "savings".into(),
        history: vec![(1, None), (2, Some(-5))],
        pool: Pool(1),
    }
}

fn json<A: DurableState>(actor: &A) -> String {
    serde_json::to_string(&actor.snapshot()).expect("the state encodes")
}

#[test]
fn the_actor_type_is_the_one_given() {
    assert_eq!(Account::ACTOR_TYPE, "account");
}

#[test]
fn a_restore_replaces_stored_fields_and_keeps_skipped_ones() {
    let fresh = || Account { balance: 99, pool: Pool(7), ..Account::default() };
    for recovered in recover(&account(), fresh) {
        let expected = Account { pool: Pool(7), ..account() };
        assert_eq!(recovered, expected);
    }
}

#[test]
fn the_stored_state_is_the_fields_by_name() {
    assert_eq!(json(&account()), r#"{"balance":-5,"type":"savings","history":[[1,null],[2,-5]]}"#);
}

#[test]
fn an_error_names_the_actor_and_the_field() {
    let Err(error) = serde_json::from_str::<<Account as DurableState>::State>("7") else {
        panic!("7 is not an account");
    };
    assert!(error.to_string().contains("the state of `Account`"), "{error}");

    let Err(error) = serde_json::from_str::<<Account as DurableState>::State>("{}") else {
        panic!("an account has a balance");
    };
    assert!(error.to_string().contains("`balance`"), "{error}");
}

#[test]
fn an_actor_without_stored_fields_recovers() {
    assert_eq!(recover(&Ping, || Ping), [Ping, Ping]);
    for recovered in recover(&Cache { hits: 3 }, || Cache { hits: 4 }) {
        assert_eq!(recovered, Cache { hits: 4 });
    }
}

#[test]
fn a_unit_struct_may_gain_a_field() {
    #[derive(Debug, DurableState)]
    #[durable(actor_type = "ping")]
    struct Grown {
        #[serde(default)]
        count: u32,
    }

    let mut grown = Grown { count: 9 };
    grown.restore(serde_json::from_str(&json(&Ping)).expect("the default stands in"));
    assert_eq!(grown.count, 0);
}

#[test]
fn the_journal_may_be_reached_through_another_crate() {
    mod platform {
        pub(crate) use shared_journal as journal;
    }

    #[derive(Debug, PartialEq, DurableState)]
    #[durable(actor_type = "counter", crate = "platform::journal")]
    struct Counter {
        sum: i64,
    }

    for recovered in recover(&Counter { sum: 3 }, || Counter { sum: 0 }) {
        assert_eq!(recovered, Counter { sum: 3 });
    }
}

#[test]
fn the_longest_actor_type_is_the_journals() {
    assert_eq!(MAX_ACTOR_TYPE_BYTES, 255, "as in src/state.rs");
}
