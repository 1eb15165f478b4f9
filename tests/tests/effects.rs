//! What actors do besides changing their state, in a process that is killed: at every durable step of
//! every arrow between actors and workflows, before it and after it, and at random moments. `KILLS`
//! says how many of those, `HUBS` how many actors do everything at once, `CRASH_SEED` when.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tests::tally::Tally;

/// The points, in the order in which what a handler sends passes them.
const POINTS: [&str; 19] = [
    // The handler's commit, with all that it sends.
    "before-append",
    "after-append",
    // From the outbox to the receiver's journal, or to the inbox.
    "before-relay",
    "before-delivered",
    "after-delivered",
    // From the inbox to duroxide: starts, cancellations, and mail.
    "before-instance",
    "after-instance",
    "after-settle",
    "after-mail",
    // From an instance to its lane: the mail is read.
    "before-ring",
    "after-ring",
    // From duroxide to an actor: what workflows and timers tell and ask, and the reply.
    "before-activity",
    "after-activity",
    "before-reply",
    "after-reply",
    // From an actor that is an orchestration to who asked it.
    "before-answer",
    "after-answer",
    // A side effect.
    "before-step",
    "after-step",
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|it| it.parse().unwrap())
}

struct World {
    _folder: tempfile::TempDir,
    store: String,
    hubs: u64,
}

impl World {
    fn new(hubs: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("app.db").to_str().unwrap().to_owned();
        Self { _folder: folder, store, hubs }
    }

    fn child(&self, point: Option<(&str, u64)>) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_effects-child"));
        command.args([&self.store, &self.hubs.to_string()]).env("RUST_LOG", "error");
        if let Some((point, hits)) = point {
            command.env("CRASH_POINT", point).env("CRASH_HITS", hits.to_string());
        }
        command.stdout(Stdio::piped()).spawn().unwrap()
    }

    /// Runs it to its end and checks what happened. `effects`: at most so many side effects happened
    /// twice, because the process died before they were recorded.
    fn check(&self, effects: usize) {
        let mut process = self.child(None);
        let mut output = String::new();
        process.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        assert!(process.wait().unwrap().success());
        let lines: Vec<&str> = output.lines().skip(1).collect();
        let each = usize::try_from(self.hubs).unwrap();
        let (hubs, others) = lines.split_at(each);
        let (tallies, sums) = others.split_at(each);
        assert_eq!(sums, vec![r#"{"Ok":[4,10]}"#; each]);
        for (n, (hub, tally)) in (0..).zip(hubs.iter().zip(tallies)) {
            let hub: Value = serde_json::from_str(hub).unwrap();
            let result =
                serde_json::json!({"instance": format!("listen/{n}"), "result": {"Ok": "6"}});
            let expected = serde_json::json!({
                "hub": n, "begun": 1, "charged": [true], "ticks": 1, "results": [result],
                "timer": null,
            });
            assert_eq!(hub, expected);
            let tally: Tally = serde_json::from_str(tally).unwrap();
            assert_eq!(tally.violations, [""; 0], "{tally:?}");
            assert_eq!(tally.count, 5 + 3 + 1);
        }
        let lines = std::fs::read_to_string(format!("{}.effects", self.store)).unwrap();
        for n in 0..self.hubs {
            assert!(lines.lines().any(|line| line == n.to_string()), "{n} had its effect");
        }
        let twice = lines.lines().count() - hubs.len();
        assert!(twice <= effects, "{twice} side effects happened twice");
    }
}

#[test]
fn everything_happens_once_though_the_process_is_killed_at_every_step() {
    for point in POINTS {
        // Alone, none dies between its side effect and the recording.
        let (hubs, effects) = if point == "after-step" { (1, 0) } else { (3, 9) };
        let world = World::new(hubs);
        let mut killed = 0;
        for hits in [1, 2, 4] {
            let status = world.child(Some((point, hits))).wait().unwrap();
            killed += u64::from(status.signal() == Some(9));
        }
        assert!(killed > 0, "{point} was not passed");
        world.check(effects);
        println!("{point}: killed {killed} times");
    }
}

#[test]
fn everything_happens_once_though_the_process_is_killed_at_random() {
    let seed = number("CRASH_SEED").unwrap_or_else(rand::random);
    let (hubs, kills) = (number("HUBS").unwrap_or(20), number("KILLS").unwrap_or(12));
    println!("CRASH_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let world = World::new(hubs);
    let mut killed_at_work = 0;
    for _ in 0..kills {
        let mut process = world.child(None);
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "started\n");
        // At any moment of whatever is going on.
        std::thread::sleep(Duration::from_millis(random.random_range(0..600)));
        killed_at_work += u64::from(process.try_wait().unwrap().is_none());
        process.kill().unwrap();
        process.wait().unwrap();
    }
    println!("killed {killed_at_work} times at work");
    assert!(killed_at_work > 0);
    world.check(usize::try_from(kills * hubs).unwrap());
}
