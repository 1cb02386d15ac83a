//! The sources keep to their floors: who may use whom, which crate lives in which room, how long a file may be.

use std::path::Path;

/// The floor of each module of the crate; `simulator` stands beside and has none.
const FLOORS: [(&str, usize); 10] = [
    ("domain", 0),
    ("config", 1),
    ("adapters", 2),
    ("audit", 3),
    ("pipeline", 4),
    ("http", 5),
    ("telemetry", 5),
    ("cli", 6),
    ("app", 6),
    ("shutdown", 6),
];
/// The rooms of these do not know each other.
const SEPARATE: [&str; 2] = ["adapters", "pipeline"];
/// Where a crate may be named.
const CRATES: [(&str, &[&str]); 9] = [
    ("apalis", &["adapters/queue"]),
    ("apalis_core", &["adapters/queue"]),
    ("redis", &["adapters/queue"]),
    ("sqlx", &["adapters/store", "adapters/users", "adapters/queue/sqlite"]),
    ("reqwest", &["adapters/composio", "adapters/hooks"]),
    ("lettre", &["adapters/mailer"]),
    ("axum", &["http", "simulator"]),
    ("hyper", &["http"]),
    ("hyper_util", &["http"]),
];
const LONGEST: usize = 500;
const LONGEST_MAIN: usize = 40;

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The source without comments, texts and the tests at its end.
fn code(source: &str) -> String {
    let source = source.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let mut out = String::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let raw = ["r#\"", "r\""].into_iter().find(|start| rest.starts_with(start) && !out.ends_with(is_word));
        let end = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(start) = raw {
            let close = if start.len() == 3 { "\"#" } else { "\"" };
            rest[start.len()..].find(close).map_or(rest.len(), |end| start.len() + end + close.len())
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\") {
            rest[2..].find('\'').map_or(rest.len(), |end| end + 3)
        } else if first == '"' {
            let mut escaped = false;
            let close = rest[1..].find(|character| {
                let closes = character == '"' && !escaped;
                escaped = character == '\\' && !escaped;
                closes
            });
            close.map_or(rest.len(), |end| end + 2)
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        out.push(' ');
        rest = &rest[end..];
    }
    out
}

/// All paths that begin at the start of `text`, with groups in braces taken apart.
fn paths(text: &str, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        if text[at..].starts_with('{') {
            at += 1;
            loop {
                at += text[at..].len() - text[at..].trim_start_matches([' ', '\n', ',']).len();
                if at >= text.len() || text[at..].starts_with('}') {
                    return (at + 1).min(text.len());
                }
                let used = paths(&text[at..], &path, found);
                // ` as name` and anything unexpected up to the next element.
                at += used;
                at += text[at..].find([',', '}']).unwrap_or(text.len() - at);
            }
        }
        let word: String = text[at..].chars().take_while(|character| is_word(*character)).collect();
        at += word.len();
        if !word.is_empty() {
            path.push(word);
        }
        match text[at..].strip_prefix("::") {
            Some(_) if path.len() > prefix.len() => at += 2,
            _ => {
                found.push(path);
                return at;
            }
        }
    }
}

/// The modules of the crate that a source names, by their full paths.
fn uses(module: &[String], code: &str) -> Vec<Vec<String>> {
    let mut used = Vec::new();
    for (at, _) in code.match_indices("crate::").chain(code.match_indices("super::")) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|character| is_word(character) || character == ':' || character == '$') {
            continue;
        }
        let mut found = Vec::new();
        paths(&code[at..], &[], &mut found);
        used.extend(found.into_iter().map(|path| {
            let ups = path.iter().take_while(|word| *word == "super").count();
            let base = if ups == 0 { &[] } else { &module[..module.len().saturating_sub(ups)] };
            base.iter().chain(&path[ups.max(usize::from(ups == 0))..]).cloned().collect()
        }));
    }
    used
}

fn wrong_edge(own: &[String], other: &[String]) -> Option<String> {
    let (from, to) = (own.first()?, other.first()?);
    let edge = || format!("{} uses {}", own.join("::"), other.join("::"));
    if from == "simulator" {
        let id = to == "domain" && other.get(1).is_some_and(|room| room == "id");
        return (to != "simulator" && !id).then(|| format!("{}: the simulator may use domain::id alone", edge()));
    }
    if to == "simulator" {
        return (floor(from) != Some(6)).then(|| format!("{}: only the top floor may use the simulator", edge()));
    }
    let (Some(here), Some(there)) = (floor(from), floor(to)) else {
        return Some(format!("{}: a module without a floor", edge()));
    };
    if there > here {
        return Some(format!("{}: floor {here} uses floor {there}", edge()));
    }
    let apart = from == to && SEPARATE.contains(&from.as_str()) && own.len() > 1 && own.get(1) != other.get(1);
    apart.then(|| format!("{}: rooms of {from} do not know each other", edge()))
}

