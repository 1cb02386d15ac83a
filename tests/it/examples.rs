//! The examples run, and say what their readers are promised.

use std::process::Command;

/// Builds an example, which takes a while the first time, and runs it; returns what it printed.
async fn run(name: &'static str) -> String {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["run", "--quiet", "--offline", "--example", name])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("CONNECTION_AUDITOR_COMPOSIO__API_KEY");
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it ends").expect("cargo runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} failed\n{out}\n{err}");
    out.into_owned()
}

/// What it printed, without what differs from run to run.
async fn shown(name: &'static str) -> String {
    let out = run(name).await;
    let words = out.split_inclusive(char::is_whitespace).map(|word| {
        let bare = word.trim_end().trim_end_matches([')', ',', ':']);
        let rest = &word[bare.len()..];
        if bare.starts_with("ca_") {
            format!("ca_…{rest}")
        } else if bare.starts_with("http://127.0.0.1:") {
            format!("http://127.0.0.1:…/link/lk_…{rest}")
        } else {
            word.to_owned()
        }
    });
    let text: String = words.collect();
    let as_of = text.lines().map(|line| if line.starts_with("as of ") { "as of …" } else { line });
    as_of.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_signs_up_and_connects_once() {
    insta::assert_snapshot!(shown("sign_up").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settings_page_shows_what_is_connected_and_where_to_mend_it() {
    insta::assert_snapshot!(shown("settings_page").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_is_gated_by_what_the_user_connected() {
    insta::assert_snapshot!(shown("gated_action").await);
}
