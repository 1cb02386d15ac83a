//! In which language a mail is written: tags as apps keep them, and what follows from one.
//!
//! A tag is narrowed step by step, `pt-BR` → `pt`, until there are templates for it; its *family* are those steps. Names of
//! months come from the C library's locales, so that a language an operator adds brings none of its own.

use std::fmt;

use chrono::{DateTime, Datelike};
use chrono_tz::Tz;
use icu_locale_core::LanguageIdentifier;
use serde::Serialize;

/// A language, perhaps with its script and region: `pt-BR`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag(LanguageIdentifier);

impl Tag {
    /// Reads a tag as BCP 47 or a C library writes it: `pt-BR`, `pt_BR.UTF-8`; what follows after region is left out.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim().split(['.', '@']).next().unwrap_or_default().replace('_', "-");
        let id = LanguageIdentifier::try_from_locale_bytes(text.as_bytes()).ok()?;
        let known = !id.language.is_unknown();
        known.then(|| Self(LanguageIdentifier { variants: icu_locale_core::subtags::Variants::default(), ..id }))
    }

    /// The tag and what is wider, narrowest first: `zh-Hant-TW`, `zh-Hant`, `zh`.
    pub(super) fn family(&self) -> Vec<Self> {
        let without_region = LanguageIdentifier { region: None, ..self.0.clone() };
        let language = LanguageIdentifier { script: None, ..without_region.clone() };
        let mut family = vec![self.clone(), Self(without_region), Self(language)];
        family.dedup();
        family
    }

    /// `ltr` or `rtl`, as HTML has it.
    pub(super) fn direction(&self) -> &'static str {
        let by_script =
            self.0.script.map(|script| matches!(script.as_str(), "Arab" | "Hebr" | "Thaa" | "Syrc" | "Nkoo"));
        let by_language =
            matches!(self.0.language.as_str(), "ar" | "ckb" | "dv" | "fa" | "he" | "ps" | "sd" | "ug" | "ur" | "yi");
        if by_script.unwrap_or(by_language) { "rtl" } else { "ltr" }
    }

    /// The C library's locale of this language: that of the region, else any, for the months have the same names in all;
    /// where there is none, months are called as in English.
    pub(super) fn months(&self) -> chrono::Locale {
        let language = self.0.language.as_str();
        let of = |region: &str| format!("{language}_{region}").parse::<chrono::Locale>().ok();
        let own = self.0.region.and_then(|region| of(region.as_str()));
        let same_name = || of(&language.to_uppercase());
        let any =
            || ('A'..='Z').flat_map(|a| ('A'..='Z').map(move |b| [a, b])).find_map(|ab| of(&String::from_iter(ab)));
        own.or_else(same_name).or_else(any).unwrap_or(chrono::Locale::POSIX)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A day, taken apart, so that each language puts it together in its own way.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Date {
    day: u32,
    /// "November"
    month: String,
    /// 11
    month_number: u32,
    year: i32,
}

impl Date {
    /// The day on which an instant falls, with the month as this locale calls it.
    pub(super) fn of(at: DateTime<Tz>, months: chrono::Locale) -> Self {
        Self {
            day: at.day(),
            month: at.format_localized("%B", months).to_string(),
            month_number: at.month(),
            year: at.year(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(text: &str) -> Tag {
        Tag::parse(text).unwrap()
    }

    #[test]
    fn a_tag_is_read_however_it_is_written() {
        for (text, read) in [
            ("pt-BR", "pt-BR"),
            ("pt_br", "pt-BR"),
            ("de_DE.UTF-8", "de-DE"),
            ("sr_RS@latin", "sr-RS"),
            ("ZH-hant-tw", "zh-Hant-TW"),
            ("de-DE-1996-u-co-phonebk", "de-DE"),
            (" en ", "en"),
        ] {
            assert_eq!(tag(text).to_string(), read, "{text}");
        }
        for text in ["", "C", "POSIX-ish-nonsense", "../etc", "und", "deutsch land"] {
            assert_eq!(Tag::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_tag_is_narrowed_step_by_step() {
        let family = |text: &str| tag(text).family().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(family("zh-Hant-TW"), ["zh-Hant-TW", "zh-Hant", "zh"]);
        assert_eq!(family("pt-BR"), ["pt-BR", "pt"]);
        assert_eq!(family("de"), ["de"]);
    }

    #[test]
    fn months_are_called_as_the_language_calls_them() {
        let november = "2026-11-03T09:00:00Z".parse::<DateTime<chrono::Utc>>().unwrap().with_timezone(&Tz::UTC);
        for (locale, month) in [
            ("en", "November"),
            ("en-GB", "November"),
            ("de", "November"),
            ("fr", "novembre"),
            ("pt-BR", "novembro"),
            ("pt", "novembro"),
            ("ru", "ноября"),
            ("ja", "11月"),
            ("tlh", "November"),
        ] {
            assert_eq!(Date::of(november, tag(locale).months()).month, month, "{locale}");
        }
    }

    #[test]
    fn arabic_and_hebrew_run_from_right_to_left() {
        let directions = ["ar-EG", "he", "fa", "az-Arab", "en", "de", "ur-Latn"].map(|text| tag(text).direction());
        assert_eq!(directions, ["rtl", "rtl", "rtl", "rtl", "ltr", "ltr", "ltr"]);
    }
}
