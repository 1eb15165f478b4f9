//! Nodes of a cluster that are killed, stopped for longer than their lease, cut off from the database, and
//! swallowed by the network, while three senders are at work. Needs `DATABASE_URL`; without it the test is reported
//! as ignored. `FAILOVERS` says how many, `CRASH_SEED` which.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use shared_journal::cluster::{self, ClusterStore};
use shared_journal::{
    ActorId, Codec, Durability, DurableMessage, DurableState, MessageKey, Payload, attach,
};
use tests::postgres::{Schema, database_url};
use tests::proxy::Proxy;
use tests::tally::{ACTORS, Get, Said, Tally};
use todc_utils::linearizability::WGLChecker;
use todc_utils::linearizability::history::{Action, History};
use todc_utils::specifications::Specification;
use tokio::runtime::Runtime;

const NODES: usize = 3;
const SHARDS: u32 = 6;
const LEASE: Duration = Duration::from_millis(900);
/// A test that waits for longer than this for anything will wait for ever.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let test = Trial::test("nothing_is_lost_and_every_actor_is_linearizable", || {
        failovers();
        Ok(())
    });
    let trials = vec![test.with_ignored_flag(database_url().is_none())];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// What happens to a node.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill,
    Stop,
    CutOff,
    /// The network swallows what it says and what it is told.
    Swallow,
}

/// A node that the network has swallowed comes back when its patience is over, which takes seconds: not as many.
const FAULTS: [(Fault, u32); 4] =
    [(Fault::Kill, 3), (Fault::Stop, 3), (Fault::CutOff, 3), (Fault::Swallow, 1)];

