//! The templates of mails: built in, replaced and added to by a folder of the operator, checked when they are read.
//!
//! ```text
//!  digest.txt  digest.html                  the two parts, without a word; for all languages
//!  de/subject.txt                           the subject of a language
//!  de/words.txt                             its phrases, one macro each
//!  de/digest.txt  de/digest.html            a part for one language only (none is built in)
//! ```
//!
//! Each file may be replaced on its own, and each phrase too: what `words.txt` of the folder does not say is said by the
//! built-in one of that language. Languages are never mixed in one mail: a language has all its phrases, or it is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

use chrono::{DateTime, Utc};
use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, ErrorKind, HtmlEscape, UndefinedBehavior};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::facts::Context;
use super::locale::Tag;
use super::message::MailError;
use super::page::{self, Page};
use super::samples;
use crate::domain::notification::Digest;

/// The language that is a model for others.
const MODEL: &str = "en";
const SUBJECT: &str = "subject.txt";
const WORDS: &str = "words.txt";
const TEXT: &str = "digest.txt";
const HTML: &str = "digest.html";
/// What a language may have of its own.
const OF_A_LOCALE: [&str; 4] = [SUBJECT, WORDS, TEXT, HTML];
/// What may stand beside the languages.
const OF_ALL: [&str; 2] = [TEXT, HTML];

/// The built-in templates: path in the folder of `mail.templates`, and content.
pub const BUILT_IN: [(&str, &str); 6] = [
    ("digest.txt", include_str!("templates/digest.txt")),
    ("digest.html", include_str!("templates/digest.html")),
    ("en/subject.txt", include_str!("templates/en/subject.txt")),
    ("en/words.txt", include_str!("templates/en/words.txt")),
    ("de/subject.txt", include_str!("templates/de/subject.txt")),
    ("de/words.txt", include_str!("templates/de/words.txt")),
];

/// Templates that cannot be used. Each names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// A file or the folder cannot be read.
    #[error("mail.templates: {path}: cannot be read")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody would ever use this file.
    #[error("mail.templates: {path}: {known}")]
    Unknown {
        /// Which.
        path: PathBuf,
        /// What may stand there.
        known: String,
    },
    /// Two folders for one language.
    #[error("mail.templates: {path}: another folder is for {locale} too: keep one of them")]
    Twice {
        /// One of them.
        path: PathBuf,
        /// The language.
        locale: String,
    },
    /// A language without a file that it must have.
    #[error("mail.templates: {locale}: there is no {file}: add it, with the built-in {MODEL}/{file} as a model")]
    Missing {
        /// The language.
        locale: String,
        /// The file.
        file: &'static str,
    },
    /// Users without a language would get no mail.
    #[error("mail.locale `{locale}`: there are no templates for it, only for {known}")]
    NoDefault {
        /// The setting.
        locale: String,
        /// The languages there are.
        known: String,
    },
    /// It does not parse.
    #[error("mail.templates: {0}")]
    Broken(minijinja::Error),
    /// It cannot be filled in; the error names file, line and what is missing.
    #[error("mail.templates: {error} (with sample `{sample}`, locale {locale})")]
    Unfillable {
        /// With which mail this was seen.
        sample: &'static str,
        /// In which language.
        locale: String,
        /// What is wrong.
        error: String,
    },
    /// A mail without a link that it must have, or without a subject.
    #[error("mail.templates: {file}: {what} (with sample `{sample}`)")]
    Incomplete {
        /// The file.
        file: String,
        /// What is not in the mail.
        what: &'static str,
        /// With which mail this was seen.
        sample: &'static str,
    },
}

/// All templates, parsed once. A name that a template does not know is an error, never a gap in a mail.
#[derive(Debug)]
pub(super) struct Templates {
    environment: Environment<'static>,
    /// By language tag.
    voices: BTreeMap<String, Voice>,
    /// The tag of the voice for everybody else.
    default: String,
}

/// One language, and the names of its templates.
#[derive(Debug)]
pub(super) struct Voice {
    pub(super) locale: Tag,
    pub(super) months: chrono::Locale,
    pub(super) subject: String,
    /// The most specific first.
    pub(super) words: Vec<String>,
    pub(super) text: String,
    pub(super) html: String,
    /// Of all these templates: another one as soon as a letter of them is.
    print: String,
}

