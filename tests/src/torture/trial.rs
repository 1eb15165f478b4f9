//! One program, run to its end, and smaller programs that fail as well.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use nix::sys::signal::Signal;

use super::ROOMY;
use super::book::{Act, Deed};
use super::ghost::Ghost;
use super::place::Place;
use super::process::{Death, Process};
use super::program::{Kill, NARROW, Op, Program, Step};
use super::record::Record;
use super::setup::Setup;
use super::verdict::Verdict;
use super::wire::{Answer, Found, Order, Said};

/// How long a dead node keeps its shards.
pub(super) const LEASE_MS: u64 = 200;
/// Small, so that a short life has many checkpoints.
pub(super) const CHECKPOINT_BYTES: usize = 16 << 10;
pub(super) const HISTORY_COMMITS: u64 = 10;
/// Longer than that, and than it takes to take them over.
pub(super) const PAST_LEASE: Duration = Duration::from_millis(5 * LEASE_MS);
/// Before what was refused is sent again.
pub(super) const PAUSE: Duration = Duration::from_millis(5);
/// Retries of one program beyond which something is wrong.
pub(super) const RETRIES: u64 = 10_000;

/// Runs a program on a store of its own.
///
/// # Errors
/// The store cannot be made, or processes cannot be started.
pub fn run(setup: &Setup, program: &Program) -> Result<Verdict> {
    let place = Place::make(&setup.store)?;
    let mut trial = Trial {
        setup,
        program,
        place: &place,
        processes: 0,
        lanes: program.senders.iter().map(|_| Lane::default()).collect(),
        record: Record::default(),
        ghost: Ghost::default(),
    };
    let found = trial.all_lives().and_then(|()| trial.show());
    drop(trial.ghost.take());
    let mut record = trial.record;
    let verdict = match found {
        Ok(found) => record.check(program, &found),
        Err(error) => {
            record.verdict.unexplained(format!("{error:#}"));
            record.verdict
        }
    };
    place.remove()?;
    Ok(verdict)
}

/// A sender: the operations that were begun and are not over, in order.
#[derive(Default)]
struct Lane {
    next: usize,
    flying: VecDeque<Step>,
}

/// How a life ended.
enum End {
    /// There is nothing left to do.
    Done(Process),
    Dead(Death),
}

/// What is to be done about an operation that was answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It is over.
    Nothing,
    /// It is sent again.
    Again,
}

struct Trial<'t> {
    setup: &'t Setup,
    program: &'t Program,
    place: &'t Place,
    /// So many were started.
    processes: u64,
    lanes: Vec<Lane>,
    record: Record,
    ghost: Ghost,
}

