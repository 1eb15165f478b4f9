//! Random programs against processes that are killed: `torture --kills 1000 --seed 1`.
//!
//! Prints a JSON line. Its exit status is 1 if a promise was broken, with the shortest program found
//! that breaks it.
//!
//! `torture --minutes 10` kills nobody: one process has a steady load for so long. Its messages are
//! counted, and its memory, its store and its latencies are looked at every few seconds. Its exit status
//! is also 1 if memory or the store have grown by more than a quarter between the second and the last
//! quarter of the time, when it is three minutes or more.

mod child;
mod soak;
mod task;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use rand::Rng;
use serde_json::json;
use tests::torture::{Setup, Soak, Store, Verdict};

use self::task::{About, Tasks};

/// Kills processes that run durable actors, and checks what they promised.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    role: Option<Role>,
    /// How many processes are killed.
    #[arg(long, default_value_t = 100)]
    kills: u64,
    /// Where the random programs begin. Default: anywhere.
    #[arg(long)]
    seed: Option<u64>,
    /// Kills nobody: a steady load on one process for so many minutes (0.1 will do for a look), in which
    /// memory and store must not grow.
    #[arg(long, conflicts_with_all = ["kills", "program"])]
    minutes: Option<f64>,
    /// What the programs are about. Default: both.
    #[arg(long, value_enum)]
    about: Option<About>,
    /// Where the actors are; PostgreSQL is found through `DATABASE_URL`.
    #[arg(long, value_enum, default_value_t = StoreKind::Sqlite)]
    store: StoreKind,
    /// What kind of actors they are. Default: both in turn; with --minutes, actix.
    #[arg(long, value_enum)]
    adapter: Option<Adapter>,
    /// Prints only the JSON line.
    #[arg(long)]
    json: bool,
    /// Breaks a promise on purpose: a name from docs/semantics.md, or a name and when, as in
    /// `sabotage-swallow=9*off->1*return`.
    #[arg(long)]
    sabotage: Option<String>,
    /// Runs the one program in this file.
    #[arg(long)]
    program: Option<PathBuf>,
    /// A process that says nothing for so many seconds has failed.
    #[arg(long, default_value_t = 30)]
    patience: u64,
    /// Looks for a shorter failing program for so many seconds.
    #[arg(long, default_value_t = 60)]
    shrink: u64,
    /// Shows what the processes write to their standard error.
    #[arg(long)]
    loud: bool,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// What is tortured.
    #[command(hide = true)]
    Child(child::Child),
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StoreKind {
    Sqlite,
    Postgres,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Adapter {
    Actix,
    Tower,
}

impl Adapter {
    fn name(self) -> &'static str {
        match self {
            Self::Actix => "actix",
            Self::Tower => "tower",
        }
    }
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    match &options.role {
        Some(Role::Child(child)) => child::run(child).map(|()| ExitCode::SUCCESS),
        None => torture(&options),
    }
}

fn torture(options: &Options) -> Result<ExitCode> {
    let started = Instant::now();
    let seed = options.seed.unwrap_or_else(|| rand::rng().random_range(0..1 << 32));
    if let Some(minutes) = options.minutes {
        let load = Soak { time: Duration::try_from_secs_f64(minutes * 60.0)?, seed };
        return soak::run(&setup(options, 0)?, &load, &progress(options, "s"), options.json);
    }
    let mut tasks = Tasks::new(seed, options.about);
    let network = matches!(options.store, StoreKind::Postgres);
    let bar = progress(options, "kills");
    bar.set_length(options.kills);
    let (mut total, mut programs) = (Verdict::default(), 0);
    let mut failed = None;
    while failed.is_none() && left(options, &total, programs) > 0 {
        let (task, number) = match &options.program {
            Some(file) => (serde_json::from_slice(&std::fs::read(file)?)?, 0),
            None => tasks.next(left(options, &total, programs), network)?,
        };
        let setup = setup(options, number)?;
        let verdict = task.run(&setup)?;
        if !verdict.is_clean() {
            failed = Some((setup, task));
        }
        total.add(verdict);
        programs += 1;
        bar.set_position(total.kills);
        bar.set_message(format!("{programs} programs, {} acknowledged", total.acked));
    }
    bar.finish_and_clear();
    println!(
        "{}",
        json!({
            "kills": total.kills, "aborts": total.aborts, "programs": programs, "traffic": tasks.count.1, "acked": total.acked,
            "buried": total.buried, "lost": total.lost, "duplicated": total.duplicated, "reordered": total.reordered,
            "unexplained": total.unexplained, "retried": total.retried, "seed": seed,
            "seconds": started.elapsed().as_secs(),
        })
    );
    let Some((setup, task)) = failed else { return Ok(ExitCode::SUCCESS) };
    for problem in total.problems.iter().take(20) {
        eprintln!("{problem}");
    }
    if options.shrink > 0 {
        eprintln!("looking for a shorter program that fails, {} s", options.shrink);
        let task = task.shrink(&setup, Duration::from_secs(options.shrink))?;
        let (ops, kills) = task.size();
        eprintln!("{} with {ops} operations and {kills} kills; --program runs it:", setup.adapter);
        eprintln!("{}", serde_json::to_string(&task)?);
    }
    Ok(ExitCode::FAILURE)
}

/// How many kills there are still to be.
fn left(options: &Options, total: &Verdict, programs: u64) -> u64 {
    match &options.program {
        Some(_) => u64::from(programs == 0),
        None => options.kills.saturating_sub(total.kills),
    }
}

fn setup(options: &Options, programs: u64) -> Result<Setup> {
    let store = match options.store {
        StoreKind::Sqlite => Store::Sqlite,
        StoreKind::Postgres => Store::Postgres(
            tests::postgres::database_url().context("DATABASE_URL says where PostgreSQL is")?,
        ),
    };
    let turn = if programs.is_multiple_of(2) { Adapter::Actix } else { Adapter::Tower };
    Ok(Setup {
        executable: std::env::current_exe()?,
        adapter: options.adapter.unwrap_or(turn).name().to_owned(),
        store,
        sabotage: options.sabotage.clone(),
        patience: Duration::from_secs(options.patience),
        loud: options.loud,
    })
}

fn progress(options: &Options, unit: &str) -> ProgressBar {
    if options.json {
        return ProgressBar::hidden();
    }
    let style = format!("{{pos}} {unit} of {{len}} {{wide_bar}} {{msg}} {{elapsed}}");
    let style = ProgressStyle::with_template(&style);
    ProgressBar::with_draw_target(None, indicatif::ProgressDrawTarget::stderr())
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
