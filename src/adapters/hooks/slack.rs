//! The incoming webhook of Slack: blocks for Slack itself, and a text that says the same for whoever shows only that (the
//! notification on a phone, Mattermost, Rocket.Chat, Discord).

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::domain::alert::{Alert, Message};
use crate::domain::notice::{self, Part, Tone, heading, instant};

/// Slack refuses messages of more blocks than this.
const BLOCKS: usize = 50;
/// Slack refuses a longer text in a block, in characters.
const BLOCK: usize = 3_000;
/// Slack refuses a longer header.
const HEADER: usize = 150;
/// Discord refuses a longer text; it is the strictest.
const TEXT: usize = 1_900;

/// The body of a message.
pub(super) fn body(message: &Message, app: Option<&str>) -> String {
    let (icon, colour) = match message.tone() {
        Tone::Firing => (":rotating_light:", "firing"),
        Tone::Resolved => (":white_check_mark:", "resolved"),
        Tone::Test => (":wave:", "test"),
    };
    let title = message.title();
    let mut blocks = vec![json!({
        "type": "header",
        "text": { "type": "plain_text", "text": cut(&title, HEADER), "emoji": false },
    })];
    let several = message.firing.len() + message.ended.len() > 1;
    for alert in &message.firing {
        if several {
            blocks.push(section(&format!("*{}*", escaped(&alert.condition.summary))));
        }
        blocks.extend(notice::parts(&alert.condition.detail).iter().map(|part| section(&part_text(part))));
        blocks.push(context(&format!("Since {}", instant(alert.since))));
    }
    blocks.extend(message.ended.iter().map(|alert| section(&over(alert))));
    let source = app.map_or_else(|| "connection-auditor".to_owned(), |app| format!("connection-auditor of {app}"));
    let foot = context(&escaped(&format!("{source} · {} · {colour}", heading(&message.kind))));
    if blocks.len() >= BLOCKS {
        blocks.truncate(BLOCKS - 2);
        blocks.push(section("… and more: `connection-auditor alerts list` shows all of it."));
    }
    blocks.push(foot);
    let body: Value = json!({ "text": text(icon, &title, message), "blocks": blocks });
    body.to_string()
}

/// Everything as one text, as far as there is room.
fn text(icon: &str, title: &str, message: &Message) -> String {
    let mut text = format!("{icon} *{}*", escaped(title));
    let several = message.firing.len() + message.ended.len() > 1;
    for alert in &message.firing {
        if several {
            let _ = write!(text, "\n\n*{}*", escaped(&alert.condition.summary));
        }
        for part in notice::parts(&alert.condition.detail) {
            text.push_str("\n\n");
            text.push_str(&part_text(&part));
        }
    }
    for alert in message.ended.iter().filter(|_| several) {
        text.push_str("\n\n");
        text.push_str(&over(alert));
    }
    cut(&text, TEXT)
}

fn over(alert: &Alert) -> String {
    let until = alert.ended_at.map(|at| format!(", over since {}", instant(at))).unwrap_or_default();
    format!(":white_check_mark: {} (since {}{until})", escaped(&alert.condition.summary), instant(alert.since))
}

fn part_text(part: &Part) -> String {
    match part {
        Part::Text(text) => escaped(text),
        Part::List(entries) => {
            entries.iter().map(|entry| format!("• {}", escaped(entry))).collect::<Vec<_>>().join("\n")
        }
        Part::Commands(lines) => format!("```\n{}\n```", escaped(&lines.join("\n"))),
    }
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": cut(text, BLOCK) } })
}

fn context(text: &str) -> Value {
    json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": cut(text, BLOCK) }] })
}

/// The three characters that Slack wants escaped; it is what keeps `<!channel>` and links from being made.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// At most so many characters; code that is cut through is closed again, and an escape is not cut through.
fn cut(text: &str, max: usize) -> String {
    const END: &str = "…\n```";
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(max - END.chars().count()).collect();
    let tail =
        kept.rfind('&').filter(|at| kept.get(*at..).is_some_and(|escape| escape.len() < 5 && !escape.contains(';')));
    kept.truncate(tail.unwrap_or(kept.len()));
    let is_open = kept.matches("```").count() % 2 == 1;
    kept + if is_open { END } else { "…" }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::alert::{Condition, kind};
    use crate::domain::id::AlertId;

    fn alert(summary: &str, detail: &str) -> Alert {
        Alert {
            id: AlertId(Uuid::from_u128(1)),
            condition: Condition {
                kind: kind::GUARD.to_owned(),
                subject: String::new(),
                summary: summary.to_owned(),
                detail: detail.to_owned(),
            },
            since: "2026-11-21T03:00:00Z".parse().expect("an instant"),
            told_at: None,
            ended_at: None,
            end_told: false,
        }
    }

    fn sent(firing: Vec<Alert>) -> Value {
        let message = Message { kind: kind::GUARD.to_owned(), firing, ended: Vec::new() };
        serde_json::from_str(&body(&message, Some("A<b>"))).expect("it is JSON")
    }

    #[test]
    fn nothing_from_outside_becomes_a_mention_or_a_link() {
        let sent = sent(vec![alert("<!channel> & co", "- <https://evil.example|you>\n\n    `<@U1>`"), alert("b", "")]);
        let all = sent.to_string();
        assert!(!all.contains("<!channel>") && !all.contains("<https") && !all.contains("<@U1>"), "{all}");
        assert!(all.contains("&lt;!channel&gt; &amp; co"), "{all}");
    }

    #[test]
    fn the_limits_of_slack_are_kept() {
        let long = format!("{}\n\n    {}", "a & ".repeat(2_000), "x".repeat(5_000));
        let sent = sent((0..60).map(|_| alert(&"s".repeat(400), &long)).collect());
        let blocks = sent["blocks"].as_array().expect("blocks");
        assert!(blocks.len() <= BLOCKS, "{}", blocks.len());
        for block in blocks {
            let text = block["text"]["text"].as_str().or(block["elements"][0]["text"].as_str()).expect("a text");
            let most = if block["type"] == "header" { HEADER } else { BLOCK };
            assert!((1..=most).contains(&text.chars().count()), "{} of {}", text.chars().count(), block["type"]);
            assert!(text.matches("```").count() % 2 == 0, "code is closed");
        }
        assert!(sent["text"].as_str().expect("a text").chars().count() <= TEXT);
        assert!(blocks[BLOCKS - 2].to_string().contains("alerts list"));
    }

    #[test]
    fn an_escape_is_not_cut_through() {
        let text = "&amp;".repeat(100);
        for max in 20..40 {
            let cut = cut(&text, max);
            assert!(cut.chars().count() <= max && cut.replace("&amp;", "") == "…", "{cut}");
        }
    }
}
