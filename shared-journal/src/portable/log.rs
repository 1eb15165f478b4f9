//! A log of slots: its root, its segments, and how far it was read.

use fail::fail_point;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::entry::{Slot, Step, VERSION};
use super::slots::Slots;
use crate::error::{JournalError, Place};
use crate::id::ShardId;
use crate::mailbox::error_text;

/// A segment with no more than this in it that is over is not worth a new one.
const GARBAGE_BYTES: usize = 8 << 20;

/// What the entries of a log come to.
pub(super) trait State: Default {
    type Entry: Serialize + DeserializeOwned;

    fn apply(&mut self, entry: Self::Entry);

    /// How many bytes live.
    fn bytes(&self) -> usize;

    /// Entries that come to the same.
    fn whole(&self) -> Vec<Self::Entry>;
}

/// A log as far as it was read, and what it says.
pub(super) struct Log<S> {
    /// The shard whose log it is.
    shard: ShardId,
    root: String,
    /// The last full slot of the root, 0 before the first look.
    segment_no: u64,
    segment: String,
    /// The first slot of the segment that was not read.
    next: u64,
    /// How many bytes are in the slots before that.
    bytes: usize,
    pub(super) state: S,
}

impl<S: State> Log<S> {
    pub(super) fn new(shard: ShardId, root: String) -> Self {
        Self {
            shard,
            root,
            segment_no: 0,
            segment: String::new(),
            next: 1,
            bytes: 0,
            state: S::default(),
        }
    }

    /// Whether somebody has begun it. Looking does not begin it.
    pub(super) async fn exists(&self, slots: &Slots) -> Result<bool, JournalError> {
        Ok(self.segment_no > 0 || slots.get(&self.root, 1).await?.is_some())
    }

    /// Reads what there is to read. At return nothing came after what was read, at a moment
    /// after the call.
    pub(super) async fn catch_up(&mut self, slots: &Slots) -> Result<(), JournalError> {
        if self.segment_no == 0 {
            self.find_segment(slots).await?;
        }
        loop {
            while let Some(value) = slots.get(&self.segment, self.next).await? {
                self.read(slots, &value).await?;
            }
            if !self.moved(slots).await? {
                return Ok(());
            }
        }
    }

    /// Appends an entry, if nobody else appended one since the last look. False: somebody did,
    /// and that is read now.
    pub(super) async fn append(
        &mut self,
        slots: &Slots,
        entry: S::Entry,
    ) -> Result<bool, JournalError> {
        self.append_step(slots, Step::Entry(entry)).await
    }

    async fn append_step(
        &mut self,
        slots: &Slots,
        entry: Step<S::Entry>,
    ) -> Result<bool, JournalError> {
        let value = encode(slots, entry)?;
        let there = slots.put(&self.segment, self.next, &value).await?;
        // Before the slot is trusted: it may have been deleted before it was written.
        if self.moved(slots).await? {
            self.catch_up(slots).await?;
            return Ok(false);
        }
        self.read(slots, &there).await?;
        Ok(there == value)
    }

    /// Begins a new segment if most of this one is over. It is tried again after the next write
    /// if it does not succeed; what was written stays written.
    pub(super) async fn compact(&mut self, slots: &Slots) {
        // What lives is longer in base64, by a third.
        let live = self.state.bytes() / 3 * 4;
        if self.bytes < worth_it() + 2 * live {
            return;
        }
        let (segment, bytes) = (self.segment.clone(), self.bytes);
        match self.begin_segment(slots).await {
            Ok(()) => tracing::debug!(log = self.root, bytes, live, "segment replaced"),
            Err(error) => tracing::warn!(
                log = self.root,
                segment,
                error = error_text(&error),
                "segment not replaced"
            ),
        }
    }

    async fn begin_segment(&mut self, slots: &Slots) -> Result<(), JournalError> {
        let name = self.new_name();
        for (slot, entry) in (1..).zip(self.state.whole()) {
            // Nobody knows of it yet.
            slots.put(&name, slot, &encode(slots, Step::Entry(entry))?).await?;
        }
        fail_point!("before-seal");
        if self.append_step(slots, Step::Sealed { next: name.clone() }).await? {
            // The seal was read, so this log goes on in the new segment.
            return self.catch_up(slots).await;
        }
        slots.delete(&name).await
    }

