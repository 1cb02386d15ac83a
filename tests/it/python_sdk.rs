//! The official Python SDK, unchanged, lists, gets and links against the simulator: what it understands, the real API could
//! have said.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use connection_auditor::domain::id::UserId;
use connection_auditor::simulator::{PopulationSpec, Simulator, SimulatorOptions};
use serde_json::{Value, json};

/// The Python of the virtual environment in which the SDK is installed.
#[expect(clippy::disallowed_methods, reason = "where the suite's own tools are is no setting of the product")]
fn python() -> PathBuf {
    let folder = std::env::var("AUDITOR_TEST_VENV").unwrap_or_else(|_| {
        panic!(
            "AUDITOR_TEST_VENV is not set: run tests/run, which installs composio==0.29.0 into a virtual environment \
             and says where it is"
        )
    });
    let python = PathBuf::from(folder).join("bin").join("python");
    assert!(python.exists(), "{} is not there: run tests/run", python.display());
    python
}

/// Runs a script with the SDK; what it prints is one JSON object.
pub(crate) async fn run(script: &str, arguments: &[&str]) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/python").join(script);
    let mut command = Command::new(python());
    command
        .arg(path)
        .args(arguments)
        .env_remove("COMPOSIO_API_KEY")
        .env_remove("COMPOSIO_BASE_URL")
        .env("NO_PROXY", "127.0.0.1")
        .env("COMPOSIO_LOGGING_LEVEL", "error")
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script} failed\n{out}\n{err}");
    serde_json::from_str(out.trim()).unwrap_or_else(|error| panic!("{error}\n{out}\n{err}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_python_sdk_lists_gets_and_links() {
    let anchor = PopulationSpec::default().anchor;
    let simulator = Simulator::start(SimulatorOptions::default(), Arc::new(move || anchor)).await.unwrap();
    let user = |persona: &str| {
        let mut ids = simulator.users().map(|user| user.id);
        ids.find(|id| simulator.population().persona_of(id).unwrap().name == persona).unwrap()
    };
    let (many, broken, healthy) = (user("many_accounts"), user("expired_permanent"), user("healthy_one"));
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = async |path: String| -> Value {
        let request = http.get(format!("{}{path}", simulator.url())).header("x-api-key", simulator.api_key());
        serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap()
    };
    let configs = get("/api/v3.1/auth_configs?toolkit_slug=slack".into()).await;
    let slack = configs["items"][0]["id"].as_str().unwrap();
    let active = get(format!("/api/v3.1/connected_accounts?user_ids={healthy}")).await;
    let taken = active["items"][0]["auth_config"]["id"].as_str().unwrap();

    let arguments =
        [simulator.url(), simulator.api_key(), slack, many.as_str(), broken.as_str(), healthy.as_str(), taken];
    let seen = run("list_get_link.py", &arguments).await;

    let lengths: Vec<usize> =
        seen["pages"].as_array().unwrap().iter().map(|page| page.as_array().unwrap().len()).collect();
    assert_eq!(lengths, [50, 50, 30]);
    assert_eq!(seen["total"].as_f64(), Some(130.0));

    let truth = simulator.truth();
    let due = truth.mailed[&broken].first().unwrap();
    let listed = seen["broken"].as_array().unwrap();
    assert_eq!(listed.len(), 1, "of the two users only one has something EXPIRED");
    assert_eq!(listed[0]["id"], due.account.as_str());
    assert_eq!(listed[0]["toolkit"], due.toolkit.as_str());
    assert_eq!(listed[0]["status_reason"], "Permanent auth error during token refresh");
    assert_eq!(seen["got"], listed[0]);
    assert_eq!(seen["missing"]["status"], 404);
    assert!(seen["missing"]["text"].as_str().unwrap().contains("Connected account \"ca_gone\" not found"));
    assert_eq!(seen["refused"]["status"], 401);

    assert_eq!(seen["linked"]["status"], "INITIALIZING");
    assert_eq!(seen["linked"]["id"], seen["link"]["id"]);
    assert_eq!(seen["linked"]["toolkit"], "slack");
    assert_eq!(seen["linked"]["auth_config"], slack);
    assert!(seen["link"]["redirect_url"].as_str().unwrap().starts_with(&format!("{}/link/lk_", simulator.url())));
    assert_ne!(seen["link_again"], json!(null), "the SDK finds the ACTIVE account and refuses");
    assert_eq!(seen["toolkit"], "Google Calendar");

    let counters = simulator.counters();
    assert_eq!(counters.links_minted, 1);
    assert_eq!(counters.refresh_calls, 0);
    assert_eq!(counters.lists_by_user[&UserId::new("sdk user")], 1, "link() looks for an ACTIVE account first");
}
