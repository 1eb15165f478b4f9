//! The parent: starts children, kills them, and remembers what they said.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::ledger::{Ledger, Slot};
use crate::protocol::{Line, is_tell};

/// A child that lives longer is not going to be killed, and the test fails.
const LIFE: Duration = Duration::from_secs(120);

/// When a child dies.
#[derive(Debug, Clone)]
pub enum Kill {
    /// By the parent, some time after the child has said so many lines.
    After(u64, Duration),
    /// By itself, the nth time it passes a named point.
    At(&'static str, u64),
    /// By itself, the nth time it passes the named point before it is ready, and if that does not
    /// come, by the parent as soon as it is ready.
    Opening(&'static str, u64),
}

/// Who killed a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KilledBy {
    /// The parent.
    Parent,
    /// The child itself, at its named point.
    Itself,
}

/// The outside record.
#[derive(Debug)]
pub struct Parent {
    child: PathBuf,
    adapter: &'static str,
    store: String,
    /// Every reply that was released, by message.
    replies: BTreeMap<(Slot, u64), u64>,
    /// The last message of each sender that was acknowledged, all before it included.
    acknowledged: BTreeMap<Slot, u64>,
}

/// What the last look at the store found.
#[derive(Debug, Default)]
pub struct Totals {
    /// Messages acknowledged over all children.
    pub acknowledged: u64,
    /// Messages in the actors' states.
    pub handled: u64,
}

impl Parent {
    /// A parent of children of the program `child`, on a store: a path, or the address of a
    /// [`Schema`](crate::postgres::Schema).
    #[must_use]
    pub fn new(child: impl Into<PathBuf>, adapter: &'static str, store: impl Into<String>) -> Self {
        Self {
            child: child.into(),
            adapter,
            store: store.into(),
            replies: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
        }
    }

    /// Runs one child until it is killed, and records what it said.
    ///
    /// # Errors
    /// The child broke a promise, died of something else, or lives too long.
    pub fn run(&mut self, kill: &Kill) -> Result<KilledBy> {
        let mut command = self.command();
        command.arg("send");
        for (slot, number) in &self.acknowledged {
            command.arg(format!("{} {} {number}", slot.actor, slot.sender));
        }
        if let Kill::At(point, hits) | Kill::Opening(point, hits) = kill {
            command.env("CRASH_POINT", point).env("CRASH_HITS", hits.to_string());
        }
        let mut child = command.spawn().context("the child cannot be started")?;
        let end = Instant::now() + LIFE;
        let said = lines_of(&mut child)?;
        let mut lines = 0;
        let mut by = KilledBy::Itself;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = match said.recv_timeout(left) {
                Err(RecvTimeoutError::Disconnected) => break,
                Ok(line) if !left.is_zero() => line?,
                _ => {
                    child.kill().context("kill")?;
                    anyhow::bail!("the child lives after {lines} lines and was to die: {kill:?}");
                }
            };
            self.record(line.parse()?)?;
            lines += 1;
            let delay = match kill {
                Kill::After(after, delay) if lines > *after => *delay,
                Kill::Opening(..) => Duration::ZERO,
                _ => continue,
            };
            if by == KilledBy::Itself {
                // The random moment itself, not a wait for anything.
                std::thread::sleep(delay);
                child.kill().context("kill")?;
                by = KilledBy::Parent;
            }
        }
        ensure_killed(&mut child)?;
        Ok(by)
    }

    fn record(&mut self, line: Line) -> Result<()> {
        match line {
            Line::Ready => {}
            Line::Replied(slot, number, reply) => {
                // A message that is asked again has the reply it had.
                let first = *self.replies.entry((slot, number)).or_insert(reply);
                ensure!(
                    first == reply,
                    "message {number} of {slot:?} was answered with {first}, and again with {reply}"
                );
                self.acknowledge(slot, number);
            }
            Line::Received(slot, number) => self.acknowledge(slot, number),
        }
        Ok(())
    }

    /// Senders say their lines in order, so everything before is acknowledged too.
    fn acknowledge(&mut self, slot: Slot, number: u64) {
        let last = self.acknowledged.entry(slot).or_default();
        *last = number.max(*last);
    }

    /// Lets a last child look at the actors, undisturbed, and compares with the record.
    ///
    /// # Errors
    /// A promise was broken.
    pub fn check(&self) -> Result<Totals> {
        let output = self.command().arg("show").output().context("the child cannot be started")?;
        ensure!(output.status.success(), "the last child ended with {}", output.status);
        let mut totals = Totals::default();
        let mut ledgers = BTreeMap::new();
        for line in String::from_utf8(output.stdout)?.lines() {
            let (actor, ledger) = line.split_once(' ').context("the child said nothing")?;
            let ledger: Ledger = serde_json::from_str(ledger)?;
            ensure!(
                ledger.misplaced.is_empty(),
                "actor {actor} handled messages twice or out of order: {:?}",
                ledger.misplaced
            );
            let sum: u64 = ledger.last.values().sum();
            ensure!(sum == ledger.total, "actor {actor} counts {} of {sum}", ledger.total);
            totals.handled += ledger.total;
            ledgers.insert(actor.parse::<u32>()?, ledger);
        }
        for (slot, number) in &self.acknowledged {
            let handled =
                ledgers.get(&slot.actor).and_then(|it| it.last.get(&slot.sender)).copied();
            ensure!(
                handled >= Some(*number),
                "{slot:?}: acknowledged up to {number}, handled up to {handled:?}"
            );
            totals.acknowledged += number;
        }
        self.check_replies()?;
        Ok(totals)
    }

    /// Replies count an actor's messages: no two are the same, and a sender's grow.
    fn check_replies(&self) -> Result<()> {
        let mut seen = BTreeMap::new();
        let mut last: BTreeMap<Slot, u64> = BTreeMap::new();
        for ((slot, number), reply) in &self.replies {
            ensure!(!is_tell(*number), "a told message was answered");
            if let Some(other) = seen.insert((slot.actor, *reply), (slot, number)) {
                anyhow::bail!("{other:?} and {:?} have the same reply {reply}", (slot, number));
            }
            let before = last.insert(*slot, *reply);
            ensure!(before < Some(*reply), "{slot:?}: the reply of {number} is out of order");
        }
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.child);
        command.arg(self.adapter).arg(&self.store).stdout(Stdio::piped()).stdin(Stdio::null());
        command
    }
}

/// What a child says, read by a thread, so that silence can be told.
fn lines_of(child: &mut Child) -> Result<Receiver<std::io::Result<String>>> {
    let stdout = child.stdout.take().context("the child has no output")?;
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    Ok(receiver)
}

/// A child that ended otherwise has something to say on its standard error.
fn ensure_killed(child: &mut Child) -> Result<()> {
    use std::os::unix::process::ExitStatusExt;
    let status = child.wait()?;
    ensure!(status.signal() == Some(9), "the child ended with {status}, not by SIGKILL");
    Ok(())
}
