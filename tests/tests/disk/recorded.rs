//! What a process did to its disk, and what a disk has of it after a power cut.

use std::collections::BTreeMap;
use std::path::Path;

use crate::Disk;

/// What became of a write that was not flushed.
pub(crate) enum Fate {
    Whole,
    Nothing,
    /// So many sectors of it.
    Torn(usize),
}

pub(crate) enum Event {
    Write { path: String, offset: u64, data: Vec<u8> },
    Truncate { path: String, length: u64 },
    Remove { path: String },
    Sync { path: String },
    Said(String),
}

/// What a process did to its disk, in order.
pub(crate) struct Recorded(pub(crate) Vec<Event>);

impl Recorded {
    pub(crate) fn read(file: &Path) -> Self {
        let bytes = std::fs::read(file).unwrap();
        let mut rest = &bytes[..];
        let mut events = Vec::new();
        // The process may have ended while a thread of it recorded what it was about to do.
        while let Some(event) = next(&mut rest) {
            events.push(event);
        }
        Self(events)
    }

    /// The events up to the last one that the process said it had done: what it did after that depends
    /// on which of its threads the end of the process met where.
    pub(crate) fn while_it_counted(mut self) -> Self {
        let acked = |event: &Event| matches!(event, Event::Said(line) if line.starts_with("acked"));
        let last = self.0.iter().rposition(acked).unwrap();
        self.0.truncate(last + 1);
        self
    }

    /// The files after the first `count` events. A truncation or removal is taken for flushed.
    pub(crate) fn picture(&self, count: usize, mut fate: impl FnMut() -> Fate) -> Picture {
        let mut flushed = BTreeMap::new();
        for (at, event) in self.0[..count].iter().enumerate() {
            if let Event::Sync { path } = event {
                flushed.insert(path, at);
            }
        }
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (at, event) in self.0[..count].iter().enumerate() {
            match event {
                Event::Write { path, offset, data } => {
                    let file = files.entry(path.clone()).or_default();
                    let kept = if flushed.get(path).is_some_and(|flushed| at < *flushed) {
                        data.len()
                    } else {
                        match fate() {
                            Fate::Whole => data.len(),
                            Fate::Nothing => 0,
                            Fate::Torn(sectors) => data.len().min(sectors * 512),
                        }
                    };
                    let start = usize::try_from(*offset).unwrap();
                    if file.len() < start + kept && kept > 0 {
                        file.resize(start + kept, 0);
                    }
                    if kept > 0 {
                        file[start..start + kept].copy_from_slice(&data[..kept]);
                    }
                }
                Event::Truncate { path, length } => {
                    let file = files.entry(path.clone()).or_default();
                    file.resize(usize::try_from(*length).unwrap(), 0);
                }
                Event::Remove { path } => drop(files.remove(path)),
                Event::Sync { .. } | Event::Said(_) => {}
            }
        }
        Picture(files)
    }
}

/// Takes one whole event.
fn next(rest: &mut &[u8]) -> Option<Event> {
    let mut take = |count: usize| -> Option<&[u8]> { rest.split_off(..count) };
    let kind = take(1)?[0];
    let named = u32::from_le_bytes(take(4)?.try_into().unwrap()) as usize;
    let path = String::from_utf8(take(named)?.to_vec()).unwrap();
    let offset = u64::from_le_bytes(take(8)?.try_into().unwrap());
    let length = u64::from_le_bytes(take(8)?.try_into().unwrap()) as usize;
    Some(match kind {
        b'w' => Event::Write { path, offset, data: take(length)?.to_vec() },
        b't' => Event::Truncate { path, length: offset },
        b'u' => Event::Remove { path },
        b's' => Event::Sync { path },
        _ => Event::Said(String::from_utf8(take(length)?.to_vec()).unwrap()),
    })
}

/// Files, by their paths.
pub(crate) struct Picture(BTreeMap<String, Vec<u8>>);

impl Picture {
    pub(crate) fn lay(&self, disk: &Disk) {
        for (path, bytes) in &self.0 {
            let name = Path::new(path).file_name().unwrap().to_str().unwrap();
            // What is zero at the end takes no room.
            let length = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            std::fs::write(disk.path(name), &bytes[..length]).unwrap();
            let file = std::fs::OpenOptions::new().write(true).open(disk.path(name)).unwrap();
            file.set_len(bytes.len() as u64).unwrap();
        }
    }
}
