//! Every promise of a store, on every store. Those in PostgreSQL need `DATABASE_URL`, a database in
//! which schemas can be made; without it they are reported as ignored.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::sync::Arc;

use duroxide::providers::Provider;
use duroxide::providers::sqlite::SqliteProvider;
use libtest_mimic::{Arguments, Trial};
use shared_journal::portable::PortableActorProvider;
use shared_journal::provider_test::{CASES, Case};
use shared_journal::sqlite::SqliteActorProvider;
use shared_journal::test_util::MemoryActorProvider;
use shared_journal::{ActorProvider, Durability, attach};
use tests::postgres::{Schema, database_url};

fn main() {
    let url = database_url();
    let trials = CASES.iter().flat_map(|case| {
        let (here, there) = (url.clone().unwrap_or_default(), url.clone().unwrap_or_default());
        let trial = |store, run: Box<dyn FnOnce() + Send>| {
            Trial::test(format!("{store}::{}", case.name), move || {
                run();
                Ok(())
            })
        };
        let skip = url.is_none();
        [
            trial("sqlite_file", Box::new(|| sqlite_file(case))),
            trial("sqlite_memory", Box::new(|| sqlite_memory(case))),
            trial("memory", Box::new(|| memory(case))),
            trial("portable_sqlite", Box::new(|| portable_sqlite(case))),
            trial("postgres", Box::new(move || postgres(case, &here))).with_ignored_flag(skip),
            trial("portable_postgres", Box::new(move || portable_postgres(case, &there)))
                .with_ignored_flag(skip),
        ]
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit();
}

fn sqlite_file(case: &Case) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.actors.db");
    case.run(&|| SqliteActorProvider::open(&path, Durability::PowerLoss).unwrap());
}

fn sqlite_memory(case: &Case) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let provider: Arc<dyn Provider> =
        Arc::new(runtime.block_on(SqliteProvider::new_in_memory()).unwrap());
    case.run(&|| attached(&provider));
}

fn memory(case: &Case) {
    let store = MemoryActorProvider::new();
    case.run(&|| store.clone());
}

fn postgres(case: &Case, url: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let schema = runtime.block_on(Schema::create(url)).unwrap();
    case.run(&|| attached(&schema.provider()));
    runtime.block_on(schema.drop()).unwrap();
}

/// The history of duroxide's own tables, through its trait.
fn portable_sqlite(case: &Case) {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}?mode=rwc", dir.path().join("app.db").display());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let provider: Arc<dyn Provider> =
        Arc::new(runtime.block_on(SqliteProvider::new(&url, None)).unwrap());
    case.run(&|| PortableActorProvider::new(provider.clone()));
}

fn portable_postgres(case: &Case, url: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let schema = runtime.block_on(Schema::create(url)).unwrap();
    // duroxide-pg 0.1.38 appends history without the time that its migration 12 made mandatory.
    runtime
        .block_on(schema.execute("ALTER TABLE history ALTER created_at SET DEFAULT now()"))
        .unwrap();
    case.run(&|| PortableActorProvider::new(schema.provider()));
    runtime.block_on(schema.drop()).unwrap();
}

fn attached(provider: &Arc<dyn Provider>) -> Arc<dyn ActorProvider> {
    attach(provider, Durability::PowerLoss).unwrap()
}
