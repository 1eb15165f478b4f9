//! Many actors send to one at full rate, and processes are killed. `KILLS` says how often, `SOURCES` and
//! `EACH` how much is sent, `CRASH_SEED` when.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tests::tally::Tally;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|it| it.parse().unwrap())
}

struct World {
    _folder: tempfile::TempDir,
    store: String,
    sources: u64,
    each: u64,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("app.db").to_str().unwrap().to_owned();
        let (sources, each) = (number("SOURCES").unwrap_or(100), number("EACH").unwrap_or(300));
        Self { _folder: folder, store, sources, each }
    }

    fn child(&self, name: &str) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lines-child"));
        command.args([name, &self.store, &self.sources.to_string(), &self.each.to_string()]);
        command.env("RUST_LOG", "error").stdout(Stdio::piped()).spawn().unwrap()
    }

    /// Until it says that it has started.
    fn started(&self, name: &str) -> (Child, BufReader<impl Read + use<>>) {
        let mut child = self.child(name);
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "started\n");
        (child, output)
    }

    /// Runs to the end: each message was handled once, those of each sender in order.
    fn check(&self) {
        let (mut child, mut output) = self.started("last");
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert!(child.wait().unwrap().success());
        let tally: Tally = serde_json::from_str(&line).unwrap();
        assert_eq!(tally.violations, [""; 0]);
        assert_eq!(tally.count, self.sources * self.each);
        assert!(tally.last.values().all(|last| *last == self.each));
    }
}

#[test]
fn a_hundred_senders_reach_one_actor_once_and_in_order_though_both_sides_are_killed() {
    let seed = number("CRASH_SEED").unwrap_or_else(rand::random);
    println!("CRASH_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let world = World::new();
    // Two nodes, so that the shards of either side may be the one's or the other's.
    let mut nodes: Vec<_> = (0..2).map(|n| world.started(&format!("node-{n}"))).collect();
    let kills = number("KILLS").unwrap_or(20);
    let mut killed_at_work = 0;
    for kill in 0..kills {
        std::thread::sleep(Duration::from_millis(random.random_range(0..400)));
        let n = random.random_range(0..2);
        killed_at_work += u64::from(nodes[n].0.try_wait().unwrap().is_none());
        nodes[n].0.kill().unwrap();
        nodes[n].0.wait().unwrap();
        nodes[n] = world.started(&format!("again-{kill}"));
    }
    for (node, _) in &mut nodes {
        node.kill().unwrap();
        node.wait().unwrap();
    }
    println!("killed {killed_at_work} times at work");
    assert!(killed_at_work > 0);
    world.check();
}
