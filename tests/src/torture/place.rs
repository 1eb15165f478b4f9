//! Where the tortured actors are: a store that nobody else uses.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::postgres::Schema;
use crate::proxy::Proxy;

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

    /// Where it is for a process that the network is to swallow, and that network, if there is one.
    pub(super) fn by_network(&self, process: u64) -> Result<(String, Option<Proxy>)> {
        let address = self.address(process)?;
        let Self::Schema(runtime, schema) = self else { return Ok((address, None)) };
        let server = schema.server();
        let proxy = runtime.block_on(Proxy::start(server.clone()))?;
        let way = address.replace(&server, &proxy.address().to_string());
        ensure!(way != address, "{address} does not name {server}");
        Ok((way, Some(proxy)))
    }

    /// Where its files are, if it is files.
    pub(super) fn folder(&self) -> Option<PathBuf> {
        match self {
            Self::Folder(folder) => Some(folder.path().join("shared")),
            Self::Schema(..) => None,
        }
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
