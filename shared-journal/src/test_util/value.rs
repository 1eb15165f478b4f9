//! Payloads as values that can be compared and shown.

use serde_json::Value;

use crate::codec::Payload;

/// A payload of any codec as JSON, so that the order of fields and the codec do not matter. What JSON
/// has no form for is as [`Payload::to_text`] shows it.
pub(super) fn json(payload: &Payload<'_>) -> Value {
    let text = payload.to_text();
    serde_json::from_str(&text).unwrap_or_else(|_| text.into())
}

/// Whether everything that was recorded is in what was found. A field that was not there when it was
/// recorded is not compared: a newer program may have it.
pub(super) fn covers(recorded: &Value, found: &Value) -> bool {
    match (recorded, found) {
        (Value::Object(recorded), Value::Object(found)) => recorded
            .iter()
            .all(|(key, value)| found.get(key).is_some_and(|found| covers(value, found))),
        (Value::Array(recorded), Value::Array(found)) => {
            recorded.len() == found.len()
                && recorded.iter().zip(found).all(|(recorded, found)| covers(recorded, found))
        }
        (recorded, found) => recorded == found,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::covers;

    #[test]
    fn what_is_new_is_not_compared_and_what_is_missing_is() {
        let recorded = json!({"cents": 5, "owner": {"name": "a"}, "log": [1, {"n": 2}]});
        let newer = json!({
            "cents": 5, "owner": {"name": "a", "born": null}, "log": [1, {"n": 2, "m": 3}], "x": 1
        });
        assert!(covers(&recorded, &newer));
        assert!(!covers(&newer, &recorded));
        for other in [
            json!({"cents": 6, "owner": {"name": "a"}, "log": [1, {"n": 2}]}),
            json!({"cents": 5, "owner": {}, "log": [1, {"n": 2}]}),
            json!({"cents": 5, "owner": {"name": "a"}, "log": [1]}),
            json!(null),
        ] {
            assert!(!covers(&recorded, &other), "{other}");
        }
    }
}
