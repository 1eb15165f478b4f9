//! Asks per second between the nodes of a cluster on PostgreSQL. Each is a process: so it has its own runtime and
//! its own connections, and no way to the actors of others but through the server.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use serde_json::{Value, json};
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::node::SHARDS;
use super::postgres::{SCHEMA, clear, create_raw, single_row};
use super::{WARM_UP, hops};
use crate::Common;
use crate::load::{Round, Shape, median, middle, rounded};

/// Between two looks at what the connections wait for.
const LOOK: Duration = Duration::from_millis(20);

pub(crate) async fn run(shape: Shape, nodes: usize, common: Common) -> Result<Value> {
    let even = nodes > 0 && (SHARDS as usize).is_multiple_of(nodes);
    ensure!(even, "{SHARDS} shards cannot be shared by {nodes} nodes");
    let url = std::env::var("DATABASE_URL").context("set DATABASE_URL=postgres://...")?;
    let options: PgConnectOptions = url.parse()?;
    clear(&mut options.connect().await?).await?;
    let time = Duration::from_secs(common.seconds);
    let callers = shape.load().callers;
    // The store is founded by the first. One that has all the actors is asked by another one.
    let mut all = Vec::new();
    for index in 0..nodes.max(2) {
        let mut node = Node::start(index, nodes, shape, common)?;
        ensure!(node.said().await? == "joined");
        all.push(node);
    }
    for node in &mut all {
        ensure!(node.said().await? == "ready");
    }
    let asking = if nodes == 1 { 1.. } else { 0.. };
    let first = asking.start..=asking.start;
    let options = options.options([("search_path", SCHEMA)]);
    let (mut connection, mut looking) = (options.connect().await?, options.connect().await?);
    create_raw(&mut connection).await?;
    hops::create(&mut connection).await?;
    ask(&mut all[asking.clone()], "there", callers, WARM_UP).await?;
    ask(&mut all[..1], "here", 1, WARM_UP).await?;
    let (mut together, mut here, mut there) = (Vec::new(), Vec::new(), Vec::new());
    let (mut commits, mut by_hand, mut waits) = (Vec::new(), Vec::new(), Waits::default());
    let mut moved = [0; 2];
    for _ in 0..common.rounds {
        let before = letters(&mut connection).await?;
        tokio::select! {
            round = ask(&mut all[asking.clone()], "there", callers, time) => together.push(round?),
            looked = waits.look(&mut looking) => looked?,
        }
        let after = letters(&mut connection).await?;
        moved = [0, 1].map(|it| moved[it] + after[it] - before[it]);
        here.push(ask(&mut all[..1], "here", 1, time / 2).await?);
        there.push(ask(&mut all[first.clone()], "there", 1, time / 2).await?);
        commits.push(single_row(&mut connection, time / 2).await?);
        by_hand.push(hops::lone(&options, time / 2).await?);
    }
    for node in all {
        node.end().await?;
    }
    clear(&mut connection).await?;
    let (here, there) = (median(here)?.p50_us, median(there)?.p50_us);
    let (commit, by_hand) = (middle(commits)?, middle(by_hand)?);
    let seconds = time.as_secs_f64() * common.rounds as f64;
    let [posts, settles] = moved.map(|letters| rounded(letters as f64 / seconds, 0));
    Ok(json!({
        "scenario": "cluster",
        "store": "postgres",
        "shape": shape.name(),
        "nodes": nodes,
        "durability": common.durability.name(),
        "elsewhere": median(together)?,
        "posts_per_s": posts,
        "settles_per_s": settles,
        "waits_percent": waits.percent(),
        "lone": {
            "commit_p50_us": rounded(commit, 1),
            "here_p50_us": rounded(here, 1),
            "elsewhere_p50_us": rounded(there, 1),
            "by_hand_p50_us": rounded(by_hand, 1),
        },
        "ratio": {
            "here": rounded(here / commit, 2),
            "elsewhere": rounded(there / commit, 2),
            "by_hand": rounded(by_hand / commit, 2),
            "elsewhere_to_by_hand": rounded(there / by_hand, 2),
        },
    }))
}

/// A process that is a node.
struct Node {
    process: Child,
    tell: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Node {
    fn start(index: usize, nodes: usize, shape: Shape, common: Common) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["child", "--store", SCHEMA, "--actors", &shape.load().actors.to_string()])
            .args(["--durability", common.durability.name(), "node"])
            .args(["--index", &index.to_string(), "--nodes", &nodes.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (tell, lines) = (process.stdin.take(), process.stdout.take());
        let (tell, lines) = tell.zip(lines).context("no way to the node")?;
        Ok(Self { process, tell, lines: BufReader::new(lines).lines() })
    }

    async fn said(&mut self) -> Result<String> {
        self.lines.next_line().await?.context("the node has ended")
    }

    async fn ask(&mut self, whom: &str, callers: usize, time: Duration) -> Result<Round> {
        let line = format!("{whom} {callers} {}\n", time.as_millis());
        self.tell.write_all(line.as_bytes()).await?;
        Ok(serde_json::from_str(&self.said().await?)?)
    }

    async fn end(self) -> Result<()> {
        let Self { mut process, tell, .. } = self;
        drop(tell);
        let status = process.wait().await?;
        ensure!(status.success(), "a node ended with {status}");
        Ok(())
    }
}

/// Lets nodes ask at the same time. All asks of a second, and the times of the node in the middle.
async fn ask(nodes: &mut [Node], whom: &str, callers: usize, time: Duration) -> Result<Round> {
    let rounds = try_join_all(nodes.iter_mut().map(|node| node.ask(whom, callers, time))).await?;
    let per_s = rounds.iter().map(|round| round.per_s).sum();
    let times = |of: fn(&Round) -> f64| middle(rounds.iter().map(of).collect());
    Ok(Round { per_s, p50_us: times(|it| it.p50_us)?, p99_us: times(|it| it.p99_us)? })
}

/// How many letters were posted, and how many of them were settled.
async fn letters(connection: &mut PgConnection) -> Result<[i64; 2]> {
    let (posted, left): (i64, i64) = sqlx::query_as(
        "SELECT (SELECT coalesce(sum(number), 0)::bigint FROM journal_inbox_head),
                (SELECT count(*) FROM journal_inbox)",
    )
    .fetch_one(connection)
    .await?;
    Ok([posted, posted - left])
}

/// What the connections of nodes at work wait for.
#[derive(Default)]
struct Waits(BTreeMap<String, i64>);

impl Waits {
    /// Looks until it is dropped.
    async fn look(&mut self, connection: &mut PgConnection) -> Result<()> {
        loop {
            let seen: Vec<(String, i64)> = sqlx::query_as(
                "SELECT coalesce(wait_event_type || ':' || wait_event, 'none'), count(*)
                 FROM pg_stat_activity
                 WHERE application_name LIKE 'journal %' AND state = 'active' GROUP BY 1",
            )
            .fetch_all(&mut *connection)
            .await?;
            for (event, count) in seen {
                *self.0.entry(event).or_default() += count;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn percent(&self) -> BTreeMap<&str, f64> {
        let all = self.0.values().sum::<i64>().max(1) as f64;
        let share = |count: &i64| rounded(*count as f64 * 100.0 / all, 1);
        self.0.iter().map(|(event, count)| (event.as_str(), share(count))).collect()
    }
}
