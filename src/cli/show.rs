//! What commands print: lines and tables for people, JSON for programs.
//!
//! A reader that goes away (`status | head -1`) ends nothing and is no error; output that cannot be written for another reason
//! (a full disk) is remembered, and ends the command with exit code 1.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, TableStyle, presets};
use serde::Serialize;

/// No table is wider, and none is where standard output is no terminal.
const WIDEST: u16 = 120;
/// Narrower than this a table is not made, however narrow the terminal is.
const NARROWEST: u16 = 60;
/// Columns and a line under their names, nothing around them: it reads well in a terminal and in a file.
const STYLE: TableStyle = presets::NOTHING.header_separator(LineStyle::none().fill('─').junction('─'));

/// Some output could not be written.
static LOST: AtomicBool = AtomicBool::new(false);

/// Prints a line on standard output.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::show::line(format_args!($($text)*)) };
}

/// Prints a line on standard error: what is not part of the result.
macro_rules! hint {
    ($($text:tt)*) => { $crate::cli::show::aside(format_args!($($text)*)) };
}

pub(super) use {hint, say};

/// A line on standard output; see [`say!`].
pub(super) fn line(text: fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    note(writeln!(out, "{text}").and_then(|()| out.flush()));
}

/// A line on standard error; see [`hint!`].
pub(super) fn aside(text: fmt::Arguments<'_>) {
    // There is nowhere left to say that this failed.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

fn note(written: io::Result<()>) {
    if written.is_err_and(|error| error.kind() != ErrorKind::BrokenPipe) {
        LOST.store(true, Ordering::Relaxed);
    }
}

/// Whether some output could not be written, other than because nobody reads on.
pub(super) fn output_was_lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// Prints a value as JSON, for programs.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(format_args!("{}", serde_json::to_string_pretty(value)?));
    Ok(())
}

/// Rows under a header, fitted to the terminal.
pub(super) struct Table(comfy_table::Table);

impl Table {
    /// A table with a header.
    pub(super) fn new<const N: usize>(header: [&str; N]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic);
        let width = table.width().unwrap_or(WIDEST).clamp(NARROWEST, WIDEST);
        table.set_width(width).set_header(header);
        Self(table)
    }

    /// These columns hold numbers: their digits stand under each other.
    pub(super) fn numbers(mut self, columns: &[usize]) -> Self {
        for column in columns {
            if let Some(column) = self.0.column_mut(*column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self
    }

    /// The cells of these columns stay on one line, so that they can be copied.
    pub(super) fn whole(mut self, columns: &[usize]) -> Self {
        for column in columns {
            if let Some(column) = self.0.column_mut(*column) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        self
    }

    /// Adds a row. Control characters, which a terminal would obey, are shown as `�`: ids and names come from outside.
    pub(super) fn row<const N: usize>(&mut self, cells: [&str; N]) {
        self.0.add_row(cells.map(plain));
    }

    /// Whether there is no row.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.trim_fmt())
    }
}

/// A text from outside without control characters.
pub(super) fn plain(text: &str) -> String {
    text.replace(|character: char| character.is_control(), "\u{fffd}")
}

/// An instant, to the second, in UTC.
pub(super) fn instant(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// A time span as people say it: tenths below a minute, whole seconds above.
pub(super) fn span(span: Duration) -> String {
    if span < Duration::from_secs(60) {
        return format!("{:.1} s", span.as_secs_f64());
    }
    humantime::format_duration(Duration::from_secs(span.as_secs())).to_string()
}

/// A number, its thousands apart.
pub(super) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A count with its noun.
pub(super) fn count(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(n), if n == 1 { one } else { many })
}

/// An error with its causes, on one line. A cause that the text before it repeats is said once.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_and_agree_with_their_noun() {
        assert_eq!(count(1, "user", "users"), "1 user");
        assert_eq!(count(0, "user", "users"), "0 users");
        assert_eq!(count(1_234_567, "user", "users"), "1,234,567 users");
    }

    #[test]
    fn spans_are_said_to_the_tenth_below_a_minute_and_in_seconds_above() {
        assert_eq!(span(Duration::from_millis(1_787)), "1.8 s");
        assert_eq!(span(Duration::from_millis(61_900)), "1m 1s");
    }

    #[test]
    fn a_table_fits_its_width_and_keeps_what_is_to_be_copied_whole() {
        let mut table = Table::new(["id", "reason"]).whole(&[0]);
        let id = "01a1fe26-913d-765d-9584-2acd1230701c";
        table.row([id, &"the worker that took it died ".repeat(10)]);
        let shown = table.to_string();
        assert!(shown.lines().all(|line| line.chars().count() <= usize::from(WIDEST)), "{shown}");
        assert!(shown.contains(id), "{shown}");
        assert!(shown.lines().all(|line| line == line.trim_end()), "{shown}");
    }

    #[test]
    fn what_a_terminal_would_obey_is_not_printed() {
        let mut table = Table::new(["user"]);
        table.row(["\u{1b}[31mred\u{7}"]);
        assert!(table.to_string().contains("\u{fffd}[31mred\u{fffd}"));
    }

    #[test]
    fn a_cause_that_was_said_is_not_said_again() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot connect: refused")]
        struct Outer(#[source] io::Error);
        assert_eq!(chain(&Outer(io::Error::other("refused"))), "cannot connect: refused");
        assert_eq!(chain(&Outer(io::Error::other("no route"))), "cannot connect: refused: no route");
    }
}
