//! The aircraft that run, and the journal they share.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use anyhow::Context;
use duroxide::providers::sqlite::SqliteProvider;
use duroxide_actix::journal::{DurableState, EventJournal, JournalStats, Limits};

use crate::aircraft::{Aircraft, GetTotals, Totals};
use crate::durable::DurableAircraft;
use crate::store_path::store_url;

/// Aircraft by tail number. Each is started when it is first asked for.
#[derive(Debug)]
pub(crate) struct Fleet {
    journal: EventJournal,
    aircraft: HashMap<String, Addr<DurableAircraft>>,
}

impl Fleet {
    /// Opens the store, makes it if it is not there, and lets the aircraft in it finish what an
    /// earlier process received.
    pub(crate) async fn open(store: &Path) -> anyhow::Result<Self> {
        let provider = SqliteProvider::new(&store_url(store)?, None)
            .await
            .with_context(|| format!("cannot open the store {}", store.display()))?;
        // The same file may be sent again next week, and is to be recognised then.
        let year = Duration::from_secs(366 * 24 * 3600);
        let limits = Limits { dedup_age: year, ..Limits::default() };
        let journal = EventJournal::builder()
            .limits(limits)
            .open(Arc::new(provider))
            .await
            .with_context(|| format!("cannot open the journal of {}", store.display()))?;

        let mut fleet = Self { journal, aircraft: HashMap::new() };
        for actor in fleet.journal.pending().await? {
            if actor.actor_type() == Aircraft::ACTOR_TYPE {
                fleet.aircraft(actor.id()).await?;
            }
        }
        Ok(fleet)
    }

    /// The aircraft with this tail number.
    pub(crate) async fn aircraft(
        &mut self,
        tail_number: &str,
    ) -> anyhow::Result<&Addr<DurableAircraft>> {
        if !self.aircraft.contains_key(tail_number) {
            let address =
                DurableAircraft::start(&self.journal, tail_number, |_| Aircraft::default())
                    .await
                    .with_context(|| format!("cannot start aircraft {tail_number}"))?;
            self.aircraft.insert(tail_number.to_owned(), address);
        }
        Ok(&self.aircraft[tail_number])
    }

    /// Asks every aircraft that runs.
    pub(crate) async fn totals(&self) -> anyhow::Result<Vec<(String, Totals)>> {
        let mut totals = Vec::with_capacity(self.aircraft.len());
        for (tail_number, aircraft) in &self.aircraft {
            let answer = aircraft.send(GetTotals).await;
            let answer = answer.with_context(|| format!("aircraft {tail_number}"))?;
            totals.push((tail_number.clone(), answer));
        }
        Ok(totals)
    }

    /// What the journal has counted since it was opened.
    pub(crate) fn stats(&self) -> JournalStats {
        self.journal.stats()
    }

    /// Closes the journal. The aircraft stop.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        self.journal.close().await.context("cannot close the journal")
    }
}
