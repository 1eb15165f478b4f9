//! Actors with parameters.

mod support;

use shared_journal::DurableState;
use support::recover;

trait Store {
    fn name(&self) -> &str;
}

/// Not `Serialize`.
#[derive(Debug, PartialEq)]
struct Memory;

impl Store for Memory {
    fn name(&self) -> &str {
        "memory"
    }
}

#[derive(Debug, PartialEq, DurableState)]
#[durable(actor_type = "account")]
struct Account<S = Memory>
where
    S: Store,
{
    balance: i64,
    #[durable(skip)]
    store: S,
}

#[derive(Debug, PartialEq, DurableState)]
#[durable(actor_type = "window")]
struct Window<T: Clone, U: ?Sized, const N: usize> {
    last: Vec<T>,
    #[serde(default)]
    first: Option<(T, u8)>,
    #[durable(skip)]
    sizes: [usize; N],
    #[durable(skip)]
    log: Box<U>,
}

#[test]
fn a_parameter_of_skipped_fields_needs_nothing() {
    let account = |balance| Account { balance, store: Memory };
    for recovered in recover(&account(5), || account(0)) {
        assert_eq!(recovered, account(5));
        assert_eq!(recovered.store.name(), "memory");
    }
}

#[test]
fn parameters_of_stored_fields_recover() {
    let window = |last: &[&str], sizes| Window::<String, str, 2> {
        last: last.iter().map(ToString::to_string).collect(),
        first: last.first().map(|text| (text.to_string(), 1)),
        sizes,
        log: "log".into(),
    };
    let fresh = || window(&[], [3, 4]);
    for recovered in recover(&window(&["a", "b"], [1, 2]), fresh) {
        assert_eq!(recovered, window(&["a", "b"], [3, 4]));
    }
}

#[test]
fn the_state_is_send_whatever_the_actor_holds() {
    fn assert_send<T: Send>() {}

    #[derive(DurableState)]
    #[durable(actor_type = "local")]
    #[expect(dead_code, reason = "only its type is looked at")]
    struct Local<P> {
        sum: i64,
        #[durable(skip)]
        pool: std::rc::Rc<P>,
    }

    assert_send::<<Local<std::rc::Rc<u8>> as DurableState>::State>();
}
