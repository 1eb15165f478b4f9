//! Promises 1 to 6 under SIGKILL, at random moments and at named points.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tests::{Kill, KilledBy, Parent};

/// Random kills over all adapters together.
const RANDOM_KILLS: usize = 201;

const ADAPTERS: [&str; 3] = ["actix-context", "actix-wrapper", "tower"];

fn parent(adapter: &'static str) -> (Parent, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Parent::new(env!("CARGO_BIN_EXE_crash-child"), adapter, folder.path()), folder)
}

#[test]
fn random_kills_lose_nothing_repeat_nothing_and_keep_the_order() {
    let seed = match std::env::var("CRASH_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => rand::random(),
    };
    println!("CRASH_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for adapter in ADAPTERS {
        let (mut parent, _folder) = parent(adapter);
        let kills = RANDOM_KILLS.div_ceil(ADAPTERS.len());
        for kill in 0..kills {
            let lines = random.random_range(0..400);
            let delay = Duration::from_micros(random.random_range(0..3000));
            parent.run(&Kill::After(lines, delay)).unwrap();
            // Now and then a look in between, by a process that is not killed.
            if kill % 20 == 19 {
                parent.check().unwrap();
            }
        }
        let totals = parent.check().unwrap();
        println!("{adapter}: {kills} kills, {totals:?}");
        assert!(totals.acknowledged > kills as u64, "the children did not get to work");
    }
}

/// Kills at the nth pass of a point, for several n, in every adapter.
fn kills_at(point: &'static str, hits: &[u64]) {
    for adapter in ADAPTERS {
        let (mut parent, _folder) = parent(adapter);
        // Something to recover.
        parent.run(&Kill::After(100, Duration::ZERO)).unwrap();
        for hits in hits {
            parent.run(&Kill::At(point, *hits)).unwrap();
            parent.check().unwrap();
            // A check is a clean life, so the next one needs a tail to recover again.
            parent.run(&Kill::After(20, Duration::ZERO)).unwrap();
        }
        parent.check().unwrap();
    }
}

#[test]
fn killed_before_a_commit_is_written() {
    kills_at("before-append", &[1, 2, 3, 10, 50]);
}

#[test]
fn killed_after_a_commit_is_written() {
    kills_at("after-append", &[1, 2, 3, 10, 50]);
}

#[test]
fn killed_before_a_reply_is_released() {
    kills_at("before-reply", &[1, 2, 3, 10, 50]);
}

#[test]
fn killed_during_a_checkpoint() {
    kills_at("during-checkpoint", &[1, 2, 3, 7]);
}

/// How many commits there are to recover depends on how the disk groups them, so a life may open
/// without having passed the point so often; it is then killed and another tail is written.
#[test]
fn killed_during_recovery() {
    for adapter in ADAPTERS {
        let (mut parent, _folder) = parent(adapter);
        for hits in [1, 2, 5] {
            let mut lines = 20;
            loop {
                parent.run(&Kill::After(lines, Duration::ZERO)).unwrap();
                let by = parent.run(&Kill::Opening("during-recovery", hits)).unwrap();
                if by == KilledBy::Itself {
                    break;
                }
                lines += 20;
                assert!(lines < 1000, "{adapter}: no life recovered {hits} commits");
            }
            parent.check().unwrap();
        }
    }
}