/// What is wrong with the file `name` (as in `adapters/store/mod.rs`).
fn problems(name: &str, source: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !source.starts_with("//! ") {
        found.push(format!("{name} does not begin with what it is (`//! …`)"));
    }
    let lines = source.lines().count();
    let limit = if name == "main.rs" { LONGEST_MAIN } else { LONGEST };
    if lines > limit {
        found.push(format!("{name} has {lines} lines, more than {limit}"));
    }
    let code = code(source);
    for (krate, rooms) in CRATES {
        let named = code.match_indices(krate).any(|(at, _)| {
            let before = code[..at].trim_end_matches(' ').chars().next_back();
            let after = &code[at + krate.len()..];
            let starts = !before.is_some_and(|character| is_word(character) && !code[..at].ends_with(' '))
                && !code[..at].ends_with("::");
            let imported = code[..at].ends_with("use ") && after.starts_with([';', ' ']);
            starts && (after.starts_with("::") || imported)
        });
        if named && !rooms.iter().any(|room| name.starts_with(&format!("{room}/")) || name == format!("{room}.rs")) {
            found.push(format!("{name} names the crate {krate}, which lives in {}", rooms.join(" and ")));
        }
    }
    let module: Vec<String> =
        name.trim_end_matches(".rs").trim_end_matches("/mod").split('/').map(ToOwned::to_owned).collect();
    if !matches!(name, "lib.rs" | "main.rs") {
        found.extend(uses(&module, &code).iter().filter_map(|other| wrong_edge(&module, other)));
    }
    found
}

fn sources(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
}

#[test]
fn every_source_keeps_to_its_floor() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 20, "the sources were found");
    let wrong: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let name = file.strip_prefix(&root).expect("below the root").to_string_lossy().replace('\\', "/");
            problems(&name, &std::fs::read_to_string(file).expect("a source"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_wrong_edge_is_found_however_it_is_written() {
    for (name, source) in [
        ("domain/slot.rs", "use crate::config::Config;"),
        ("config/mod.rs", "fn f() { let x = crate::adapters::store::open(); }"),
        ("adapters/store/mod.rs", "use crate::adapters::queue::Queue;"),
        ("adapters/store/mod.rs", "use super::queue::Queue;"),
        ("adapters/store/row.rs", "use super::super::mailer;"),
        ("adapters/users/mod.rs", "use crate::{domain::id::UserId, adapters::{mailer as post}};"),
        ("pipeline/checker.rs", "use super::notifier::Notifier;"),
        ("pipeline/checker/mod.rs", "use crate::pipeline::{checker::x, sweeper};"),
        ("audit/observe.rs", "use crate::pipeline::checker;"),
        ("simulator/mod.rs", "use crate::domain::{id::UserId, verdict::Verdict};"),
        ("pipeline/sweeper.rs", "use crate::simulator::Population;"),
        ("domain/slot.rs", "use crate::\n    telemetry;"),
        ("domain/slot.rs", "use crate::novelty::X;"),
        ("pipeline/checker.rs", "use sqlx::Row;"),
        ("audit/observe.rs", "fn f() -> redis::Value {}"),
        ("app.rs", "use apalis_core::task::Task;"),
        ("cli/mod.rs", "use reqwest;"),
        ("pipeline/notifier.rs", "use lettre::Message;"),
        ("adapters/composio/mod.rs", "async fn f() { axum::serve().await }"),
    ] {
        let found = problems(name, &format!("//! A file.\n\n{source}\n"));
        assert_eq!(found.len(), 1, "{name}: {source}: {found:?}");
    }
    assert_eq!(problems("domain/id.rs", "use std::fmt;\n").len(), 1, "no head");
    assert_eq!(problems("domain/id.rs", &format!("//! Long.\n{}", "\n".repeat(500))).len(), 1);
    assert_eq!(problems("main.rs", &format!("//! Long.\n{}", "\n".repeat(40))).len(), 1);
}

#[test]
fn what_is_right_is_left_in_peace() {
    for (name, source) in [
        ("adapters/store/row.rs", "use super::Store; use super::super::store::X; use crate::adapters::store::Y;"),
        ("adapters/queue/mod.rs", "use redis::Value; use crate::domain::{id::{UserId, SweepId as S}, job};"),
        ("pipeline/checker.rs", "use crate::audit::observe; // not crate::pipeline::sweeper, not sqlx::Row"),
        ("pipeline/mod.rs", "pub mod checker;\npub mod sweeper;\nuse crate::adapters::queue::redis::RedisQueue;"),
        ("domain/slot.rs", "const A: &str = \"use crate::app; sqlx::x\"; const B: &str = r#\"crate::\"app\"#;"),
        ("domain/slot.rs", "fn f() {}\n#[cfg(test)]\nmod tests { use crate::config::Config; }"),
        ("simulator/mod.rs", "use axum::Router; use crate::domain::id::UserId; use crate::simulator::x;"),
        ("cli/demo.rs", "use crate::simulator::Simulator; use crate::app; pub(crate) fn f() {}"),
        ("domain/slot.rs", "fn f(c: char) -> bool { c == '\"' || c == '\\'' } use super::id::UserId;"),
    ] {
        assert_eq!(problems(name, &format!("//! A file.\n\n{source}\n")), Vec::<String>::new(), "{name}");
    }
}