    fn new_name(&self) -> String {
        format!("{}/{}", self.root, Uuid::new_v4())
    }

    async fn read(&mut self, slots: &Slots, value: &str) -> Result<(), JournalError> {
        let entry = self.decode(slots, &self.segment, self.next, value)?;
        self.next += 1;
        self.bytes += value.len();
        match entry {
            Step::Entry(entry) => self.state.apply(entry),
            // Whoever reads the seal may be the first to come by after the one who wrote it died.
            Step::Sealed { next } => {
                let old = std::mem::take(&mut self.segment);
                fail_point!("after-seal");
                self.enter(slots, self.segment_no + 1, next).await?;
                fail_point!("before-delete");
                slots.delete(&old).await?;
            }
            Step::Segment { .. } => {
                return Err(self.corrupt(slots, "a segment is named in a segment"));
            }
        }
        Ok(())
    }

    /// Goes on in the segment that the root names, if it is another one.
    async fn moved(&mut self, slots: &Slots) -> Result<bool, JournalError> {
        if slots.get(&self.root, self.segment_no + 1).await?.is_none() {
            return Ok(false);
        }
        self.find_segment(slots).await?;
        Ok(true)
    }

    /// Finds the last slot of the root, and makes the first.
    async fn find_segment(&mut self, slots: &Slots) -> Result<(), JournalError> {
        let (mut last, mut value) = (self.segment_no, None);
        while let Some(there) = slots.get(&self.root, last + 1).await? {
            (last, value) = (last + 1, Some(there));
        }
        match value {
            None => self.enter(slots, last + 1, self.new_name()).await,
            Some(value) => self.begin(slots, last, &value),
        }
    }

    /// Names a segment in the root, or learns which one is named there already.
    async fn enter(&mut self, slots: &Slots, no: u64, name: String) -> Result<(), JournalError> {
        let value = encode(slots, Step::<S::Entry>::Segment { name })?;
        let there = slots.put(&self.root, no, &value).await?;
        self.begin(slots, no, &there)
    }

    fn begin(&mut self, slots: &Slots, no: u64, value: &str) -> Result<(), JournalError> {
        let Step::Segment { name } = self.decode(slots, &self.root, no, value)? else {
            return Err(self.corrupt(slots, "the root does not name a segment"));
        };
        self.segment = name;
        self.segment_no = no;
        self.next = 1;
        self.bytes = 0;
        self.state = S::default();
        Ok(())
    }

    fn decode(
        &self,
        slots: &Slots,
        instance: &str,
        slot: u64,
        value: &str,
    ) -> Result<Step<S::Entry>, JournalError> {
        #[derive(serde::Deserialize)]
        struct Version {
            version: u32,
        }
        let corrupt = |error: serde_json::Error| {
            self.corrupt(slots, &format!("instance {instance}, execution {slot}: {error}"))
        };
        let Version { version } = serde_json::from_str(value).map_err(corrupt)?;
        if version != VERSION {
            return Err(JournalError::SchemaVersion {
                store: slots.store().to_owned(),
                found: version,
                supported: VERSION,
            });
        }
        serde_json::from_str::<Slot<S::Entry>>(value).map(|slot| slot.entry).map_err(corrupt)
    }

    fn corrupt(&self, slots: &Slots, reason: &str) -> JournalError {
        JournalError::Corrupt {
            store: slots.store().to_owned(),
            place: Place::shard(self.shard),
            reason: reason.to_owned(),
        }
    }
}

/// How much more than what lives a segment holds at least when it is replaced.
fn worth_it() -> usize {
    fail_point!("short-segments", |_| 64 << 10);
    GARBAGE_BYTES
}

fn encode<E: Serialize>(slots: &Slots, entry: Step<E>) -> Result<String, JournalError> {
    let slot = Slot { version: VERSION, writer: Uuid::new_v4().simple().to_string(), entry };
    serde_json::to_string(&slot).map_err(|error| JournalError::Store {
        store: slots.store().to_owned(),
        operation: "encode an entry",
        retryable: false,
        source: error.into(),
    })
}
