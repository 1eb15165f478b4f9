//! Where the journal of a database is: beside the file itself, whichever name it was opened by.

use std::ffi::OsString;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use super::network;
use crate::error::JournalError;
use crate::mailbox::error_text;
use crate::sabotage::sabotaged;

/// As many as Linux follows.
const MAX_LINKS: usize = 40;

/// A new file is made with the permissions of this one.
#[derive(Debug, Clone)]
pub(super) struct Model(pub(super) PathBuf);

/// `app.db` has its journal at `app.actors.db`.
fn sibling(file: &Path) -> PathBuf {
    let mut extension = OsString::from("actors");
    if let Some(own) = file.extension() {
        extension.push(".");
        extension.push(own);
    }
    file.with_extension(extension)
}

/// The place of the journal of `database`, which its provider has opened, and the file itself.
///
/// Links are followed, as SQLite does: a deployment that links to a shared database finds the journal
/// of the one before. Earlier versions put the journal beside the link.
pub(super) fn of_database(database: &Path) -> Result<(PathBuf, Model), JournalError> {
    let fail = |error: Error| JournalError::Store {
        store: database.display().to_string(),
        operation: "find the database of the journal",
        retryable: false,
        source: error.into(),
    };
    let named = std::path::absolute(database).map_err(fail)?;
    let file = named.canonicalize().map_err(|error| match error.kind() {
        ErrorKind::NotFound => fail(Error::new(
            ErrorKind::NotFound,
            format!(
                "{} is not there; was the working directory changed after the provider was opened?",
                named.display()
            ),
        )),
        _ => fail(error),
    })?;
    let (journal, beside) = (sibling(&file), sibling(&named));
    if sabotaged("sabotage-beside-link") {
        return Ok((beside, Model(file)));
    }
    // The same place by another name, or a link that somebody made to the right one.
    let apart = |at: &Path| {
        at.try_exists().map(|there| there && resolve(at).ok() != resolve(&journal).ok())
    };
    if apart(&beside).map_err(fail)? {
        return Err(JournalError::BesideLink {
            link: named.display().to_string(),
            beside: beside.display().to_string(),
            journal: journal.display().to_string(),
            both: journal.try_exists().map_err(fail)?,
        });
    }
    let journal = resolve(&journal).map_err(fail)?;
    if let Some(mount) = network::mount_of(&journal).filter(|mount| mount.is_refused()) {
        return Err(JournalError::NetworkFileSystem {
            store: journal.display().to_string(),
            kind: mount.kind,
            mount: mount.point,
        });
    }
    Ok((journal, Model(file)))
}

/// The file that SQLite opens for `path`, which need not be there yet: absolute, without links. Its WAL
/// is beside it.
pub(super) fn resolve(path: &Path) -> std::io::Result<PathBuf> {
    let mut path = std::path::absolute(path)?;
    for _ in 0..MAX_LINKS {
        match path.canonicalize() {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            found => return found,
        }
        let folder = path.parent().unwrap_or(Path::new("/"));
        match path.read_link() {
            // Of a link to nothing, what it points to is made.
            Ok(target) => path = folder.join(target),
            Err(_) => {
                let name = path.file_name().ok_or(ErrorKind::InvalidInput)?;
                return Ok(folder.canonicalize()?.join(name));
            }
        }
    }
    Err(Error::new(ErrorKind::InvalidInput, "too many levels of symbolic links"))
}

/// Makes the file with the permissions of its model, if it is not there. SQLite gives those of the
/// file to its `-wal` and `-shm`.
pub(super) fn make(path: &Path, model: &Model) -> std::io::Result<()> {
    let model = std::fs::metadata(&model.0)?;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
        // Never more than it will have.
        options.mode(model.mode() & 0o600);
        let file = match options.open(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
            opened => opened?,
        };
        let made = file.metadata()?;
        if (made.uid(), made.gid()) != (model.uid(), model.gid())
            && let Err(error) = fchown(&file, Some(model.uid()), Some(model.gid()))
        {
            tracing::debug!(error = error_text(&error), path = %path.display(), "the journal has an owner of its own");
        }
        file.set_permissions(model.permissions())
    }
    #[cfg(not(unix))]
    match options.open(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_lies_next_to_the_store() {
        assert_eq!(sibling(Path::new("/data/app.db")), Path::new("/data/app.actors.db"));
        assert_eq!(sibling(Path::new("app")), Path::new("app.actors"));
    }
}
