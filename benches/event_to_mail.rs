//! How long it takes from an event of Composio until the mail is handed to the mail server, with the grouping waits at zero: idle,
//! and while a full sweep runs. Fails if the 95th percentile is two seconds or more.
//!
//! ```sh
//! cargo bench --bench event_to_mail                     40 events, 2,000 users
//! cargo bench --bench event_to_mail -- 200 20000        so many events, so many users
//! ```
//!
//! Everything is in this process: the simulator, a mail server that takes everything, the worker on SQLite with the embedded queue, the
//! public listener. An event is measured from the moment at which it is sent.

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::ValueEnum;
use connection_auditor::adapters::{store, users};
use connection_auditor::app::{App, Role};
use connection_auditor::config::Config;
use connection_auditor::domain::clock::{Clock, SystemClock};
use connection_auditor::domain::id::{SweepId, UserId};
use connection_auditor::domain::port::Store;
use connection_auditor::domain::sweep::{NewSweep, Overlap, SweepMode, Trigger};
use connection_auditor::shutdown::Shutdown;
use connection_auditor::simulator::{Latency, Mix, PopulationSpec, Simulator, SimulatorOptions};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

type Failed = Box<dyn Error + Send + Sync>;

const SECRET: &str = "a-secret-of-the-benchmark";
const BOUND: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(60);

/// When the first mail to each address had been taken in whole.
type Arrivals = Arc<Mutex<BTreeMap<String, Instant>>>;

fn main() -> ExitCode {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("this measures, and takes minutes: cargo bench --bench event_to_mail");
        return ExitCode::SUCCESS;
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let numbers: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let events = usize::try_from(numbers.first().copied().unwrap_or(40)).unwrap_or(40);
    let users = numbers.get(1).copied().unwrap_or(2_000);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(events, users));
    runtime.shutdown_background();
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("event_to_mail: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(events: usize, people: u64) -> Result<bool, Failed> {
    let folder = tempfile::tempdir()?;
    let tasks = TaskTracker::new();
    let clock = SystemClock;
    let population = PopulationSpec {
        seed: 7,
        users: people,
        mix: Mix::only(&["healthy_one"]),
        anchor: clock.now(),
        favourite: None,
    };
    let options = SimulatorOptions {
        population,
        page_cap: 100,
        latency: Latency { from: Duration::from_millis(40), to: Duration::from_millis(120) },
        ..SimulatorOptions::default()
    };
    let simulator = Simulator::start(options, Arc::new(move || clock.now())).await?;
    let (smtp, arrivals) = mail_server(&tasks).await?;
    let public = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let config = config(folder.path(), &simulator, smtp, public)?;
    store::migrate(&config.database).await?;
    let csv = folder.path().join("users.csv");
    simulator.population().write_users_csv(std::fs::File::create(&csv)?)?;
    users::import(&config.database.url, &csv).await?;
    let app = Arc::new(App::connect(config).await?);
    let shutdown = Shutdown::new();
    let worker = {
        let (app, shutdown) = (Arc::clone(&app), shutdown.clone());
        let roles = Role::value_variants().iter().copied().collect();
        tasks.spawn(async move { app.run(&roles, &shutdown).await })
    };
    // Everybody is seen healthy once, so that what breaks then is news.
    sweep(app.store.as_ref()).await?;
    settled(app.store.as_ref()).await?;

    let everybody: Vec<(UserId, String)> =
        simulator.users().filter_map(|user| Some((user.id, user.email?))).take(events * 2).collect();
    let (first, second) = everybody.split_at(events.min(everybody.len()));
    let idle = measure(first, &simulator, public, &arrivals).await?;
    // One sweep after the other, so that one is always at work.
    let sweeps = Arc::new(AtomicU64::new(0));
    let sweeping = {
        let (app, sweeps) = (Arc::clone(&app), Arc::clone(&sweeps));
        tasks.spawn(async move {
            while sweep(app.store.as_ref()).await.is_ok() && settled(app.store.as_ref()).await.is_ok() {
                sweeps.fetch_add(1, Ordering::Relaxed);
            }
        })
    };
    let busy = measure(second, &simulator, public, &arrivals).await?;
    sweeping.abort();
    let sweeps = sweeps.load(Ordering::Relaxed);
    println!("event to mail, {people} users, {} and {} events, {sweeps} sweeps beside them", idle.len(), busy.len());
    let fast = report("idle", idle) & report("while full sweeps run", busy);
    shutdown.soft.cancel();
    let _ = tokio::time::timeout(Duration::from_secs(20), worker).await;
    Ok(fast)
}

