//! A schema of its own for each test.

use std::sync::Arc;

use anyhow::Result;
use duroxide::providers::Provider;
use duroxide::providers::sqlite::SqliteProvider;
use duroxide_pg::PostgresProvider;
use sqlx::ConnectOptions;

/// Where PostgreSQL is, if the tests may use one: `DATABASE_URL`.
#[must_use]
pub fn database_url() -> Option<String> {
    std::env::var("DATABASE_URL").ok().filter(|url| url.starts_with("postgres"))
}

/// A duroxide store in a schema that nobody else uses.
pub struct Schema {
    url: String,
    provider: Arc<PostgresProvider>,
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Schema").field("name", &self.name()).finish()
    }
}

impl Schema {
    /// Makes the schema.
    ///
    /// # Errors
    /// The database cannot be reached, or its role may not create schemas.
    pub async fn create(url: &str) -> Result<Self> {
        let name = format!("test_{}", uuid::Uuid::new_v4().simple());
        let provider = PostgresProvider::new_with_schema(url, Some(&name)).await?;
        Ok(Self { url: url.to_owned(), provider: Arc::new(provider) })
    }

    /// The duroxide store.
    #[must_use]
    pub fn provider(&self) -> Arc<dyn Provider> {
        self.provider.clone()
    }

    /// Where it is, for another process: see [`open`].
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}#{}", self.url, self.name())
    }

    /// The server, as host and port.
    #[must_use]
    pub fn server(&self) -> String {
        let options = self.provider.pool().connect_options();
        format!("{}:{}", options.get_host(), options.get_port())
    }

    /// Its name in the database.
    #[must_use]
    pub fn name(&self) -> &str {
        self.provider.schema_name()
    }

    /// Runs statements in the schema.
    ///
    /// # Errors
    /// The database does not like them.
    pub async fn execute(&self, statements: &str) -> Result<()> {
        let mut connection = self.provider.pool().connect_options().connect().await?;
        let search = format!("SET search_path TO {}", self.name());
        sqlx::raw_sql(&search).execute(&mut connection).await?;
        sqlx::raw_sql(statements).execute(&mut connection).await?;
        Ok(())
    }

    /// How many bytes its tables have on the disk, with their indices.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn bytes(&self) -> Result<u64> {
        let mut connection = self.provider.pool().connect_options().connect().await?;
        let query = "SELECT coalesce(sum(pg_total_relation_size(pg_class.oid)), 0)::bigint
                     FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
                     WHERE nspname = $1 AND relkind = 'r'";
        let bytes: i64 =
            sqlx::query_scalar(query).bind(self.name()).fetch_one(&mut connection).await?;
        Ok(u64::try_from(bytes)?)
    }

    /// Removes the schema and what is in it. A test that fails leaves it to be looked at.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn drop(self) -> Result<()> {
        let statement = format!("DROP SCHEMA {} CASCADE", self.name());
        // The pool may have connections of a runtime that has ended.
        let mut connection = self.provider.pool().connect_options().connect().await?;
        sqlx::raw_sql(&statement).execute(&mut connection).await?;
        Ok(())
    }
}

/// A duroxide store at a path, or at the [`address`](Schema::address) of a schema.
///
/// # Errors
/// It cannot be opened.
pub async fn open(store: &str) -> Result<Arc<dyn Provider>> {
    Ok(match store.split_once('#') {
        Some((url, schema)) => {
            Arc::new(PostgresProvider::new_with_schema(url, Some(schema)).await?)
        }
        None => Arc::new(SqliteProvider::new(&format!("sqlite:{store}?mode=rwc"), None).await?),
    })
}
