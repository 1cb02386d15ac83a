//! The document that describes the API, and whether it is the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use reqwest::Method;
use serde_json::Value;

use super::*;
use crate::support::world::BINARY;

const METHODS: [&str; 5] = ["get", "post", "put", "delete", "patch"];

fn document() -> Value {
    let printed = Command::new(BINARY).arg("openapi").env_clear().output().expect("the binary runs");
    assert!(printed.status.success(), "{printed:?}");
    serde_json::from_slice(&printed.stdout).expect("JSON")
}

/// Each path with its operations.
fn operations(document: &Value) -> BTreeMap<String, BTreeMap<String, Value>> {
    let paths = document["paths"].as_object().expect("paths").iter();
    let of = |item: &Value| {
        let all = item.as_object().expect("an item").iter();
        all.filter(|(key, _)| METHODS.contains(&key.as_str())).map(|(key, one)| (key.clone(), one.clone())).collect()
    };
    paths.map(|(path, item)| (path.clone(), of(item))).collect()
}

/// Everything that `$ref` names.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(target)) = fields.get("$ref") {
                found.insert(target.clone());
            }
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn the_document_is_as_it_was() {
    let mut document = document();
    document["info"]["version"] = "[version]".into();
    insta::assert_json_snapshot!("openapi", document);
}

#[test]
fn the_document_is_of_version_3_1_and_all_that_it_refers_to_is_there() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    for field in ["title", "version", "description"] {
        assert!(document["info"][field].as_str().is_some_and(|text| !text.is_empty()), "info.{field}");
    }
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 20, "references are found");
    for target in &found {
        let pointer = target.strip_prefix('#').expect("it is within the document");
        assert!(document.pointer(pointer).is_some(), "{target} leads nowhere");
    }
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    for name in schemas.keys() {
        assert!(found.contains(&format!("#/components/schemas/{name}")), "nothing uses the schema {name}");
    }
    let mut ids = BTreeSet::new();
    for (path, methods) in operations(&document) {
        let named: BTreeSet<String> =
            path.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0.to_owned())).collect();
        for (method, operation) in methods {
            let about = format!("{method} {path}");
            assert!(
                ids.insert(operation["operationId"].as_str().expect("an id").to_owned()),
                "{about}: its id is taken"
            );
            assert!(operation["summary"].is_string(), "{about} says what it does");
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let told: BTreeSet<String> = parameters
                .iter()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().expect("a name").to_owned())
                .collect();
            assert_eq!(told, named, "{about}");
            assert!(parameters.iter().all(|parameter| parameter["description"].is_string()), "{about}");
            let answers = operation["responses"].as_object().expect("answers");
            assert!(answers.keys().any(|status| status.starts_with('2')), "{about}");
            if operation["security"] != serde_json::json!([{}]) {
                let scope = if method == "get" { "read" } else { "write" };
                assert_eq!(operation["security"], serde_json::json!([{"token": [scope]}]), "{about}");
                assert!(
                    ["401", "403", "429", "500", "503"].iter().all(|status| answers.contains_key(*status)),
                    "{about}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_document_is_served_and_what_is_served_is_in_it() {
    let api = Api::open().await;
    let served = json(api.ask(Method::GET, "/api/v1/openapi.json").send().await.expect("it answers"), 200).await;
    assert_eq!(served, document(), "the worker and the command say the same");
    for (path, methods) in operations(&served) {
        let filled = path.replace("{id}", "00000000-0000-7000-8000-000000000000");
        let filled =
            filled.split('{').map(|part| part.split_once('}').map_or(part.to_owned(), |(_, rest)| format!("x{rest}")));
        let filled: String = filled.collect();
        for method in methods.keys() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            let answer = api.ask(method.clone(), &filled).send().await.expect("it answers").status();
            let expected = if path.ends_with("openapi.json") { 200 } else { 401 };
            assert_eq!(answer.as_u16(), expected, "{method} {path}");
        }
        // A method that no route has is answered with those that there are.
        let answer = api.ask(Method::TRACE, &filled).bearer_auth(WRITE).send().await.expect("it answers");
        assert_eq!(answer.status(), 405, "{path}");
        let allowed: BTreeSet<String> = answer.headers()["allow"]
            .to_str()
            .expect("text")
            .split(',')
            .map(|method| method.trim().to_lowercase())
            .filter(|method| method != "head")
            .collect();
        assert_eq!(allowed, methods.keys().cloned().collect(), "{path}");
    }
}

#[test]
fn no_route_of_the_api_is_made_without_its_part_of_the_document() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/api");
    let mut read = 0;
    for entry in std::fs::read_dir(root).expect("a folder") {
        let path = entry.expect("an entry").path();
        let source = std::fs::read_to_string(&path).expect("a source");
        read += 1;
        for way in [".route(", ".nest_service(", ".route_service(", "axum::routing"] {
            assert!(!source.contains(way), "{} makes a route by {way}", path.display());
        }
    }
    assert!(read > 5);
}
