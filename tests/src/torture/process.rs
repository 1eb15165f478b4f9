//! A process that is tortured.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wire::{Found, Order, Said};
use crate::proxy::Proxy;

/// What the actors have, and complaints.
pub(super) type Shown = (BTreeMap<u32, Found>, Vec<String>);

/// How a process died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    /// Of SIGKILL.
    Killed,
    /// Of a handler that aborts.
    Aborted,
}

impl Death {
    pub(super) fn of(status: ExitStatus) -> Option<Self> {
        match status.signal()? {
            9 => Some(Self::Killed),
            6 => Some(Self::Aborted),
            _ => None,
        }
    }
}

/// What was heard.
pub(super) enum Heard {
    Said(Said),
    /// So far.
    Nothing,
    Dead,
}

/// The process, its input, and what it says. Dies with this.
pub(super) struct Process {
    child: Child,
    orders: Option<ChildStdin>,
    said: Receiver<String>,
    /// Its way to the store, if that can be swallowed.
    network: Option<Proxy>,
}

impl Process {
    pub(super) fn start(command: &mut Command, network: Option<Proxy>) -> Result<Self> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("the process cannot be started")?;
        let stdout = child.stdout.take().context("it has no output")?;
        let orders = child.stdin.take();
        let (sender, said) = channel();
        std::thread::spawn(move || {
            // A line that a dying process did not finish is none.
            let mut lines = BufReader::new(stdout);
            let mut line = String::new();
            while matches!(lines.read_line(&mut line), Ok(1..)) && line.ends_with('\n') {
                if sender.send(std::mem::take(&mut line)).is_err() {
                    break;
                }
            }
        });
        Ok(Self { child, orders, said, network })
    }

    /// A process that is dead or dies hears nothing, which it says by dying.
    pub(super) fn order(&mut self, order: &Order) -> Result<()> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        if let Some(orders) = &mut self.orders {
            let _ = orders.write_all(&line);
        }
        Ok(())
    }

    /// What it says next. `None`: it is dead.
    pub(super) fn next(&self, patience: Duration) -> Result<Option<Said>> {
        match self.hear(patience)? {
            Heard::Said(said) => Ok(Some(said)),
            Heard::Dead => Ok(None),
            Heard::Nothing => bail!("silence for {patience:?}"),
        }
    }

    /// What it says within the given time.
    pub(super) fn hear(&self, time: Duration) -> Result<Heard> {
        match self.said.recv_timeout(time) {
            Ok(line) => Ok(Heard::Said(serde_json::from_str(&line)?)),
            Err(RecvTimeoutError::Disconnected) => Ok(Heard::Dead),
            Err(RecvTimeoutError::Timeout) => Ok(Heard::Nothing),
        }
    }

    /// What the actors have, and what the journals complain of. It ends then. `None`: it died.
    pub(super) fn show(&mut self, actors: u32, patience: Duration) -> Result<Option<Shown>> {
        self.order(&Order::Show(actors))?;
        let mut all = BTreeMap::new();
        while let Some(said) = self.next(patience)? {
            match said {
                Said::Ready | Said::Answer(..) | Said::Desks(..) => {}
                Said::Shown(actor, found) => drop(all.insert(actor, found)),
                Said::All(complaints) => {
                    let status = self.leave()?;
                    ensure!(status.success(), "the last process ended with {status}");
                    return Ok(Some((all, complaints)));
                }
            }
        }
        Ok(None)
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?)
    }

    /// Keeps it from the store until it is let [`go on`](Self::go_on): by the network, or by stopping it.
    pub(super) fn hold(&self) -> Result<()> {
        match &self.network {
            Some(network) => network.black_hole(true),
            None => self.signal(Signal::SIGSTOP)?,
        }
        Ok(())
    }

    pub(super) fn go_on(&self) -> Result<()> {
        match &self.network {
            Some(network) => network.black_hole(false),
            None => self.signal(Signal::SIGCONT)?,
        }
        Ok(())
    }

    /// It was to die; anything else is a failure of its own.
    pub(super) fn death(&mut self) -> Result<Death> {
        let status = self.child.wait()?;
        Death::of(status).with_context(|| format!("the process ended with {status}"))
    }

    /// Lets it end.
    pub(super) fn leave(&mut self) -> Result<ExitStatus> {
        self.orders = None;
        Ok(self.child.wait()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
