//! A process that was paused or swallowed, and comes back while its successor is at work.

use std::time::Duration;

use anyhow::Result;

use super::process::{Heard, Process};
use super::trial::PAST_LEASE;
use super::wire::{Answer, Said};

/// At most one.
#[derive(Default)]
pub(super) struct Ghost {
    process: Option<Process>,
    /// It comes back after so many answers of its successor. None: it is back.
    wake: Option<u64>,
}

impl Ghost {
    /// Keeps a process from the store until its successor has given so many answers.
    pub(super) fn hold(&mut self, process: Process, after: u64) -> Result<()> {
        process.hold()?;
        *self = Self { process: Some(process), wake: Some(after) };
        Ok(())
    }

    pub(super) fn take(&mut self) -> Option<Process> {
        self.process.take()
    }

    /// The process, if it is back.
    pub(super) fn take_back(&mut self) -> Option<Process> {
        self.process.take_if(|_| self.wake.is_none())
    }

    /// What the successor says next. None: this one came back instead. It may have been stopped with the lock of a
    /// SQLite file in its hands; then nobody can write until it goes on.
    pub(super) fn listen(
        &mut self,
        successor: &Process,
        patience: Duration,
    ) -> Result<Option<Option<Said>>> {
        let is_held = self.process.is_some() && self.wake.is_some();
        match successor.next(if is_held { PAST_LEASE } else { patience }) {
            Err(_) if is_held => self.come_back().map(|()| None),
            heard => heard.map(Some),
        }
    }

    /// It comes back, if its successor has given as many answers, and says what it thinks it may.
    pub(super) fn answers(&mut self, given: u64) -> Result<Vec<((u32, u64), Answer)>> {
        if self.wake.is_some_and(|wake| given >= wake) {
            self.come_back()?;
        }
        let mut answers = Vec::new();
        let Some(process) = &self.process else { return Ok(answers) };
        while let Heard::Said(said) = process.hear(Duration::ZERO)? {
            if let Said::Answer(op, answer) = said {
                answers.push((op, answer));
            }
        }
        Ok(answers)
    }

    fn come_back(&mut self) -> Result<()> {
        self.wake = None;
        self.process.as_ref().map_or(Ok(()), Process::go_on)
    }
}
