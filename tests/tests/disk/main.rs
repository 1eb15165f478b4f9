//! Disks that are full, that fail, that lose what was not flushed, and files that were cut.
//!
//! The process is a `disk-child`, its disk a preloaded library (`shim/disk.c`), which is compiled
//! here. Linux only.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod copies;
mod recorded;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::LazyLock;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use recorded::{Event, Fate, Recorded};

/// The journal's files contain this.
const FILES: &str = "app.actors.db";

static SHIM: LazyLock<PathBuf> = LazyLock::new(|| {
    let shim =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("disk-{}.so", std::process::id()));
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/shim/disk.c");
    let mut compiler = Command::new("cc");
    compiler.args([
        "-shared",
        "-fPIC",
        "-O1",
        "-Wall",
        "-Werror",
        source,
        "-ldl",
        "-lpthread",
        "-o",
    ]);
    assert!(compiler.arg(&shim).status().unwrap().success(), "the shim does not compile");
    shim
});

/// A store in a folder of its own, and what a process says that counts in it.
struct Disk {
    folder: tempfile::TempDir,
}

/// What a process said.
#[derive(Debug, Default)]
struct Said {
    /// The count that it found.
    ready: Option<u64>,
    /// The last count that it was told.
    acked: u64,
    failed: Option<String>,
}

/// A process, and what it has said so far.
struct Counting {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    said: Said,
}

impl Counting {
    /// Whether it has said something more.
    fn hear(&mut self) -> bool {
        let Some(line) = self.lines.next() else { return false };
        let line = line.unwrap();
        match line.split_once(' ') {
            Some(("ready", count)) => self.said.ready = Some(count.parse().unwrap()),
            Some(("acked", count)) => self.said.acked = count.parse().unwrap(),
            Some(("failed", error)) => self.said.failed = Some(error.to_owned()),
            _ => assert_eq!(line, "done"),
        }
        true
    }

    /// Its life to the end. From the `fault`th acknowledgement on the disk is as `mode` says.
    fn end(mut self, disk: &Disk, fault: Option<(u64, &str)>) -> Said {
        while self.hear() {
            if let Some((after, mode)) = fault
                && self.said.acked == after
            {
                disk.mode(mode);
            }
        }
        let Self { mut child, said, .. } = self;
        assert!(child.wait().unwrap().success(), "{said:?}");
        said
    }
}

impl Disk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn mode(&self, mode: &str) {
        std::fs::write(self.path("mode"), mode).unwrap();
    }

    /// A process that adds so many times.
    fn start(&self, times: u64, record: bool) -> Counting {
        self.spawn(times, record, false)
    }

    fn spawn(&self, times: u64, record: bool, close: bool) -> Counting {
        let mut command = Command::new(env!("CARGO_BIN_EXE_disk-child"));
        command
            .arg(self.path("app.db"))
            .arg(times.to_string())
            .args(close.then_some("close"))
            .env("LD_PRELOAD", &*SHIM)
            .env("DISK_FILES", FILES)
            .env("DISK_MODE", self.path("mode"))
            .stdout(Stdio::piped());
        if record {
            command.env("DISK_RECORD", self.path("record"));
        }
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Counting { child, lines, said: Said::default() }
    }

    /// Adds so many times. From the `fault`th acknowledgement on the disk is as `mode` says.
    fn count(&self, times: u64, fault: Option<(u64, &str)>, record: bool) -> Said {
        self.start(times, record).end(self, fault)
    }

    /// As a process that adds so many times, is recorded, and closes what it opened.
    fn count_and_close(&self, times: u64) -> Said {
        self.spawn(times, true, true).end(self, None)
    }

    /// A healthy process: what it finds, and that it can go on.
    fn recovered(&self) -> u64 {
        self.mode("n");
        let said = self.count(3, None, false);
        let ready = said.ready.unwrap_or_else(|| panic!("{said:?}"));
        assert_eq!((said.acked, said.failed), (ready + 3, None));
        ready
    }
}

/// A fault in the middle of work: a typed error that says what and where, and nothing is lost.
fn fault(mode: &str, words: &[&str]) {
    let disk = Disk::new();
    // Far more than come before the fault.
    let said = disk.count(1_000_000, Some((20, mode)), false);
    let error = said.failed.unwrap();
    for word in words.iter().chain(&[FILES]) {
        assert!(error.contains(word), "no {word:?} in: {error}");
    }
    assert!(said.acked >= 20);
    // While it lasts the store does not open, and says the same.
    let refused = disk.count(1, None, false);
    assert_eq!((refused.ready, refused.acked), (None, 0), "{refused:?}");
    assert!(refused.failed.unwrap().contains(FILES));
    // The one that failed has an unknown outcome.
    let found = disk.recovered();
    assert!((said.acked..=said.acked + 2).contains(&found), "{found} of {}", said.acked);
}

