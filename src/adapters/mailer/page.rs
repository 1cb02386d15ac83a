//! The two parts of a mail, filled in: plain text and HTML.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{Environment, UndefinedBehavior};

use super::words::Words;

const TEXT: &str = "digest.txt";
const HTML: &str = "digest.html";

/// The templates, parsed once. A name that a template does not know is an error, never a gap in a mail.
#[derive(Debug)]
pub(super) struct Templates(Environment<'static>);

/// Both parts of one mail.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) text: String,
    pub(super) html: String,
}

impl Templates {
    pub(super) fn new() -> Result<Self, minijinja::Error> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_syntax(
            SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?,
        );
        environment.add_template(TEXT, include_str!("templates/digest.txt"))?;
        environment.add_template(HTML, include_str!("templates/digest.html"))?;
        Ok(Self(environment))
    }

    pub(super) fn fill(&self, words: &Words) -> Result<Page, minijinja::Error> {
        let words = Value::from(Serde(words));
        let text = self.0.get_template(TEXT)?.render(words.clone())?;
        let html = self.0.get_template(HTML)?.render(words)?;
        Ok(Page { text, html })
    }
}
