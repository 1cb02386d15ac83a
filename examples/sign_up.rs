//! Sign-up: a new user of the app gets a link with which to connect Slack, and the app keeps the account's id.
//!
//! In the article: `entity = client.get_entity(id="user-123")` and `entity.initiate_connection(app_name="slack", redirect_url=…)`.

mod support;

use connection_auditor::audit::entity::{EntityError, Initiate};
use connection_auditor::domain::id::{Toolkit, UserId};
use secrecy::ExposeSecret;
use support::Stage;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let stage = Stage::set().await?;

    // The id of the user in your own database: any stable text. The handle is bound to it; there is no call without one.
    let entity = stage.entities.of(UserId::new("user-123"));

    let redirect = "https://yourapp.com/auth/callback?userId=user-123".parse()?;
    let slack = Initiate::new(Toolkit::new("slack"), Some(redirect));
    let connection = entity.initiate_connection(&slack).await?;
    println!("Authorisation URL: {}", connection.link.url.expose_secret());
    println!("Account to keep:   {}", connection.link.account);

    // The sign-up page was loaded twice, or its answer got lost: the same link, and nothing is made again.
    let again = entity.initiate_connection(&slack).await?;
    println!("Asked again:       the same link: {}", again.link.account == connection.link.account);

    stage.person_allows(&connection).await?;
    println!("Slack is now:      {}", entity.account(&connection.link.account).await?.status);

    match entity.initiate_connection(&slack).await {
        Err(error @ EntityError::AlreadyConnected { .. }) => println!("Once more:         {error}"),
        other => anyhow::bail!("a second connection must be asked for: {other:?}"),
    }
    Ok(())
}
