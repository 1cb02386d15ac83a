//! The flows of `examples/http`, each run as it stands: curl and Python against a worker and the simulator.

use std::path::Path;
use std::process::{Command, Output};

use connection_auditor::simulator::Mix;

use super::*;

/// Runs one of them, in both languages.
fn run(api: &Api, flow: &str, arguments: &[&str]) -> [Output; 2] {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/http");
    [("bash", "sh"), ("python3", "py")].map(|(language, ending)| {
        Command::new(language)
            .arg(folder.join(format!("{flow}.{ending}")))
            .args(arguments)
            .env("AUDITOR_URL", &api.url)
            .env("AUDITOR_TOKEN", WRITE)
            .env("NO_PROXY", "127.0.0.1")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .expect("bash, curl and python3 are there")
    })
}

fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_flows_of_the_article_work_over_http() {
    let world = World::mixed(On::Embedded, 30, Mix::only(&["healthy_one", "expired_permanent"])).await;
    let kind = |wanted: &str| {
        let mut users = world.simulator.users();
        let population = world.simulator.population();
        users
            .find(|user| population.persona_of(&user.id).is_some_and(|kind| kind.name == wanted))
            .expect("there is one")
            .id
            .as_str()
            .to_owned()
    };
    let (well, ill) = (kind("healthy_one"), kind("expired_permanent"));
    let api = Api::of(world, &["--roles", "http"]).await;

    let new = "somebody / new ü";
    let back = "https://acme.example/back?userId=somebody%20new";
    let mut links = Vec::new();
    for output in run(&api, "sign_up", &[new, "slack", back]) {
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let text = said(&output);
        let link = text.split(['"', ' ', '\n']).find(|word| word.contains("/link/")).expect("a link").to_owned();
        assert!(text.contains("ca_"), "{text}");
        links.push(link);
    }
    assert_eq!(links[0], links[1], "the same wish is the same link, whoever asks");

    for (id, status) in [(&well, "ACTIVE"), (&ill, "EXPIRED")] {
        for output in run(&api, "settings_page", &[id]) {
            assert_eq!(output.status.code(), Some(0), "{}", said(&output));
            let text = said(&output);
            assert!(text.contains(status), "{text}");
            assert_eq!(text.contains("https://acme.example/connect?app="), status == "EXPIRED", "{text}");
        }
    }

    for (id, code) in [(&well, 0), (&ill, 2)] {
        let told = json(api.get(&user(id, "connections")).await, 200).await;
        let app = told["connections"][0]["app"].as_str().expect("an app").to_uppercase();
        for output in run(&api, "gated_action", &[id, &format!("{app}_LIST_ITEMS"), r#"{"text": "hello"}"#]) {
            let text = said(&output);
            assert_eq!(output.status.code(), Some(code), "{text}");
            match code {
                0 => assert!(text.contains("ran_as") && text.contains(id.as_str()), "{text}"),
                _ => assert!(
                    text.contains("Please reconnect") && text.contains("https://acme.example/connect"),
                    "{text}"
                ),
            }
        }
    }
}