impl Templates {
    /// The built-in templates, and those of this folder before them; each is filled in with every sample. Who has none of these
    /// languages is written to in `default`.
    pub(super) fn read(folder: Option<&Path>, default: &str) -> Result<Self, TemplateError> {
        let mut shelf = Shelf::built_in();
        if let Some(folder) = folder {
            shelf.add(folder)?;
        }
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_syntax(syntax().map_err(TemplateError::Broken)?);
        environment.set_auto_escape_callback(|name| match Path::new(name).extension() {
            Some(ending) if ending == "html" => AutoEscape::Html,
            _ => AutoEscape::None,
        });
        // So that an error names what is undefined. It would also keep what mails say, so it ends with the check.
        environment.set_debug(true);
        let contents: BTreeMap<String, String> = shelf.contents.iter().cloned().collect();
        for (name, content) in shelf.contents {
            environment.add_template_owned(name, content).map_err(TemplateError::Broken)?;
        }
        let voice = |(name, tag): (&String, &Tag)| Ok((name.clone(), Voice::of(tag, &shelf.files)?.printed(&contents)));
        let voices = shelf.locales.iter().map(voice).collect::<Result<_, TemplateError>>()?;
        let mut templates = Self { voices, environment, default: String::new() };
        templates.default =
            templates.locale_of(default).map(str::to_owned).ok_or_else(|| TemplateError::NoDefault {
                locale: default.to_owned(),
                known: templates.locales().collect::<Vec<_>>().join(", "),
            })?;
        templates.check()?;
        templates.environment.set_debug(false);
        Ok(templates)
    }

    /// The languages that there are templates for.
    pub(super) fn locales(&self) -> impl Iterator<Item = &str> {
        self.voices.keys().map(String::as_str)
    }

    /// In which of these languages somebody with this tag is written to; `None` if there is none for them.
    pub(super) fn locale_of(&self, tag: &str) -> Option<&str> {
        let family = Tag::parse(tag)?.family();
        family.iter().find_map(|tag| self.voices.get_key_value(&tag.to_string())).map(|(locale, _)| locale.as_str())
    }

    /// What a recipient reads.
    pub(super) fn fill(
        &self,
        digest: &Digest,
        app_name: Option<&str>,
        unsubscribe: Option<&Url>,
        test: bool,
    ) -> Result<Page, MailError> {
        let own = digest.locale.as_deref().and_then(|tag| self.locale_of(tag));
        let voice =
            self.voices.get(own.unwrap_or(&self.default)).expect("the default language was found when they were read");
        self.fill_as(voice, digest, app_name, unsubscribe, test)
    }

    fn fill_as(
        &self,
        voice: &Voice,
        digest: &Digest,
        app_name: Option<&str>,
        unsubscribe: Option<&Url>,
        test: bool,
    ) -> Result<Page, MailError> {
        let context = Context { locale: &voice.locale, months: voice.months, app_name, unsubscribe, test };
        page::fill(&self.environment, voice, digest, context)
    }

    /// Fills every language in with every sample: with and without all that a mail may have or not.
    fn check(&self) -> Result<(), TemplateError> {
        let stop: Url = "https://app.example/stop?user=1&token=2".parse().expect("a URL");
        for voice in self.voices.values() {
            for sample in samples::all(DateTime::<Utc>::UNIX_EPOCH, None) {
                for (app_name, unsubscribe, test) in [(Some("Acme"), Some(&stop), false), (None, None, true)] {
                    let digest = &sample.digest;
                    let page = self.fill_as(voice, digest, app_name, unsubscribe, test).map_err(|error| {
                        TemplateError::Unfillable {
                            sample: sample.name,
                            locale: voice.locale.to_string(),
                            error: explain(&error),
                        }
                    })?;
                    voice.check_page(&page, digest, unsubscribe).map_err(|(file, what)| TemplateError::Incomplete {
                        file,
                        what,
                        sample: sample.name,
                    })?;
                }
            }
        }
        Ok(())
    }
}

impl Voice {
    fn of(tag: &Tag, files: &BTreeMap<String, Vec<String>>) -> Result<Self, TemplateError> {
        let of_family = |file: &str| {
            let steps = tag.family().into_iter().map(|tag| format!("{tag}/{file}"));
            steps.filter_map(|path| files.get(&path)).flatten().cloned().collect::<Vec<_>>()
        };
        let missing = |file| TemplateError::Missing { locale: tag.to_string(), file };
        let words = of_family(WORDS);
        if words.is_empty() {
            return Err(missing(WORDS));
        }
        let first = |file| of_family(file).into_iter().next();
        let for_all = |file: &str| files.get(file).and_then(|names| names.first()).cloned();
        Ok(Self {
            months: tag.months(),
            subject: first(SUBJECT).ok_or_else(|| missing(SUBJECT))?,
            words,
            text: first(TEXT).or_else(|| for_all(TEXT)).ok_or_else(|| missing(TEXT))?,
            html: first(HTML).or_else(|| for_all(HTML)).ok_or_else(|| missing(HTML))?,
            locale: tag.clone(),
            print: String::new(),
        })
    }

