//! The processes, one after the other, and what they are told and say.

use std::time::Duration;

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

use super::super::ROOMY;
use super::super::ghost::Ghost;
use super::super::place::Place;
use super::super::process::{Death, Process};
use super::super::program::Kill;
use super::super::setup::Setup;
use super::super::trial::{CHECKPOINT_BYTES, HISTORY_COMMITS, LEASE_MS, PAUSE, RETRIES};
use super::super::verdict::Verdict;
use super::super::wire::{Answer, Order, Said};
use super::begin::{Anew, Instance, Line};
use super::desk::Of;
use super::lanes::Lanes;
use super::program::{Op, Step, Traffic};
use super::record::Record;

pub(super) struct Lives<'t> {
    setup: &'t Setup,
    program: &'t Traffic,
    place: &'t Place,
    /// So many were started.
    processes: u64,
    /// So many lives instances were given.
    begun: u64,
    pub(super) lanes: Lanes,
    pub(super) record: Record,
    ghost: Ghost,
}

impl<'t> Lives<'t> {
    pub(super) fn new(setup: &'t Setup, program: &'t Traffic, place: &'t Place) -> Self {
        let (lanes, record) = (Lanes::new(program), Record::default());
        Self {
            setup,
            program,
            place,
            processes: 0,
            begun: 0,
            lanes,
            record,
            ghost: Ghost::default(),
        }
    }

    /// Ends all, and returns what was found on the way.
    pub(super) fn end(&mut self) -> Verdict {
        drop(self.ghost.take());
        std::mem::take(&mut self.record.verdict)
    }

    /// A process that dies, also if there is nothing left to do.
    pub(super) fn live(&mut self, kill: &Kill) -> Result<()> {
        self.life(Some(kill)).map(drop)?;
        self.record.verdict.kills += 1;
        if let Some(ghost) = self.ghost.take_back() {
            self.bury(ghost)?;
        }
        Ok(())
    }

    /// One that lives until there is nothing left to do.
    pub(super) fn last(&mut self) -> Result<Process> {
        match self.life(None)? {
            Some(process) => {
                self.bury_ghost()?;
                Ok(process)
            }
            None => bail!("the last process died"),
        }
    }

