//! serde's attributes on an actor mean for its stored state what they mean elsewhere.

mod support;

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize, Serializer};
use shared_journal::DurableState;
use support::recover;

#[derive(Debug, Clone, Default, PartialEq, DurableState)]
#[durable(actor_type = "order")]
#[serde(rename_all = "camelCase")]
struct Order {
    line_count: u32,
    #[serde(rename = "customer", alias = "client")]
    owner: String,
    #[serde(default = "three")]
    attempts: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    note: String,
    #[serde(with = "as_text")]
    cents: i64,
    #[serde(serialize_with = "sorted")]
    stock: HashMap<String, u32>,
    #[serde(flatten)]
    address: Address,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Address {
    city: String,
}

fn three() -> u32 {
    3
}

// These three are generic, so none would accept a reference to a reference.

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn sorted<K, V, S>(map: &HashMap<K, V>, serializer: S) -> Result<S::Ok, S::Error>
where
    K: Ord + Serialize,
    V: Serialize,
    S: Serializer,
{
    map.iter().collect::<BTreeMap<_, _>>().serialize(serializer)
}

mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    pub(crate) fn serialize<T, S>(value: &T, serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Copy + Display,
        S: Serializer,
    {
        let value: T = *value;
        value.to_string().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

fn order() -> Order {
    Order {
        line_count: 2,
        owner: "ann".into(),
        attempts: 1,
        note: String::new(),
        cents: 995,
        stock: HashMap::from([("b".into(), 2), ("a".into(), 1)]),
        address: Address { city: "Ulm".into() },
    }
}

fn restored(state: &str) -> Order {
    let mut order = Order::default();
    order.restore(serde_json::from_str(state).expect("the state decodes"));
    order
}

#[test]
fn a_state_with_every_attribute_recovers() {
    let noted = Order { note: "ring twice".into(), ..order() };
    assert_eq!(recover(&order(), || noted.clone()), [order(), order()]);
    assert_eq!(recover(&noted, order), [noted.clone(), noted]);
}

#[test]
fn attributes_shape_the_stored_state() {
    assert_eq!(
        serde_json::to_string(&order().snapshot()).expect("the state encodes"),
        concat!(
            r#"{"lineCount":2,"customer":"ann","attempts":1,"cents":"995","#,
            r#""stock":{"a":1,"b":2},"city":"Ulm"}"#
        )
    );
}

#[test]
fn an_older_state_has_the_defaults_and_the_older_names() {
    let older =
        r#"{"lineCount":2,"client":"ann","cents":"995","stock":{"a":1,"b":2},"city":"Ulm"}"#;
    let expected = Order { attempts: 3, ..order() };
    assert_eq!(restored(older), expected);
}

#[test]
fn unknown_fields_can_be_refused() {
    #[derive(DurableState)]
    #[durable(actor_type = "strict")]
    #[serde(deny_unknown_fields)]
    struct Strict {
        sum: i64,
    }

    type State = <Strict as DurableState>::State;
    assert!(serde_json::from_str::<State>(r#"{"sum":1}"#).is_ok());
    assert!(serde_json::from_str::<State>(r#"{"sum":1,"total":1}"#).is_err());
}

#[test]
fn serde_attributes_of_a_skipped_field_are_for_others() {
    #[derive(Debug, PartialEq, Serialize, DurableState)]
    #[durable(actor_type = "both")]
    struct Both {
        sum: i64,
        #[serde(skip)]
        #[durable(skip)]
        calls: u32,
    }

    let fresh = || Both { sum: 0, calls: 5 };
    for recovered in recover(&Both { sum: 1, calls: 1 }, fresh) {
        assert_eq!(recovered, Both { sum: 1, calls: 5 });
    }
}
