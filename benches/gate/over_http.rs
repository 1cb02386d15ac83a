//! A worker that answers the API, as a process of its own, and calls of its gate over HTTP.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::support::server::free_port;

/// A worker with the role `http` alone; it ends with this.
pub(crate) struct Api {
    worker: Child,
    client: reqwest::Client,
    url: String,
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.worker.kill();
        let _ = self.worker.wait();
    }
}

impl Api {
    /// Starts one over this database and waits until it answers.
    pub(crate) async fn start(database: &str, queue: &str) -> anyhow::Result<Self> {
        let listen = format!("127.0.0.1:{}", free_port());
        let worker = Command::new(env!("CARGO_BIN_EXE_connection-auditor"))
            .args(["run", "--roles", "http"])
            .env("CONNECTION_AUDITOR_DATABASE__URL", database)
            .env("CONNECTION_AUDITOR_QUEUE__URL", queue)
            .env("CONNECTION_AUDITOR_HTTP__OPS__LISTEN", &listen)
            .env("CONNECTION_AUDITOR_HTTP__OPS__RATE_LIMIT", "1000000")
            .env("CONNECTION_AUDITOR_COMPOSIO__URL", "http://127.0.0.1:9")
            .env("CONNECTION_AUDITOR_COMPOSIO__API_KEY", "ak_nobody")
            .env("CONNECTION_AUDITOR_LOG__FILTER", "warn")
            .stdin(Stdio::null())
            .spawn()?;
        let client = reqwest::Client::builder().no_proxy().tcp_nodelay(true).build()?;
        let api = Self { worker, client, url: format!("http://{listen}") };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !api.is_ready().await {
            anyhow::ensure!(Instant::now() < deadline, "the worker does not answer at {}", api.url);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(api)
    }

    async fn is_ready(&self) -> bool {
        let answer = self.client.get(format!("{}/readyz", self.url)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// One call of the gate, its answer read to the end.
    pub(crate) async fn ask(&self, user: &str, app: &str) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let url = format!("{}/api/v1/users/{user}/gate?toolkits={app}&max_age=1d", self.url);
        let body = self.client.get(url).send().await?.error_for_status()?.text().await?;
        let took = began.elapsed();
        anyhow::ensure!(!body.contains(r#""decision":"unknown""#), "the store did not answer: {body}");
        Ok(took)
    }
}