    /// None: it died, or became the ghost.
    fn life(&mut self, kill: Option<&Kill>) -> Result<Option<Process>> {
        let mut process = self.start(kill)?;
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
        for (sender, step) in self.lanes.flying() {
            self.send(&mut process, sender, &step)?;
        }
        let mut answers = 0;
        loop {
            while let Some((sender, step)) = self.lanes.next(self.program) {
                self.send(&mut process, sender, &step)?;
            }
            let is_done = self.lanes.are_done(self.program);
            match kill {
                None if is_done => return Ok(Some(process)),
                Some(Kill::After(after, micros)) if is_done || answers >= *after => {
                    // The random moment itself, not a wait for anything.
                    std::thread::sleep(Duration::from_micros(*micros));
                    process.signal(Signal::SIGKILL)?;
                    return self.died(process);
                }
                Some(Kill::Pause(after) | Kill::Swallow(after))
                    if (is_done || answers >= *after) && !self.is_renewing() =>
                {
                    self.bury_ghost()?;
                    self.ghost.hold(process, *after)?;
                    return Ok(None);
                }
                Some(Kill::At(..)) if is_done => {
                    process.signal(Signal::SIGKILL)?;
                    return self.died(process);
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

    /// Whether a process that comes back could delete what its successor has started.
    fn is_renewing(&self) -> bool {
        let is_send = |step: &Step| matches!(step.op, Op::Send { .. });
        !self.lanes.flying().iter().all(|(_, step)| is_send(step))
    }

    fn start(&mut self, kill: Option<&Kill>) -> Result<Process> {
        let Traffic { shards, active, .. } = self.program;
        self.processes += 1;
        let (store, network) = match kill {
            Some(Kill::Swallow(_)) => self.place.by_network(self.processes)?,
            _ => (self.place.address(self.processes)?, None),
        };
        let lines: Vec<_> = (0..self.program.lines).map(|line| self.line(line)).collect();
        let mut command = self.setup.command(&store, *shards, *active);
        command.arg(format!("--lease-ms={LEASE_MS}"));
        command.arg(format!("--checkpoint-bytes={CHECKPOINT_BYTES}"));
        command.arg(format!("--history-commits={HISTORY_COMMITS}"));
        command.arg(format!("--state-bytes={}", 16 * ROOMY));
        command.arg(format!("--traffic={}", serde_json::to_string(&lines)?));
        if let Some(Kill::At(point, hits)) = kill {
            command.env("CRASH_POINT", point).env("CRASH_HITS", hits.to_string());
        }
        Process::start(&mut command, network)
    }

    /// A line, in a life of its own.
    fn line(&mut self, line: u32) -> Instance {
        self.begun += 1;
        let (life, chunk, asks) = (self.begun, self.program.chunk, self.program.lines_ask());
        Instance::Line(Line { line, life, chunk, asks })
    }

    fn anew(&mut self, number: u64, place: u32, first: u32) -> Instance {
        self.begun += 1;
        let of = Of { number, age: self.record.age };
        let asked = (first..first + 3).map(|actor| actor % self.program.actors).collect();
        Instance::Anew(Anew { place, life: self.begun, of, asked })
    }

    /// Hears what it said before it died.
    fn died(&mut self, mut process: Process) -> Result<Option<Process>> {
        while let Some(said) = process.next(self.setup.patience)? {
            if let Said::Answer(op, answer) = said {
                self.answered(op, answer);
            }
        }
        match process.death()? {
            Death::Killed => Ok(None),
            Death::Aborted => bail!("the process has aborted"),
        }
    }

    /// What it released counts, whenever it did.
    fn bury(&mut self, ghost: Process) -> Result<()> {
        ghost.signal(Signal::SIGKILL)?;
        self.died(ghost).map(drop)
    }

    /// No process is there then, but for one that lives.
    pub(super) fn bury_ghost(&mut self) -> Result<()> {
        match self.ghost.take() {
            Some(ghost) => self.bury(ghost),
            None => Ok(()),
        }
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
        if self.answered(op, answer) {
            return Ok(());
        }
        if self.record.verdict.retried > RETRIES {
            bail!("{op:?} is sent again and again");
        }
        std::thread::sleep(PAUSE);
        match self.lanes.find(op) {
            Some(step) => self.send(process, op.0, &step),
            None => Ok(()),
        }
    }

    /// Whether the operation is over.
    fn answered(&mut self, op: (u32, u64), answer: Answer) -> bool {
        let Some(step) = self.lanes.find(op) else { return true };
        let over = match step.op {
            Op::Send { .. } => self.record.answered(step.number, answer),
            Op::NewLine(_) | Op::Anew(..) => self.record.answered_renewal(step.number, &answer),
        };
        if over {
            self.lanes.over(op);
        }
        over
    }

    fn send(&mut self, process: &mut Process, sender: u32, step: &Step) -> Result<()> {
        let op = (sender, step.number);
        match step.op {
            Op::Send { to, key, ask, deed } => {
                let note = self.record.send(step.number, sender, to, deed);
                process.order(&Order::Note { op, to, key, ask, note })
            }
            Op::NewLine(line) => {
                let instance = self.line(line);
                self.renew(process, op, instance)
            }
            Op::Anew(place, first) => {
                let instance = self.anew(step.number, place, first);
                self.renew(process, op, instance)
            }
        }
    }

    fn renew(&mut self, process: &mut Process, op: (u32, u64), instance: Instance) -> Result<()> {
        self.record.renew(op.1, &instance);
        process.order(&Order::Renew { op, instance })
    }
}