fn failovers() {
    let number = |name: &str| std::env::var(name).ok().map(|it| it.parse::<u64>().unwrap());
    let seed = number("CRASH_SEED").unwrap_or_else(rand::random);
    let failovers = number("FAILOVERS").unwrap_or(100);
    println!("CRASH_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let runtime = Runtime::new().unwrap();
    let schema = runtime.block_on(Schema::create(&database_url().unwrap())).unwrap();
    let provider = schema.provider();
    let store = {
        let _context = runtime.enter();
        attach(&provider, Durability::PowerLoss).unwrap().cluster().unwrap()
    };
    let client = cluster::Cluster::builder("tallies", SHARDS).node("client");
    let client = runtime.block_on(client.join(provider)).unwrap();
    let cluster = Cluster { runtime, store, client, said: Arc::default() };

    let mut nodes: Vec<_> = (0..NODES).map(|no| Node::start(&cluster, &schema, no)).collect();
    for node in &nodes {
        cluster.wait("the node to have a shard", || cluster.shards_of(&node.name) > 0);
    }
    let mut counts = BTreeMap::new();
    let mut back = BTreeMap::new();
    let mut handed_over = Vec::new();
    for failover in 0..failovers {
        if failover % 5 == 4 {
            // In between one leaves of its own accord.
            let leaver = random.random_range(0..NODES);
            let begin = Instant::now();
            drop(nodes[leaver].input.take());
            let name = nodes[leaver].name.clone();
            cluster.wait("the others to have all", || {
                cluster.shards_of(&name) == 0 && cluster.shards_of("node") == SHARDS as usize
            });
            cluster.ask_all();
            handed_over.push(begin.elapsed());
            nodes[leaver].reap();
            nodes[leaver] = Node::start(&cluster, &schema, leaver);
            let name = nodes[leaver].name.clone();
            cluster.wait("the node to have a shard again", || cluster.shards_of(&name) > 0);
        }
        let victim = random.random_range(0..NODES);
        let (fault, _) = *FAULTS.choose_weighted(&mut random, |(_, weight)| *weight).unwrap();
        *counts.entry(format!("{fault:?}")).or_insert(0) += 1;
        let node = &mut nodes[victim];
        // At any moment of whatever is going on.
        std::thread::sleep(Duration::from_millis(random.random_range(0..50)));
        match fault {
            Fault::Kill => node.process.kill().unwrap(),
            Fault::Stop => node.signal(Signal::SIGSTOP),
            Fault::CutOff => {
                node.proxy.refuse(true);
                // What it writes now is written, and it does not hear of it.
                node.proxy.mute(true);
                std::thread::sleep(Duration::from_millis(200));
                node.proxy.cut();
                node.proxy.mute(false);
            }
            Fault::Swallow => node.proxy.black_hole(true),
        }
        let name = node.name.clone();
        cluster.wait("the others to take over", || cluster.shards_of(&name) == 0);
        match fault {
            Fault::Kill => {
                node.reap();
                let restarted = Node::start(&cluster, &schema, victim);
                *node = restarted;
            }
            Fault::Stop => node.signal(Signal::SIGCONT),
            Fault::CutOff => node.proxy.refuse(false),
            Fault::Swallow => node.proxy.black_hole(false),
        }
        let name = nodes[victim].name.clone();
        let begin = Instant::now();
        cluster.wait("the node to have a shard again", || cluster.shards_of(&name) > 0);
        let longest = back.entry(format!("{fault:?}")).or_insert(Duration::ZERO);
        *longest = begin.elapsed().max(*longest);
    }
    for node in nodes {
        node.leave();
    }
    let tallies = show(&schema);
    let said = std::mem::take(&mut *cluster.said.lock().unwrap());
    handed_over.sort_unstable();
    println!("{counts:?}, {} lines; handed over in {handed_over:?}", said.len());
    println!("had a shard again after, at most, {back:?}");
    for (actor, tally) in (0..).zip(&tallies) {
        check(actor, tally, &said);
    }
    cluster.runtime.block_on(schema.drop()).unwrap();
}

struct Cluster {
    runtime: Runtime,
    store: Arc<dyn ClusterStore>,
    /// A node that only sends.
    client: cluster::Cluster,
    said: Arc<Mutex<Vec<Said>>>,
}

impl Cluster {
    /// Asks every actor something and waits for the answers.
    fn ask_all(&self) {
        let asked = (0..ACTORS).map(|actor| async move {
            let actor = ActorId::new(Tally::ACTOR_TYPE, actor.to_string());
            let payload = Payload::encode(Codec::Json, &Get).unwrap();
            self.client.ask(&actor, MessageKey::Anonymous, Get::NAME, payload).await.unwrap();
        });
        self.runtime.block_on(futures::future::join_all(asked));
    }

    /// How many shards are leased to nodes of this name.
    fn shards_of(&self, name: &str) -> usize {
        let leases = self.runtime.block_on(self.store.leases()).unwrap();
        leases
            .iter()
            .filter(|lease| lease.runs)
            .filter(|lease| lease.node.as_ref().is_some_and(|node| node.starts_with(name)))
            .count()
    }

    fn wait(&self, what: &str, condition: impl Fn() -> bool) {
        let begin = Instant::now();
        while !condition() {
            assert!(begin.elapsed() < PATIENCE, "waited for {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A process, and its way to the database.
struct Node {
    name: String,
    process: Child,
    input: Option<ChildStdin>,
    reader: Option<JoinHandle<()>>,
    proxy: Proxy,
}

/// Every life has other senders.
static LIVES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);

impl Node {
    fn start(cluster: &Cluster, schema: &Schema, no: usize) -> Self {
        let life = LIVES.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let name = format!("node{no}.{life}.");
        let server = schema.server();
        let proxy = cluster.runtime.block_on(Proxy::start(server.clone())).unwrap();
        let address = schema.address().replace(&server, &proxy.address().to_string());
        let mut process = child(&name, &address, &(life * 1000).to_string());
        let input = process.stdin.take();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut ready = String::new();
        output.read_line(&mut ready).unwrap();
        assert_eq!(ready, "ready\n");
        let said = cluster.said.clone();
        let reader = std::thread::spawn(move || {
            for line in output.lines() {
                let line = line.unwrap().parse().unwrap();
                said.lock().unwrap().push(line);
            }
        });
        Self { name, process, input, reader: Some(reader), proxy }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.process.id()).unwrap()), signal).unwrap();
    }

    /// Waits for its end, and for what it said.
    fn reap(&mut self) {
        let _ = self.process.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
    }

    fn leave(mut self) {
        drop(self.input.take());
        self.reap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Of a test that failed, or it is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn child(name: &str, store: &str, action: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_cluster-child"))
        .args([name, store, &LEASE.as_millis().to_string(), action])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

fn show(schema: &Schema) -> Vec<Tally> {
    let mut process = child("show", &schema.address(), "show");
    let mut output = String::new();
    process.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert!(process.wait().unwrap().success());
    output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A counter: `Add` answers with the new count, `Get` with the count. An operation without an
/// answer may have been handled at any time after its call.
struct Counter;

#[derive(Debug, Clone, Copy)]
enum Operation {
    Add(Option<u64>),
    Get(Option<u64>),
}

impl Specification for Counter {
    type State = u64;
    type Operation = Operation;

    fn init() -> u64 {
        0
    }

    fn apply(operation: &Operation, state: &u64) -> (bool, u64) {
        match operation {
            Operation::Add(result) => (result.is_none_or(|it| it == state + 1), state + 1),
            Operation::Get(result) => (result.is_none_or(|it| it == *state), *state),
        }
    }
}

/// What the senders saw of an actor, against what it has.
fn check(actor: u32, tally: &Tally, said: &[Said]) {
    assert_eq!(tally.violations, [""; 0], "actor {actor}: every sender's numbers, one by one");
    let mut calls = BTreeMap::new();
    let mut returns = BTreeMap::new();
    for said in said {
        match *said {
            Said::Call { operation, actor: to, sender, number, at } if to == actor => {
                calls.insert((sender, operation), (number, at));
            }
            Said::Return { operation, actor: to, sender, result, at } if to == actor => {
                returns.insert((sender, operation), (result, at));
            }
            _ => {}
        }
    }
    let applied =
        |sender: u32, number: u64| tally.last.get(&sender).is_some_and(|it| *it >= number);
    let mut actions = Vec::new();
    let (mut answered, mut unknown) = (0, 0);
    for (process, ((sender, operation), (number, called))) in calls.into_iter().enumerate() {
        let returned = returns.get(&(sender, operation)).copied();
        match (number, returned) {
            (Some(number), Some(_)) => {
                assert!(applied(sender, number), "actor {actor}: {number} of {sender} is lost");
            }
            // It was not handled, and nobody was told that it was.
            (Some(number), None) if !applied(sender, number) => continue,
            (None, None) => continue,
            _ => {}
        }
        let of = |result| match number {
            Some(_) => Operation::Add(result),
            None => Operation::Get(result),
        };
        answered += u64::from(returned.is_some());
        unknown += u64::from(returned.is_none());
        actions.push((called, process, Action::Call(of(None))));
        let (result, at) = returned.map_or((None, u64::MAX), |(result, at)| (Some(result), at));
        actions.push((at, process, Action::Response(of(result))));
    }
    actions.sort_by_key(|(at, ..)| *at);
    println!("actor {actor}: {answered} answered, {unknown} handled and not answered");
    assert!(answered > 0, "actor {actor} was not asked");
    let history = History::from_actions(
        actions.into_iter().map(|(_, process, action)| (process, action)).collect(),
    );
    assert!(WGLChecker::<Counter>::is_linearizable(history), "actor {actor} is not linearizable");
}
