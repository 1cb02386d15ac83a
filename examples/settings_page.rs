//! The settings page: what a user has connected, and where to mend what is broken.
//!
//! In the article: `entity.get_connections()`, printed as `{app}: {status}`.

mod support;

use connection_auditor::audit::entity::Initiate;
use connection_auditor::domain::clock::{Clock, SystemClock};
use connection_auditor::domain::freshness::Freshness;
use connection_auditor::domain::id::{Toolkit, UserId};
use support::Stage;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let stage = Stage::set().await?;
    let entity = stage.entities.of(UserId::new("user-123"));

    if let Some(simulator) = &stage.simulator {
        for app in ["slack", "gmail"] {
            let connection = entity.initiate_connection(&Initiate::new(Toolkit::new(app), None)).await?;
            stage.person_allows(&connection).await?;
        }
        // Google takes its consent back.
        simulator.expire_app("gmail", SystemClock.now());
    }

    // A page may be some minutes old; `Freshness::Now` would ask Composio whenever it is loaded.
    let page = entity.connections(Freshness::Within(std::time::Duration::from_secs(300))).await?;
    for connection in &page.connections {
        println!(
            "{}: {} ({}, account {})",
            connection.name,
            connection.status,
            connection.verdict.as_str(),
            connection.account_id
        );
        if let Some(url) = &connection.reconnect_url {
            println!("  reconnect: {url}");
        }
    }
    println!("as of {}{}", page.as_of.format("%Y-%m-%d %H:%M UTC"), if page.stale { ", and stale" } else { "" });
    Ok(())
}