#[test]
fn a_full_disk_is_told_and_loses_nothing() {
    fault("f", &["full"]);
}

#[test]
fn a_disk_that_cannot_write_is_told_and_loses_nothing() {
    fault("e", &["I/O error"]);
}

#[test]
fn a_disk_that_cannot_flush_is_told_and_loses_nothing() {
    fault("s", &["I/O error"]);
}

/// Nobody can tell that a log once was longer. What is there is whole: a prefix.
#[test]
fn a_truncated_wal_is_an_earlier_state_or_a_typed_error() {
    let disk = Disk::new();
    disk.count(40, None, true);
    let records = Recorded::read(&disk.path("record")).while_it_counted();
    let mut lengths = BTreeSet::new();
    for (at, event) in records.0.iter().enumerate() {
        if let Event::Write { path, offset, data } = event
            && path.ends_with("-wal")
            && data.len() < 1 << 20
        {
            lengths.insert((*offset, at));
            lengths.insert((*offset + data.len() as u64 / 2, at));
        }
    }
    assert!(lengths.len() > 40, "{}", lengths.len());
    let picture = records.picture(records.0.len(), || Fate::Whole);
    let mut earlier = 0;
    for (length, _) in lengths.iter().step_by(lengths.len() / 30) {
        let cut = Disk::new();
        picture.lay(&cut);
        let wal =
            std::fs::OpenOptions::new().write(true).open(cut.path("app.actors.db-wal")).unwrap();
        wal.set_len(*length).unwrap();
        let said = cut.count(1, None, false);
        match (said.ready, said.failed) {
            (Some(found), None) => {
                assert!(found <= 40);
                assert_eq!(said.acked, found + 1);
                earlier += u64::from(found < 40);
            }
            (_, Some(error)) => assert!(error.contains(FILES), "{error}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(earlier > 0, "nothing was cut");
}

#[test]
fn a_truncated_database_is_a_typed_error_that_names_the_file() {
    let cut = Disk::new();
    cut.count(100, None, false);
    let database = cut.path(FILES);
    // Without the WAL: what is in it would be there twice.
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(connection);
    let file = std::fs::OpenOptions::new().write(true).open(&database).unwrap();
    assert!(file.metadata().unwrap().len() > 5 * 4096);
    file.set_len(4096 + 100).unwrap();
    let error = cut.count(1, None, false).failed.unwrap();
    assert!(error.contains(FILES) && error.starts_with("false "), "{error}");
}

/// What a disk may have after a power cut: everything that was flushed, and of the rest any part.
#[test]
fn a_power_cut_at_any_moment_loses_nothing_acknowledged() {
    let disk = Disk::new();
    // Its end is one of the moments.
    disk.count_and_close(4);
    let records = Recorded::read(&disk.path("record"));
    let removed = |event: &Event| matches!(event, Event::Remove { path } if path.ends_with("-wal"));
    assert!(records.0.iter().any(removed), "the WAL was not removed");
    let mut random = StdRng::seed_from_u64(1);
    let (mut ready, mut acked, mut opened) = (false, 0, 0);
    for (at, event) in records.0.iter().enumerate() {
        match event {
            Event::Said(line) if line.starts_with("ready") => ready = true,
            Event::Said(line) => {
                acked = line.trim().strip_prefix("acked ").map_or(acked, |it| it.parse().unwrap());
            }
            _ => {}
        }
        // The pages that are copied back at the end are many, and much the same.
        if !ready || (acked == 4 && at % 5 > 0 && matches!(event, Event::Write { .. })) {
            continue;
        }
        let fates: [&mut dyn FnMut() -> Fate; 3] =
            [&mut || Fate::Whole, &mut || Fate::Nothing, &mut || match random.random_range(0..3) {
                0 => Fate::Whole,
                1 => Fate::Nothing,
                _ => Fate::Torn(random.random_range(0..16)),
            }];
        for fate in fates {
            let after = Disk::new();
            records.picture(at + 1, fate).lay(&after);
            let said = after.count(0, None, false);
            let found = said.ready.unwrap_or_else(|| panic!("event {at}: {said:?}"));
            assert!((acked..=acked + 1).contains(&found), "event {at}: {found} of {acked}");
            opened += 1;
        }
    }
    assert!(acked == 4 && opened > 40, "{opened} moments");
    println!("{opened} disks");
}
