//! Copies of a SQLite store's two files, beside their WALs, and how one of them is put back.

use std::fs;
use std::path::Path;

use anyhow::Result;
use tempfile::TempDir;

use super::program::Store;

impl Store {
    /// Whether a file of the folder is one of its own.
    fn has(self, file: &str) -> bool {
        let is_journal = file.starts_with("app.actors.db");
        match self {
            Self::Journal => is_journal,
            Self::Duroxide => file.starts_with("app.db") && !is_journal,
        }
    }
}

/// A copy of all files of a folder.
pub(super) struct Copy(TempDir);

impl Copy {
    /// Nobody has the store open.
    pub(super) fn of(folder: &Path) -> Result<Self> {
        let copy = tempfile::tempdir()?;
        for file in fs::read_dir(folder)? {
            let file = file?;
            fs::copy(file.path(), copy.path().join(file.file_name()))?;
        }
        Ok(Self(copy))
    }

    /// Puts one of the stores back. Nobody has it open.
    pub(super) fn restore(&self, folder: &Path, store: Store) -> Result<()> {
        let own = |folder: &Path| -> Result<Vec<fs::DirEntry>> {
            let files = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
            let own = |file: &fs::DirEntry| store.has(&file.file_name().to_string_lossy());
            Ok(files.into_iter().filter(own).collect())
        };
        for file in own(folder)? {
            fs::remove_file(file.path())?;
        }
        for file in own(self.0.path())? {
            fs::copy(file.path(), folder.join(file.file_name()))?;
        }
        Ok(())
    }
}
