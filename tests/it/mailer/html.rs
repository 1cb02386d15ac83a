//! HTML as a browser reads it, errors and all.

use std::cell::RefCell;

use html5ever::tendril::TendrilSink;
use html5ever::tokenizer::TokenizerOpts;
use html5ever::{ParseOpts, parse_document};
use markup5ever_rcdom::{Handle, NodeData, RcDom};

pub(crate) struct Html(RcDom);

/// A link: where it leads, its text, and what a screen reader calls it.
pub(crate) struct Link {
    pub(crate) url: String,
    pub(crate) text: String,
    pub(crate) label: Option<String>,
}

impl Html {
    pub(crate) fn parse(html: &str) -> Self {
        let tokenizer = TokenizerOpts { exact_errors: true, ..TokenizerOpts::default() };
        Self(parse_document(RcDom::default(), ParseOpts { tokenizer, ..ParseOpts::default() }).one(html))
    }

    /// What the standard calls errors, though every browser puts up with them.
    pub(crate) fn errors(&self) -> Vec<String> {
        self.0.errors.borrow().iter().map(ToString::to_string).collect()
    }

    /// Every element, by its name and attributes.
    pub(crate) fn elements(&self) -> Vec<(String, Vec<(String, String)>)> {
        let found = RefCell::new(Vec::new());
        walk(&self.0.document, &|node| {
            if let NodeData::Element { name, .. } = &node.data {
                found.borrow_mut().push((name.local.to_string(), attributes(node)));
            }
            true
        });
        found.into_inner()
    }

    pub(crate) fn links(&self) -> Vec<Link> {
        let found = RefCell::new(Vec::new());
        walk(&self.0.document, &|node| {
            if let Some(url) = attribute(node, "href") {
                let text = text_of(node, &|_| true).join(" ");
                found.borrow_mut().push(Link { url, text, label: attribute(node, "aria-label") });
            }
            true
        });
        found.into_inner()
    }

    /// What a reader sees but for the links, piece by piece.
    pub(crate) fn visible(&self) -> Vec<String> {
        text_of(&self.0.document, &|node| {
            let hidden = attribute(node, "style").is_some_and(|style| style.contains("display:none"));
            let name = match &node.data {
                NodeData::Element { name, .. } => name.local.to_string(),
                _ => String::new(),
            };
            !hidden && attribute(node, "aria-hidden").is_none() && !["head", "a"].contains(&name.as_str())
        })
    }
}

fn walk(node: &Handle, enter: &dyn Fn(&Handle) -> bool) {
    if enter(node) {
        for child in node.children.borrow().iter() {
            walk(child, enter);
        }
    }
}

fn text_of(node: &Handle, enter: &dyn Fn(&Handle) -> bool) -> Vec<String> {
    let found = RefCell::new(Vec::new());
    walk(node, &|node| {
        if let NodeData::Text { contents } = &node.data {
            let text = contents.borrow().split_whitespace().collect::<Vec<_>>().join(" ");
            if !text.is_empty() {
                found.borrow_mut().push(text);
            }
        }
        enter(node)
    });
    found.into_inner()
}

fn attributes(node: &Handle) -> Vec<(String, String)> {
    match &node.data {
        NodeData::Element { attrs, .. } => {
            attrs.borrow().iter().map(|one| (one.name.local.to_string(), one.value.to_string())).collect()
        }
        _ => Vec::new(),
    }
}

fn attribute(node: &Handle, name: &str) -> Option<String> {
    attributes(node).into_iter().find(|(own, _)| own == name).map(|(_, value)| value)
}
