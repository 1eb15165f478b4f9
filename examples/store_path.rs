//! Where a story keeps its store.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// The chosen path, or else `target/<story>/<story>.db` in this workspace; outside of a workspace
/// `<story>.db` in the current folder. The folder is made if it is not there.
pub(crate) fn store_path(chosen: Option<PathBuf>, story: &str) -> anyhow::Result<PathBuf> {
    let path = chosen.unwrap_or_else(|| default_path(story));
    let path = std::path::absolute(&path)
        .with_context(|| format!("{} is not a path for a store", path.display()))?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    Ok(path)
}

/// What `SqliteProvider::new` takes: a URL, in which some characters of a path mean something else.
pub(crate) fn store_url(store: &Path) -> anyhow::Result<String> {
    let path = store.to_str().with_context(|| format!("{} is not UTF-8", store.display()))?;
    Ok(format!("sqlite:{}?mode=rwc", path.replace('%', "%25").replace('?', "%3F")))
}

fn default_path(story: &str) -> PathBuf {
    let file = format!("{story}.db");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .filter(|folder| folder.join("Cargo.toml").is_file());
    match workspace {
        Some(workspace) => workspace.join("target").join(story).join(file),
        None => file.into(),
    }
}