    /// With the print of its templates, by the content of each.
    fn printed(self, contents: &BTreeMap<String, String>) -> Self {
        let names = [&self.subject, &self.text, &self.html].into_iter().chain(&self.words);
        let digest = names.filter_map(|name| contents.get(name)).fold(Sha256::new(), |digest, content| {
            digest.chain_update((content.len() as u64).to_be_bytes()).chain_update(content)
        });
        let print = digest.finalize().iter().take(4).fold(String::new(), |print, byte| print + &format!("{byte:02x}"));
        Self { print, ..self }
    }

    /// How reports name it: `de-0f3a91c2`.
    pub(super) fn name(&self) -> String {
        format!("{}-{}", self.locale, self.print)
    }

    /// Whether a mail has a subject, and both its parts every link; else the file and what is missing.
    fn check_page(
        &self,
        page: &Page,
        digest: &Digest,
        unsubscribe: Option<&Url>,
    ) -> Result<(), (String, &'static str)> {
        if page.subject.is_empty() {
            return Err((self.subject.clone(), "makes an empty subject"));
        }
        let links = digest.items.iter().map(|item| item.reconnect_url.as_str());
        let links = links.map(|link| (link, "leaves out the link of a connection"));
        let stop = unsubscribe.map(|url| (url.as_str(), "leaves out the link that stops these mails"));
        for (link, what) in links.chain(stop) {
            if !page.text.contains(link) {
                return Err((self.text.clone(), what));
            }
            if !page.html.contains(link) && !page.html.contains(&HtmlEscape(link).to_string()) {
                return Err((self.html.clone(), what));
            }
        }
        Ok(())
    }
}

/// The error, with the name of what is undefined: within macros only its place is known.
fn explain(error: &MailError) -> String {
    let MailError::Template(inner) = error else { return error.to_string() };
    let place = inner.range().zip(inner.template_source());
    match place.and_then(|(range, source)| source.get(range)) {
        Some(name) if inner.kind() == ErrorKind::UndefinedError && inner.detail().is_none() => {
            error.to_string().replacen("undefined value", &format!("undefined value: `{name}` is undefined"), 1)
        }
        _ => error.to_string(),
    }
}

fn syntax() -> Result<SyntaxConfig, minijinja::Error> {
    SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()
}

/// The files there are, before they are parsed.
#[derive(Default)]
struct Shelf {
    /// The names of the templates of a path as `de/words.txt`, the operator's before the built-in one.
    files: BTreeMap<String, Vec<String>>,
    /// The content of each template by its name, which is its path as errors show it.
    contents: Vec<(String, String)>,
    locales: BTreeMap<String, Tag>,
}

impl Shelf {
    fn built_in() -> Self {
        let mut shelf = Self::default();
        for (path, content) in BUILT_IN {
            if let Some(tag) = path.split_once('/').and_then(|(locale, _)| Tag::parse(locale)) {
                shelf.locales.insert(tag.to_string(), tag);
            }
            shelf.put(path.to_owned(), format!("built-in {path}"), content.to_owned());
        }
        shelf
    }

    fn put(&mut self, path: String, name: String, content: String) {
        self.files.entry(path).or_default().insert(0, name.clone());
        self.contents.push((name, content));
    }

    fn add(&mut self, folder: &Path) -> Result<(), TemplateError> {
        let mut own = BTreeSet::new();
        for (name, path) in entries(folder)? {
            if !path.is_dir() {
                self.add_file(&OF_ALL, None, &name, path)?;
                continue;
            }
            let Some(tag) = Tag::parse(&name) else {
                let known = "not the tag of a language: call the folder as `de` or `pt-BR`".to_owned();
                return Err(TemplateError::Unknown { path, known });
            };
            let locale = tag.to_string();
            if !own.insert(locale.clone()) {
                return Err(TemplateError::Twice { path, locale });
            }
            for (name, path) in entries(&path)? {
                self.add_file(&OF_A_LOCALE, Some(&locale), &name, path)?;
            }
            self.locales.insert(locale, tag);
        }
        Ok(())
    }

    fn add_file(
        &mut self,
        known: &[&str],
        locale: Option<&str>,
        name: &str,
        path: PathBuf,
    ) -> Result<(), TemplateError> {
        if !known.contains(&name) {
            let place =
                if locale.is_some() { "in the folder of a language" } else { "beside the folders of languages" };
            let known = format!("no template: {place} there can be {}", known.join(", "));
            return Err(TemplateError::Unknown { path, known });
        }
        let content =
            fs::read_to_string(&path).map_err(|source| TemplateError::Unreadable { path: path.clone(), source })?;
        let key = locale.map_or_else(|| name.to_owned(), |locale| format!("{locale}/{name}"));
        self.put(key, path.display().to_string(), content);
        Ok(())
    }
}

/// What is in a folder, by name; hidden files are those of other programs.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, TemplateError> {
    let unreadable = |source| TemplateError::Unreadable { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}
