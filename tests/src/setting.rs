//! What tests of a database far away have: a schema, a way there that can be disturbed, and an actor.

#![expect(clippy::unwrap_used, reason = "a part of tests, which say what went wrong by panicking")]

use std::sync::Arc;

use duroxide_pg::PostgresProvider;
use duroxide_tower::{ActorContext, DurableActor, DurableMessage, DurableState, async_trait};
use libtest_mimic::{Arguments, Trial};
use serde::{Deserialize, Serialize};
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use tokio::runtime::Runtime;

use crate::postgres::{Schema, database_url};
use crate::proxy::Proxy;

/// A schema of its own, and a runtime.
#[derive(Debug)]
pub struct Setting {
    /// Drives what is asynchronous.
    pub runtime: Runtime,
    /// Where the store is.
    pub schema: Schema,
    /// How the server is reached without a proxy.
    pub options: PgConnectOptions,
}

impl Setting {
    /// On the server of this URL.
    ///
    /// # Panics
    /// The server cannot be reached.
    #[must_use]
    pub fn new(url: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let schema = runtime.block_on(Schema::create(url)).unwrap();
        Self { runtime, schema, options: url.parse().unwrap() }
    }

    /// Removes the schema.
    ///
    /// # Panics
    /// The server cannot be reached.
    pub fn end(self) {
        self.runtime.block_on(self.schema.drop()).unwrap();
    }

    /// A way to the server.
    ///
    /// # Panics
    /// There is no port for it.
    pub async fn proxy(&self) -> Proxy {
        Proxy::start(self.schema.server()).await.unwrap()
    }

    /// The store, as it is seen through a proxy with these options.
    ///
    /// # Panics
    /// The server cannot be reached.
    pub async fn through(
        &self,
        proxy: &Proxy,
        options: &PgConnectOptions,
    ) -> Arc<PostgresProvider> {
        let through = options.clone().host("127.0.0.1").port(proxy.address().port());
        let url = through.to_url_lossy().to_string();
        let provider = PostgresProvider::new_with_schema(&url, Some(self.schema.name()));
        Arc::new(provider.await.unwrap())
    }

    /// Runs a statement; `{schema}` in it is the name of the schema.
    ///
    /// # Panics
    /// The server does not like it.
    pub async fn sql(&self, statement: &str) {
        let mut connection = self.options.connect().await.unwrap();
        let statement = statement.replace("{schema}", self.schema.name());
        sqlx::raw_sql(&statement).execute(&mut connection).await.unwrap();
    }
}

/// A test, by its name.
pub type Named = (&'static str, fn(&Setting));

/// Runs tests, each with a setting of its own. Without `DATABASE_URL` they are reported as ignored.
///
/// # Panics
/// The server cannot be reached.
pub fn run(tests: &[Named]) -> ! {
    let trials = tests.iter().map(|(name, test)| {
        let (url, test) = (database_url(), *test);
        let skip = url.is_none();
        Trial::test(*name, move || {
            let setting = Setting::new(&url.unwrap());
            test(&setting);
            setting.end();
            Ok(())
        })
        .with_ignored_flag(skip)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit()
}

/// Remembers every number in the order in which it came.
#[derive(Debug, Default, DurableState)]
#[durable(actor_type = "list")]
pub struct List {
    /// The numbers.
    pub numbers: Vec<u64>,
}

/// A number for a [`List`].
#[derive(Debug, Serialize, Deserialize, DurableMessage)]
#[durable(name = "list.push")]
pub struct Push(pub u64);

#[async_trait]
impl DurableActor for List {
    type Message = Push;
    type Reply = Vec<u64>;
    type Error = String;

    async fn handle(&mut self, _: &mut ActorContext, push: Push) -> Result<Vec<u64>, String> {
        self.numbers.push(push.0);
        Ok(self.numbers.clone())
    }
}
