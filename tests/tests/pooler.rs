//! A pgbouncer between the journal and the database. Needs `DATABASE_URL`, without a password, and `pgbouncer` in
//! the path; without either the tests are reported as ignored.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use duroxide::providers::Provider;
use duroxide_pg::PostgresProvider;
use libtest_mimic::{Arguments, Trial};
use shared_journal::{EventJournal, JournalError, JournalReader};
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use tests::postgres::{Schema, database_url};

fn main() {
    let skip = database_url().is_none() || Command::new("pgbouncer").arg("-V").output().is_err();
    let trial = |name: &'static str, settings: &'static str, refused: bool| {
        let test = move || {
            let url = database_url().unwrap();
            tokio::runtime::Runtime::new().unwrap().block_on(open(&url, settings, refused));
            Ok(())
        };
        Trial::test(name, test).with_ignored_flag(skip)
    };
    let trials = vec![
        trial("a_pooler_of_transactions_is_refused", "pool_mode = transaction", true),
        trial(
            "one_that_takes_turns_is_refused",
            "pool_mode = transaction\nserver_round_robin = 1\nmin_pool_size = 2",
            true,
        ),
        trial(
            "one_with_one_server_is_refused",
            "pool_mode = transaction\ndefault_pool_size = 1",
            true,
        ),
        trial("a_pooler_of_sessions_is_as_good_as_a_server", "pool_mode = session", false),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

async fn open(url: &str, settings: &str, refused: bool) {
    let schema = Schema::create(url).await.unwrap();
    EventJournal::open(schema.provider()).await.unwrap().close().await.unwrap();
    let options: PgConnectOptions = url.parse().unwrap();
    let pooler = Pooler::start(&options, settings);
    // What prepared statements do in between is duroxide's trouble first; this is how it has none.
    let options = options.host("127.0.0.1").port(pooler.port).statement_cache_capacity(0);
    while options.connect().await.is_err() {
        tokio::task::yield_now().await;
    }
    let through = options.to_url_lossy().to_string();
    let provider = PostgresProvider::new_with_schema(&through, Some(schema.name()));
    let provider: Arc<dyn Provider> = Arc::new(provider.await.unwrap());
    let opened = EventJournal::open(provider.clone()).await;
    if refused {
        let error = opened.unwrap_err();
        assert!(matches!(error, JournalError::TransactionPooler { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("pool_mode") && text.contains(schema.name()), "{text}");
        assert!(!error.is_retryable());
        let error = JournalReader::open(provider).await.unwrap_err();
        assert!(matches!(error, JournalError::TransactionPooler { .. }), "{error:?}");
    } else {
        opened.unwrap().close().await.unwrap();
        JournalReader::open(provider).await.unwrap();
    }
    drop(pooler);
    schema.drop().await.unwrap();
}

struct Pooler {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Pooler {
    fn start(server: &PgConnectOptions, settings: &str) -> Self {
        // Free now, and so soon again nobody's.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let (file, users) = (folder.path().join("pgbouncer.ini"), folder.path().join("users"));
        std::fs::write(&users, format!("\"{}\" \"\"\n", server.get_username())).unwrap();
        std::fs::write(&file, config(server, port, &users, settings)).unwrap();
        let mut command = Command::new("pgbouncer");
        if std::fs::metadata(folder.path()).unwrap().uid() == 0 {
            // It does not run as root.
            command.args(["-u", "nobody"]);
            for path in [folder.path(), &users, &file] {
                let all = PermissionsExt::from_mode(0o755);
                std::fs::set_permissions(path, all).unwrap();
            }
        }
        let process = command.arg(file).stderr(Stdio::null()).stdout(Stdio::null()).spawn();
        Self { process: process.unwrap(), port, _folder: folder }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn config(server: &PgConnectOptions, port: u16, users: &Path, settings: &str) -> String {
    let (host, server_port, users) = (server.get_host(), server.get_port(), users.display());
    format!(
        "[databases]\n* = host={host} port={server_port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
         listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {users}\n\
         ignore_startup_parameters = extra_float_digits,options\n{settings}\n"
    )
}
