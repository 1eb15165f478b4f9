//! Every metric of the sources is in the table of docs/metrics.md, and nothing else is.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

fn sources(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for kind in ["counter!(", "gauge!(", "histogram!("] {
                let uses = text.match_indices(kind).map(|(at, _)| &text[at + kind.len()..]);
                names.extend(uses.map(|rest| {
                    let name =
                        rest.trim_start().strip_prefix('"').and_then(|it| it.split_once('"'));
                    let name =
                        name.unwrap_or_else(|| panic!("{path:?}: a metric has its name there"));
                    format!("{} {}", name.0, kind.trim_end_matches("!("))
                }));
            }
        }
    }
}

#[test]
fn every_metric_is_in_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut used = BTreeSet::new();
    for member in ["shared-journal", "duroxide-actix", "duroxide-tower"] {
        sources(&root.join(member).join("src"), &mut used);
    }
    assert!(used.len() > 20, "{used:?}");
    let table = std::fs::read_to_string(root.join("docs/metrics.md")).unwrap();
    let rows = table.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        Some(format!("{name} {}", rest.split(" |").next()?))
    });
    let documented: BTreeSet<_> = rows.collect();
    assert_eq!(used, documented);
}
