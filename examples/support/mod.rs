//! What the examples stand on: the Composio of your configuration, or, if there is none, a simulated one on loopback with an
//! embedded database in a folder that goes away.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

use anyhow::Context;
use connection_auditor::app::App;
use connection_auditor::audit::entity::{Entities, Initiated};
use connection_auditor::config::Config;
use connection_auditor::domain::clock::{Clock, SystemClock};
use connection_auditor::simulator::{PopulationSpec, Shelf, Simulator, SimulatorOptions};
use secrecy::ExposeSecret;

/// A stage to play on.
pub struct Stage {
    /// Makes the handles of users.
    pub entities: Entities,
    /// The simulated Composio, if it is one.
    pub simulator: Option<Simulator>,
    _folder: tempfile::TempDir,
}

impl Stage {
    /// Sets it up: with `CONNECTION_AUDITOR_COMPOSIO__API_KEY` and the like in the environment, on the real thing.
    pub async fn set() -> anyhow::Result<Self> {
        // Two TLS providers are possible in one process; this is the one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir()?;
        let mut settings: BTreeMap<OsString, OsString> =
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CONNECTION_AUDITOR_")).collect();
        let is_real = settings.keys().any(|name| name == "CONNECTION_AUDITOR_COMPOSIO__API_KEY");
        let simulator = if is_real {
            None
        } else {
            let clock = SystemClock;
            let options = SimulatorOptions {
                population: PopulationSpec { users: 10, anchor: clock.now(), ..PopulationSpec::default() },
                shelf: Shelf::One,
                ..SimulatorOptions::default()
            };
            let simulator = Simulator::start(options, Arc::new(move || clock.now())).await?;
            let file = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
            for (name, value) in [
                ("COMPOSIO__URL", simulator.url().to_owned()),
                ("COMPOSIO__API_KEY", simulator.api_key().to_owned()),
                ("DATABASE__URL", file("auditor.sqlite")),
                ("QUEUE__URL", file("queue.sqlite")),
                ("NOTIFY__RECONNECT_URL", "https://yourapp.com/settings/integrations?connect={toolkit}".to_owned()),
            ] {
                settings.insert(format!("CONNECTION_AUDITOR_{name}").into(), value.into());
            }
            Some(simulator)
        };
        let app = App::connect(Config::parse(None, settings)?).await?;
        Ok(Self { entities: app.entities()?, simulator, _folder: folder })
    }

    /// The person follows the link and allows what is asked: by hand, unless Composio is simulated.
    pub async fn person_allows(&self, initiated: &Initiated) -> anyhow::Result<()> {
        if self.simulator.is_none() {
            println!("  open the link, allow it, and press Enter here");
            let mut line = String::new();
            std::io::stdin().read_line(&mut line)?;
            return Ok(());
        }
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
        let answer = client.post(initiated.link.url.expose_secret()).send().await.context("the consent page")?;
        anyhow::ensure!(answer.status().as_u16() < 400, "the link could not be followed: {}", answer.status());
        Ok(())
    }
}