impl Trial<'_> {
    fn all_lives(&mut self) -> Result<()> {
        for kill in self.program.kills.iter().map(Some).chain([None]) {
            let mut end = self.life(kill)?;
            while matches!(end, End::Dead(Death::Aborted)) {
                end = self.life(kill)?;
            }
            self.record.verdict.kills += u64::from(matches!(end, End::Dead(_)));
            if let Some(ghost) = self.ghost.take_back() {
                self.bury(ghost)?;
            }
            if let End::Done(process) = end {
                if let Some(ghost) = self.ghost.take() {
                    self.bury(ghost)?;
                }
                return self.leave(process, kill);
            }
        }
        bail!("the last process died")
    }

    /// Lets the last one end. It may pass its crash point only now, and begin what aborts it.
    fn leave(&mut self, mut process: Process, kill: Option<&Kill>) -> Result<()> {
        let status = process.leave()?;
        match Death::of(status) {
            Some(Death::Killed) if matches!(kill, Some(Kill::At(..))) => {
                self.record.verdict.kills += 1;
                Ok(())
            }
            Some(Death::Aborted) => self.aborted(),
            _ => {
                ensure!(status.success(), "the process ended with {status}");
                Ok(())
            }
        }
    }

    /// A handler has taken its process with it. That ends.
    fn aborted(&mut self) -> Result<()> {
        self.record.verdict.aborts += 1;
        let (aborts, most) = (self.record.verdict.aborts, self.program.most_aborts());
        ensure!(aborts <= most, "{aborts} processes have aborted, {most} may");
        Ok(())
    }

    fn life(&mut self, kill: Option<&Kill>) -> Result<End> {
        let narrow = self.program.tight && self.processes % 2 == 1;
        let mut process = self.start(kill, narrow)?;
        let ready = loop {
            if let Some(heard) = self.ghost.listen(&process, self.setup.patience)? {
                break heard;
            }
        };
        match ready {
            None => return self.died(process),
            Some(Said::Ready) => {}
            Some(other) => bail!("the process began with {other:?}"),
        }
        for sender in 0..self.lanes.len() {
            for step in self.lanes[sender].flying.clone() {
                self.send(&mut process, sender, &step)?;
            }
        }
        let mut answers = 0;
        loop {
            self.fill(&mut process)?;
            if self.lanes.iter().all(|lane| lane.flying.is_empty()) {
                return Ok(End::Done(process));
            }
            match kill {
                Some(Kill::After(after, micros)) if answers >= *after => {
                    // The random moment itself, not a wait for anything.
                    std::thread::sleep(Duration::from_micros(*micros));
                    process.signal(Signal::SIGKILL)?;
                    return self.died(process);
                }
                Some(Kill::Pause(after) | Kill::Swallow(after)) if answers >= *after => {
                    if let Some(ghost) = self.ghost.take() {
                        self.bury(ghost)?;
                    }
                    self.ghost.hold(process, *after)?;
                    return Ok(End::Dead(Death::Killed));
                }
                _ => {}
            }
            self.haunt(answers)?;
            let Some(heard) = self.ghost.listen(&process, self.setup.patience)? else { continue };
            match heard {
                None => return self.died(process),
                Some(said) => self.hear(&mut process, said)?,
            }
            answers += 1;
        }
    }

    /// A process, in a narrow place or not.
    fn start(&mut self, kill: Option<&Kill>, narrow: bool) -> Result<Process> {
        let Program { shards, active, attempts, window, .. } = self.program;
        self.processes += 1;
        let (store, network) = match kill {
            Some(Kill::Swallow(_)) => self.place.by_network(self.processes)?,
            _ => (self.place.address(self.processes)?, None),
        };
        let mut command = self.setup.command(&store, *shards, *active);
        command.arg(format!("--lease-ms={LEASE_MS}"));
        command.arg(format!("--checkpoint-bytes={CHECKPOINT_BYTES}"));
        command.arg(format!("--history-commits={HISTORY_COMMITS}"));
        command.arg(format!("--attempts={attempts}"));
        command.arg(format!("--state-bytes={}", if narrow { NARROW } else { ROOMY }));
        command.args(window.map(|window| format!("--dedup-count={window}")));
        if let Some(Kill::At(point, hits)) = kill {
            command.env("CRASH_POINT", point).env("CRASH_HITS", hits.to_string());
        }
        Process::start(&mut command, network)
    }

    /// Hears what it said before it died.
    fn died(&mut self, mut process: Process) -> Result<End> {
        while let Some(said) = process.next(self.setup.patience)? {
            if let Said::Answer(op, answer) = said {
                self.answered(op, answer);
            }
        }
        let death = process.death()?;
        if death == Death::Aborted {
            self.aborted()?;
        }
        Ok(End::Dead(death))
    }

    /// What it released counts, whenever it did.
    fn bury(&mut self, ghost: Process) -> Result<()> {
        ghost.signal(Signal::SIGKILL)?;
        self.died(ghost).map(drop)
    }

    /// What the paused process says when it is back.
    fn haunt(&mut self, answers: u64) -> Result<()> {
        for (op, answer) in self.ghost.answers(answers)? {
            self.answered(op, answer);
        }
        Ok(())
    }

    fn hear(&mut self, process: &mut Process, said: Said) -> Result<()> {
        let Said::Answer(op, answer) = said else { bail!("the process said {said:?}") };
        match self.answered(op, answer) {
            Next::Nothing => return Ok(()),
            Next::Again => {}
        }
        if self.record.verdict.retried > RETRIES {
            bail!("{op:?} is sent again and again");
        }
        std::thread::sleep(PAUSE);
        let sender = op.0 as usize;
        match self.lanes[sender].flying.iter().find(|step| step.number == op.1).cloned() {
            Some(step) => self.send(process, sender, &step).map(drop),
            None => Ok(()),
        }
    }

    fn answered(&mut self, op: (u32, u64), answer: Answer) -> Next {
        let (sender, number) = op;
        let lane = sender as usize;
        let Some(step) = self.step(lane, number).cloned() else { return Next::Nothing };
        let over = match step.op {
            Op::Ask(..) | Op::Tell(..) => self.record.answered(op, answer),
            Op::Again(first) => self.record.answered((sender, first), answer),
            Op::Other(first) => self.record.answered_other((sender, first), &answer),
            Op::Checkpoint => true,
        };
        if !over {
            return Next::Again;
        }
        self.lanes[lane].flying.retain(|step| step.number != number);
        Next::Nothing
    }

    fn step(&self, sender: usize, number: u64) -> Option<&Step> {
        let steps = &self.program.senders[sender];
        steps.binary_search_by_key(&number, |step| step.number).ok().map(|at| &steps[at])
    }

    /// Begins as many operations as may be on their way.
    fn fill(&mut self, process: &mut Process) -> Result<()> {
        for (sender, steps) in self.program.senders.iter().enumerate() {
            while self.lanes[sender].flying.len() < self.program.in_flight {
                let Some(step) = steps.get(self.lanes[sender].next) else { break };
                self.lanes[sender].next += 1;
                if self.send(process, sender, step)? {
                    self.lanes[sender].flying.push_back(step.clone());
                }
            }
        }
        Ok(())
    }

    /// Whether there was something to send.
    fn send(&mut self, process: &mut Process, sender: usize, step: &Step) -> Result<bool> {
        let from = u32::try_from(sender)?;
        let op = (from, step.number);
        let (about, ask) = match &step.op {
            Op::Checkpoint => {
                process.order(&Order::Checkpoint { op })?;
                return Ok(true);
            }
            // It may have been left out of a smaller program.
            Op::Again(number) | Op::Other(number) => (self.step(sender, *number), true),
            Op::Ask(..) => (Some(step), true),
            Op::Tell(..) => (Some(step), false),
        };
        let Some(Step { number, op: Op::Ask(actor, deed) | Op::Tell(actor, deed) }) = about else {
            return Ok(false);
        };
        let (actor, number, mut deed) = (*actor, *number, deed.clone());
        if let Op::Other(_) = step.op {
            if !self.record.is_answered((from, number)) {
                // Of two that are on their way either may be first, also if one is told: it is
                // acknowledged in front of its actor.
                return Ok(false);
            }
            deed = if deed == Deed::Note { Deed::Grow(1) } else { Deed::Note };
        } else {
            self.record.sent((from, number), actor, &deed);
        }
        let act = Act { sender: from, number, deed, counted: false };
        process.order(&Order::Message { op, actor, ask, act })?;
        Ok(true)
    }

    /// What the actors have, as a last process finds it, or one after that.
    fn show(&mut self) -> Result<BTreeMap<u32, Found>> {
        loop {
            let mut process = self.start(None, false)?;
            match process.show(self.program.actors, self.setup.patience)? {
                Some((found, complaints)) => {
                    complaints.into_iter().for_each(|it| self.record.verdict.unexplained(it));
                    return Ok(found);
                }
                None => ensure!(
                    matches!(self.died(process)?, End::Dead(Death::Aborted)),
                    "the last process died"
                ),
            }
        }
    }
}
