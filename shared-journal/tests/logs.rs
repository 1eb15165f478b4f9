//! What log lines have in common, looked up in the sources.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::path::Path;

/// Every call of a macro of tracing, with its file.
fn calls(folder: &Path, all: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            calls(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for (at, _) in text.match_indices("tracing::") {
                let call = &text[at..];
                let Some((name, rest)) = call.split_once('!') else { continue };
                if name.contains(|it: char| it.is_whitespace() || it == '{' || it == ';') {
                    continue;
                }
                let end = rest.find(");").or_else(|| rest.find("),\n")).unwrap_or(rest.len());
                all.push((path.display().to_string(), format!("{name}!{}", &rest[..end])));
            }
        }
    }
}

#[test]
fn errors_have_their_causes_and_no_field_is_called_message() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut all = Vec::new();
    for member in ["shared-journal", "duroxide-actix", "duroxide-tower"] {
        calls(&root.join(member).join("src"), &mut all);
    }
    assert!(all.len() > 50, "{}", all.len());
    for (path, call) in all {
        // `error_text`, or `&dyn Error`, of which a subscriber gets the causes.
        for display in ["%error", "%source", "%cause", "{error}", "error = %"] {
            assert!(!call.contains(display), "{path}: {display} has no causes: {call}");
        }
        for message in [" message =", "(message =", "%message,", "?message,"] {
            assert!(
                !call.contains(message),
                "{path}: a subscriber takes this for the text: {call}"
            );
        }
    }
}
