//! Promises 1 to 6 under SIGKILL, at random moments and at named points, on every store. Those in
//! PostgreSQL need `DATABASE_URL`; without it they are reported as ignored.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tests::postgres::{Schema, database_url};
use tests::{Kill, KilledBy, Parent};

const ADAPTERS: [&str; 3] = ["actix-context", "actix-wrapper", "tower"];

/// What a test does with a store, told where it is.
type Use<'a> = &'a mut dyn FnMut(&str);

/// A kind of store: makes an empty one and calls the test with where it is.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    with_empty: fn(Use<'_>),
    /// Random kills over all adapters together.
    random_kills: usize,
}

const SQLITE: Kind = Kind { name: "sqlite", with_empty: with_file, random_kills: 201 };
/// In the history of duroxide's SQLite provider.
const PORTABLE: Kind = Kind { name: "portable", with_empty: with_history, random_kills: 60 };
/// Every life connects and looks at duroxide's schema first, so there are fewer.
const POSTGRES: Kind = Kind { name: "postgres", with_empty: with_schema, random_kills: 60 };

type Test = fn(Kind);

const TESTS: [(&str, Test); 6] = [
    ("random_kills_lose_nothing_repeat_nothing_and_keep_the_order", random_kills),
    ("killed_before_a_commit_is_written", |kind| {
        kills_at(kind, "before-append", &[1, 2, 3, 10, 50]);
    }),
    ("killed_after_a_commit_is_written", |kind| {
        kills_at(kind, "after-append", &[1, 2, 3, 10, 50]);
    }),
    ("killed_before_a_reply_is_released", |kind| {
        kills_at(kind, "before-reply", &[1, 2, 3, 10, 50]);
    }),
    ("killed_during_a_checkpoint", |kind| kills_at(kind, "during-checkpoint", &[1, 2, 3, 7])),
    ("killed_during_recovery", kills_during_recovery),
];

/// What only the portable store does.
const OF_SEGMENTS: [(&str, Test); 3] = [
    ("killed_before_a_segment_is_sealed", |kind| kills_at(kind, "before-seal", &[1, 2, 3])),
    ("killed_after_a_segment_is_sealed", |kind| kills_at(kind, "after-seal", &[1, 2, 3])),
    ("killed_before_a_segment_is_deleted", |kind| kills_at(kind, "before-delete", &[1, 2, 3])),
];

fn main() {
    let all =
        [(SQLITE, &TESTS[..]), (PORTABLE, &TESTS), (PORTABLE, &OF_SEGMENTS), (POSTGRES, &TESTS)];
    let trials = all.into_iter().flat_map(|(kind, tests)| {
        tests.iter().map(move |&(name, test)| {
            let skip = kind.name == POSTGRES.name && database_url().is_none();
            Trial::test(format!("{}::{name}", kind.name), move || {
                test(kind);
                Ok(())
            })
            .with_ignored_flag(skip)
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

fn with_file(test: Use<'_>) {
    let folder = tempfile::tempdir().unwrap();
    test(folder.path().join("app.db").to_str().unwrap());
}

fn with_history(test: Use<'_>) {
    with_file(&mut |path| test(&format!("{}{path}", tests::protocol::PORTABLE)));
}

fn with_schema(test: Use<'_>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let schema = runtime.block_on(Schema::create(&database_url().unwrap())).unwrap();
    test(&schema.address());
    runtime.block_on(schema.drop()).unwrap();
}

/// Runs a test with a parent of its own for each adapter, each on an empty store.
fn each_adapter(kind: Kind, mut test: impl FnMut(&'static str, Parent)) {
    for adapter in ADAPTERS {
        (kind.with_empty)(&mut |store| {
            test(adapter, Parent::new(env!("CARGO_BIN_EXE_crash-child"), adapter, store));
        });
    }
}

fn random_kills(kind: Kind) {
    let seed = match std::env::var("CRASH_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => rand::random(),
    };
    println!("CRASH_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    each_adapter(kind, |adapter, mut parent| {
        let kills = kind.random_kills.div_ceil(ADAPTERS.len());
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
        println!("{} {adapter}: {kills} kills, {totals:?}", kind.name);
        assert!(totals.acknowledged > kills as u64, "the children did not get to work");
    });
}

/// Kills at the nth pass of a point, for several n, in every adapter.
fn kills_at(kind: Kind, point: &'static str, hits: &[u64]) {
    each_adapter(kind, |_, mut parent| {
        // Something to recover.
        parent.run(&Kill::After(100, Duration::ZERO)).unwrap();
        for hits in hits {
            parent.run(&Kill::At(point, *hits)).unwrap();
            parent.check().unwrap();
            // A check is a clean life, so the next one needs a tail to recover again.
            parent.run(&Kill::After(20, Duration::ZERO)).unwrap();
        }
        parent.check().unwrap();
    });
}

/// How many commits there are to recover depends on how the store groups them, so a life may open
/// without having passed the point so often; it is then killed and another tail is written.
fn kills_during_recovery(kind: Kind) {
    each_adapter(kind, |adapter, mut parent| {
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
    });
}
