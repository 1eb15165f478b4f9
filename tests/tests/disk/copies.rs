//! Copies of the files: between two lives, and while a process writes.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::{Counting, Disk, FILES};

#[test]
fn a_copy_of_the_files_opens_with_all_that_was_acknowledged_before() {
    let disk = Disk::new();
    let before = disk.count(50, None, false).acked;
    // With the file system's own means: the WAL is part of it.
    let copy = Disk::new();
    for file in std::fs::read_dir(disk.folder.path()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path(file.file_name().to_str().unwrap())).unwrap();
    }
    assert_eq!(copy.recovered(), before);
}

/// What `docs/operations.md` says: the journal's file first, by SQLite itself.
#[test]
fn a_copy_by_sqlite_has_what_was_acknowledged_before_it() {
    let disk = Disk::new();
    for moment in [1, 30, 400] {
        let mut counting = disk.start(u64::MAX, false);
        let before = counting.acked(moment);
        let copy = Disk::new();
        for file in [FILES, "app.db"] {
            let connection = rusqlite::Connection::open(disk.path(file)).unwrap();
            let to = copy.path(file);
            connection.execute("VACUUM INTO ?1", [to.to_str().unwrap()]).unwrap();
        }
        let after = counting.killed();
        let found = copy.recovered();
        assert!((before..=after + 1).contains(&found), "{found}, not {before} to {after}");
    }
}

/// Not what one should do. The WAL is copied after the database, a while after if that is large: it may
/// have been copied back and begun anew meanwhile.
#[test]
fn a_copy_by_the_file_system_is_a_prefix_or_a_typed_error() {
    let disk = Disk::new();
    let mut random = StdRng::seed_from_u64(1);
    let (mut whole, mut earlier, mut refused) = (0, 0, 0);
    for copied in 0..20 {
        let mut counting = disk.start(u64::MAX, false);
        let before = counting.acked(random.random_range(1..100));
        let copy = Disk::new();
        let between = if copied % 2 == 0 { 0 } else { random.random_range(1..700) };
        copy_file(&disk, &copy, "app.db");
        copy_file(&disk, &copy, FILES);
        counting.acked(between);
        copy_file(&disk, &copy, "app.db-wal");
        copy_file(&disk, &copy, "app.actors.db-wal");
        let after = counting.killed();
        let said = copy.count(3, None, false);
        println!("{before} to {after}, {between} between: {said:?}");
        match (said.ready, said.failed) {
            (Some(found), None) => {
                assert!(found <= after + 1, "{found} of {after}");
                assert_eq!(said.acked, found + 3);
                // What was written since is whole as well.
                assert_eq!(copy.recovered(), found + 3);
                *(if found < before { &mut earlier } else { &mut whole }) += 1;
            }
            (_, Some(error)) => {
                assert!(error.contains(FILES), "{error}");
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    println!("{whole} with all, {earlier} earlier, {refused} refused");
}

fn copy_file(from: &Disk, to: &Disk, name: &str) {
    if from.path(name).exists() {
        std::fs::copy(from.path(name), to.path(name)).unwrap();
    }
}

impl Counting {
    /// Waits for so many more acknowledgements. The last one.
    fn acked(&mut self, more: u64) -> u64 {
        while self.said.ready.is_none() {
            assert!(self.hear(), "{:?}", self.said);
        }
        let enough = self.said.acked.max(self.said.ready.unwrap()) + more;
        while self.said.acked < enough && more > 0 {
            assert!(self.hear() && self.said.failed.is_none(), "{:?}", self.said);
        }
        self.said.acked
    }

    /// The last acknowledgement of its life, which ends now.
    fn killed(mut self) -> u64 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        while self.hear() {}
        self.said.acked
    }
}