fn config(
    folder: &std::path::Path,
    simulator: &Simulator,
    smtp: SocketAddr,
    public: SocketAddr,
) -> Result<Config, Failed> {
    let file = |name: &str| format!("sqlite:{}", folder.join(name).display());
    let settings: Vec<(&str, String)> = vec![
        ("DATABASE__URL", file("auditor.sqlite")),
        ("QUEUE__URL", file("queue.sqlite")),
        ("COMPOSIO__URL", simulator.url().to_owned()),
        ("COMPOSIO__API_KEY", simulator.api_key().to_owned()),
        ("COMPOSIO__WEBHOOK_SECRETS", SECRET.to_owned()),
        ("NOTIFY__FROM", "no-reply@acme.example".to_owned()),
        ("MAIL__SMTP__HOST", smtp.ip().to_string()),
        ("MAIL__SMTP__PORT", smtp.port().to_string()),
        ("MAIL__SMTP__TLS", "none".to_owned()),
        ("POLICY__GROUP_WAIT", "0s".to_owned()),
        ("POLICY__GROUP_WAIT_SINGLE", "0s".to_owned()),
        ("GUARD__MIN_INCIDENTS", "1000000".to_owned()),
        ("HTTP__PUBLIC__URL", format!("http://{public}")),
        ("HTTP__PUBLIC__LISTEN", public.to_string()),
        ("HTTP__PUBLIC__TOKEN_KEYS", "a-key-of-the-benchmark-that-is-long-enough".to_owned()),
    ];
    let environment = settings
        .into_iter()
        .map(|(name, value)| (OsString::from(format!("CONNECTION_AUDITOR_{name}")), OsString::from(value)));
    Ok(Config::parse(None, environment)?)
}

/// A mail server that takes everything and notes when.
async fn mail_server(tasks: &TaskTracker) -> Result<(SocketAddr, Arrivals), Failed> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let arrivals = Arrivals::default();
    let (inner, noted) = (tasks.clone(), Arc::clone(&arrivals));
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let arrivals = Arc::clone(&noted);
            inner.spawn(async move {
                // A client that breaks off is the client's business.
                let _ = session(stream, &arrivals).await;
            });
        }
    });
    Ok((address, arrivals))
}

async fn session(stream: TcpStream, arrivals: &Arrivals) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 bench\r\n").await?;
    let (mut line, mut to, mut in_data) = (String::new(), String::new(), false);
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let upper = line.to_ascii_uppercase();
        let answer: &[u8] = match upper.as_str() {
            ".\r\n" if in_data => {
                in_data = false;
                if let Ok(mut arrivals) = arrivals.lock() {
                    arrivals.entry(to.clone()).or_insert_with(Instant::now);
                }
                b"250 taken\r\n"
            }
            _ if in_data => continue,
            "DATA\r\n" => {
                in_data = true;
                b"354 go on\r\n"
            }
            "QUIT\r\n" => return stream.write_all(b"221 bye\r\n").await,
            said if said.starts_with("RCPT TO:") => {
                to = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                b"250 yes\r\n"
            }
            _ => b"250 yes\r\n",
        };
        stream.write_all(answer).await?;
    }
}

async fn sweep(store: &dyn Store) -> Result<(), Failed> {
    let (id, now) = (SweepId(Uuid::now_v7()), SystemClock.now());
    let sweep = NewSweep {
        id,
        schedule: format!("bench {id}"),
        tick: now,
        start_at: now,
        trigger: Trigger::Manual,
        mode: SweepMode::Full,
        overlap: Overlap::Queue,
    };
    store.insert_sweep(&sweep, now).await?;
    Ok(())
}

async fn settled(store: &dyn Store) -> Result<(), Failed> {
    loop {
        if store.sweeps(1).await?.iter().all(|sweep| sweep.state.is_final()) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Breaks one connection after the other, tells of each, and waits for its mail.
async fn measure(
    users: &[(UserId, String)],
    simulator: &Simulator,
    public: SocketAddr,
    arrivals: &Arrivals,
) -> Result<Vec<Duration>, Failed> {
    let mut times = Vec::new();
    for (user, address) in users {
        if !simulator.break_user(user) {
            continue;
        }
        let began = Instant::now();
        tell(public, user).await?;
        loop {
            let arrived = arrivals.lock().map_err(|_| "the mail server broke")?.get(address).copied();
            if let Some(arrived) = arrived {
                times.push(arrived.saturating_duration_since(began));
                break;
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("no mail within {PATIENCE:?}").into());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    Ok(times)
}

/// Sends an event as Composio does.
async fn tell(public: SocketAddr, user: &UserId) -> Result<(), Failed> {
    let body = serde_json::json!({"type": "composio.connected_account.expired", "data": {"user_id": user}}).to_string();
    let (id, seconds) = (format!("msg_{}", Uuid::new_v4()), SystemClock.now().timestamp());
    let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())?;
    let signed = mac.chain_update(format!("{id}.{seconds}.{body}")).finalize().into_bytes();
    let request = format!(
        "POST /webhooks/composio HTTP/1.1\r\nhost: {public}\r\nconnection: close\r\ncontent-length: {}\r\n\
         webhook-id: {id}\r\nwebhook-timestamp: {seconds}\r\nwebhook-signature: v1,{}\r\n\r\n{body}",
        body.len(),
        BASE64_STANDARD.encode(signed)
    );
    let mut stream = BufReader::new(TcpStream::connect(public).await?);
    stream.write_all(request.as_bytes()).await?;
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    if line.contains(" 200 ") { Ok(()) } else { Err(format!("the event was not taken: {line}").into()) }
}

/// Prints the times; whether the bound holds.
fn report(when: &str, mut times: Vec<Duration>) -> bool {
    times.sort();
    let at = |share: f64| {
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few")]
        let place = ((times.len() as f64 * share).ceil() as usize).saturating_sub(1);
        times.get(place).copied().unwrap_or_default()
    };
    let (median, most, worst) = (at(0.5), at(0.95), at(1.0));
    println!("  {when:<26} p50 {median:>8.1?}   p95 {most:>8.1?}   longest {worst:>8.1?}");
    !times.is_empty() && most < BOUND
}
