//! What is printed: one line of JSON, or a line a value.

use serde_json::Value;

pub(crate) fn print(line: &Value, json: bool) {
    if json {
        println!("{line}");
    } else {
        print_value("", line);
    }
}

fn print_value(name: &str, value: &Value) {
    let join = |part: &str| match name {
        "" => part.to_owned(),
        name => format!("{name}.{part}"),
    };
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                print_value(&join(field), value);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                print_value(&join(&index.to_string()), value);
            }
        }
        Value::String(text) => println!("{name:32} {text:>14}"),
        value => println!("{name:32} {value:>14}"),
    }
}
