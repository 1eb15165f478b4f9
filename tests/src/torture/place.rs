//! Where the tortured actors are: a store that nobody else uses.

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::postgres::Schema;

/// Where programs keep their actors.
#[derive(Debug, Clone)]
pub enum Store {
    /// In a SQLite file each.
    Sqlite,
    /// In a schema each, of the database at this URL.
    Postgres(String),
}

/// A store of its own.
pub(super) enum Place {
    Folder(TempDir),
    Schema(Runtime, Schema),
}

impl Place {
    pub(super) fn make(store: &Store) -> Result<Self> {
        Ok(match store {
            Store::Sqlite => {
                let folder = tempfile::tempdir()?;
                std::fs::create_dir(folder.path().join("shared"))?;
                Self::Folder(folder)
            }
            Store::Postgres(url) => {
                let runtime = Runtime::new()?;
                let schema = runtime.block_on(Schema::create(url))?;
                Self::Schema(runtime, schema)
            }
        })
    }

    /// Where it is, for the process of this number. In a folder each has a link of its own to the one
    /// database, as deployments make them.
    pub(super) fn address(&self, process: u64) -> Result<String> {
        Ok(match self {
            Self::Folder(folder) => {
                let release = folder.path().join("releases").join(process.to_string());
                std::fs::create_dir_all(&release)?;
                let link = release.join("app.db");
                std::os::unix::fs::symlink("../../shared/app.db", &link)?;
                link.to_str().context("a path in UTF-8")?.to_owned()
            }
            Self::Schema(_, schema) => schema.address(),
        })
    }

    /// How large it is.
    pub(super) fn bytes(&self) -> Result<u64> {
        match self {
            Self::Folder(folder) => {
                let mut bytes = 0;
                for file in std::fs::read_dir(folder.path().join("shared"))? {
                    // One that is gone by now has none.
                    bytes += file?.metadata().map_or(0, |file| file.len());
                }
                Ok(bytes)
            }
            Self::Schema(runtime, schema) => runtime.block_on(schema.bytes()),
        }
    }

    pub(super) fn remove(self) -> Result<()> {
        match self {
            Self::Folder(folder) => Ok(folder.close()?),
            Self::Schema(runtime, schema) => runtime.block_on(schema.drop()),
        }
    }
}
