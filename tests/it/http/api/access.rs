//! Who may come in.

use std::time::Duration;

use connection_auditor::simulator::Mix;
use nix::sys::signal::Signal;
use reqwest::Method;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_what_its_scope_says_and_nothing_opens_without_one() {
    let api = Api::open().await;
    let routes = [(Method::GET, "/api/v1/status"), (Method::POST, "/api/v1/users/ann/audits")];
    for (authorization, answers) in [
        (None, [401, 401]),
        (Some("Bearer wrong-0123456789abcdef".to_owned()), [401, 401]),
        (Some(format!("Basic {READ}")), [401, 401]),
        (Some(format!("Bearer {READ}")), [200, 403]),
        (Some(format!("bearer {WRITE}")), [200, 202]),
    ] {
        for ((method, path), status) in routes.iter().zip(answers) {
            let mut request = api.ask(method.clone(), path);
            if let Some(authorization) = &authorization {
                request = request.header("authorization", authorization);
            }
            let answer = request.send().await.expect("it answers");
            let challenge =
                answer.headers().get("www-authenticate").map(|value| value.to_str().expect("text").to_owned());
            let about = format!("{method} {path} with {authorization:?}");
            match status {
                401 => {
                    let challenge = challenge.expect("it says what to show");
                    assert!(challenge.starts_with("Bearer realm="), "{challenge}");
                    assert_eq!(challenge.contains("invalid_token"), authorization.is_some(), "{about}");
                    assert_eq!(code(answer, 401).await, "unauthenticated", "{about}");
                }
                403 => {
                    let challenge = challenge.expect("it says what is needed");
                    assert!(challenge.contains("insufficient_scope") && challenge.contains("scope=\"write\""));
                    assert_eq!(code(answer, 403).await, "insufficient_scope", "{about}");
                }
                status => assert_eq!(answer.status().as_u16(), status, "{about}"),
            }
        }
    }
    for open in ["/livez", "/readyz", "/api/v1/openapi.json"] {
        let answer = api.ask(Method::GET, open).send().await.expect("it answers");
        assert_eq!(answer.status(), 200, "{open} needs no token");
    }
    let closed = api.ask(Method::GET, "/metrics").send().await.expect("it answers");
    assert_eq!(code(closed, 401).await, "unauthenticated");
    let metrics = api.ask(Method::GET, "/metrics").bearer_auth(READ).send().await.expect("it answers");
    assert!(metrics.headers()["content-type"].to_str().expect("text").starts_with("application/openmetrics-text"));
    let metrics = metrics.text().await.expect("a text");
    assert!(metrics.contains("connection_auditor_build_info{") && metrics.ends_with("# EOF\n"), "{metrics}");
    let foreign = api.get("/api/v1/status").await;
    assert_eq!(foreign.status(), 200);
    let named = api.ask(Method::GET, "/api/v1/status").bearer_auth(READ).header("host", "ops.acme.example");
    assert_eq!(named.send().await.expect("it answers").status(), 200, "with tokens, any name of the machine will do");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_calls_who_asked_by_name_and_holds_no_token() {
    let mut world = World::mixed(On::Embedded, 1, Mix::only(&["expired_permanent"])).await;
    world.set("log.filter", "trace");
    let mut api = Api::of(world, &["--roles", "http"]).await;
    for token in [READ, WRITE, "hunter2-hunter2-hunter2"] {
        let _ =
            api.ask(Method::GET, "/api/v1/status?secret=hunter2").bearer_auth(token).send().await.expect("it answers");
    }
    let answer = api.ask(Method::GET, "/api/v1/status").bearer_auth(READ).header("x-request-id", "trace:7f.A-1_b");
    let answer = answer.send().await.expect("it answers");
    assert_eq!(answer.headers()["x-request-id"], "trace:7f.A-1_b", "a sane id is taken over");
    for odd in ["", "a b", "a;b", &"x".repeat(65), "ü"] {
        let request = api.ask(Method::GET, "/api/v1/status").bearer_auth(READ).header("x-request-id", odd);
        let answer = request.send().await.expect("it answers");
        assert_ne!(answer.headers()["x-request-id"].as_bytes(), odd.as_bytes(), "{odd:?}");
    }
    api.world.signal(api.worker, Signal::SIGTERM);
    assert_eq!(api.world.wait_for_exit(api.worker, Duration::from_secs(20)), Some(0));
    let logs = api.world.logs();
    assert!(logs.contains("caller=\"support\"") && logs.contains("caller=\"app\""), "{logs}");
    assert!(logs.contains("trace:7f.A-1_b"), "{logs}");
    for secret in [READ, WRITE, "hunter2"] {
        assert!(!logs.contains(secret), "{secret}:\n{logs}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tokens_this_machine_may_do_anything_and_no_page_of_strangers_may() {
    let world = World::mixed(On::Embedded, 1, Mix::only(&["expired_permanent"])).await;
    let api = Api::as_it_is(world, &["--roles", "http"]).await;
    let audits = "/api/v1/users/ann/audits";
    let answer = api.ask(Method::POST, audits).send().await.expect("it answers");
    assert_eq!(answer.status(), 202);
    for path in ["/api/v1/status", "/readyz", "/api/v1/openapi.json", "/nothing"] {
        let answer =
            api.ask(Method::GET, path).header("host", "rebound.evil.example").send().await.expect("it answers");
        assert_eq!(code(answer, 421).await, "foreign_host", "{path}");
    }
    let page = |origin: &str| api.ask(Method::POST, audits).header("origin", origin.to_owned()).send();
    for origin in ["https://evil.example", "http://localhost:3000", "null"] {
        assert_eq!(code(page(origin).await.expect("it answers"), 403).await, "foreign_origin", "{origin}");
    }
    assert_eq!(page(&api.url).await.expect("it answers").status(), 202, "a page of our own");
    let form = api.ask(Method::POST, audits).header("sec-fetch-site", "cross-site").send().await.expect("it answers");
    assert_eq!(code(form, 403).await, "foreign_origin");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_reach_needs_a_token_and_a_wrong_list_is_told_by_its_line() {
    let mut world = World::mixed(On::Embedded, 1, Mix::only(&["expired_permanent"])).await;
    world.set("http.ops.listen", "0.0.0.0:8641");
    let refused = world.command(&["run"]);
    assert_eq!(refused.status.code(), Some(64));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("http.ops.listen") && told.contains("no token is set"), "{told}");

    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "# old\nsupport:0123456789abcdef\nhunter2\n").expect("it is written");
    world.set("http.ops.read_tokens_file", file.path().display());
    let refused = world.command(&["check-config", "--offline"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("http.ops.read_tokens_file") && told.contains("line 3"), "{told}");
    assert!(!told.contains("hunter2") && !told.contains("no token is set"), "{told}");

    std::fs::write(file.path(), "support:0123456789abcdef\n").expect("it is written");
    let accepted = world.command(&["check-config", "--offline"]);
    assert_eq!(accepted.status.code(), Some(0), "{accepted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_at_an_address_of_ones_own_is_refused() {
    let api = Api::open().await;
    let second = api.world.command(&["run", "--roles", "http"]);
    assert_eq!(second.status.code(), Some(1));
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(told.contains("http.ops.listen") && told.contains("cannot listen"), "{told}");
}
