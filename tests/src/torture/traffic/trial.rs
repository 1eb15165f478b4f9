//! One program, run to its end, and smaller programs that fail as well.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::super::place::Place;
use super::super::process::Process;
use super::super::setup::Setup;
use super::super::verdict::Verdict;
use super::super::wire::{Order, Said};
use super::check::{Desks, compare};
use super::copies::Copy;
use super::lanes::Lanes;
use super::lives::Lives;
use super::program::{Gap, Store, Traffic};
use super::record::Messages;

/// Before it is looked again whether everything has come.
const LOOK: Duration = Duration::from_millis(20);

/// Runs a program on a store of its own.
///
/// # Errors
/// The store cannot be made, or processes cannot be started.
pub fn run(setup: &Setup, program: &Traffic) -> Result<Verdict> {
    let place = Place::make(&setup.store)?;
    let mut trial = Trial {
        setup,
        program,
        place: &place,
        lives: Lives::new(setup, program, &place),
        kept: None,
    };
    let found = trial.all();
    let mut verdict = trial.lives.end();
    match found {
        Ok(found) => verdict.add(found),
        Err(error) => verdict.unexplained(format!("{error:#}")),
    }
    place.remove()?;
    Ok(verdict)
}

/// The files at some moment, and what was known then.
struct Kept {
    files: Copy,
    sent: Messages,
    lanes: Lanes,
}

struct Trial<'t> {
    setup: &'t Setup,
    program: &'t Traffic,
    place: &'t Place,
    lives: Lives<'t>,
    kept: Option<Kept>,
}

impl Trial<'_> {
    fn all(&mut self) -> Result<Verdict> {
        for life in &self.program.lives {
            self.lives.live(&life.kill)?;
            self.gap(life.gap)?;
        }
        let mut process = self.lives.last()?;
        // As long as something comes: how fast depends on the machine.
        let (mut missing, mut end) = (u64::MAX, Instant::now());
        while missing > 0 {
            let left = compare(&self.lives.record, &self.look(&mut process, false)?.0).lost;
            if left < missing {
                (missing, end) = (left, Instant::now() + self.setup.patience);
            } else if Instant::now() > end {
                break;
            }
            std::thread::sleep(LOOK);
        }
        let (desks, complaints) = self.look(&mut process, true)?;
        let mut verdict = compare(&self.lives.record, &desks);
        complaints.into_iter().for_each(|complaint| verdict.unexplained(complaint));
        let status = process.leave()?;
        ensure!(status.success(), "the last process ended with {status}");
        Ok(verdict)
    }

    fn look(&self, process: &mut Process, settled: bool) -> Result<(Desks, Vec<String>)> {
        process.order(&Order::Look { actors: self.program.actors, settled })?;
        loop {
            match process.next(self.setup.patience)? {
                Some(Said::Desks(desks, complaints)) => return Ok((desks, complaints)),
                Some(Said::Answer(..)) => {}
                other => bail!("the last process said {other:?}"),
            }
        }
    }

    fn gap(&mut self, gap: Gap) -> Result<()> {
        let (Some(store), Some(folder)) = (self.program.restores, self.place.folder()) else {
            return Ok(());
        };
        match gap {
            Gap::Nothing => {}
            Gap::Copy => {
                self.lives.bury_ghost()?;
                let Lives { record, lanes, .. } = &self.lives;
                let (sent, lanes) = (record.sent.clone(), lanes.clone());
                self.kept = Some(Kept { files: Copy::of(&folder)?, sent, lanes });
            }
            Gap::Restore => {
                let Some(kept) = &self.kept else { return Ok(()) };
                self.lives.bury_ghost()?;
                kept.files.restore(&folder, store)?;
                match store {
                    Store::Journal => {
                        self.lives.record.journal_restored(&kept.sent);
                        self.lives.lanes = kept.lanes.clone();
                    }
                    Store::Duroxide => self.lives.record.duroxide_restored(),
                }
            }
        }
        Ok(())
    }
}
