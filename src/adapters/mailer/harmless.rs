//! Text from outside, made safe to stand in a header, a subject or a line of a mail.
//!
//! Names of users, apps and connections are typed by people and kept by other systems. Here they lose line ends, control
//! characters, and the invisible characters that turn the direction of text around; everything else is kept as it is, for
//! names are people's own. Escaping for HTML is the template's business.

/// The longest name of an app or a connection that is shown, in characters.
pub(super) const NAME: usize = 40;
/// How much is kept of what a mail server or a mail provider said, in characters.
const ANSWER: usize = 200;
/// The longest name of a person that is greeted, in characters.
const PERSON: usize = 60;

/// The text on one line, without control and direction characters, at most `max` characters long.
pub(super) fn one_line(text: &str, max: usize) -> String {
    let visible: String = text
        .chars()
        .filter(|c| !is_invisible(*c))
        .map(|c| if c.is_whitespace() || c.is_control() { ' ' } else { c })
        .collect();
    let line = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= max {
        return line;
    }
    let kept: String = line.chars().take(max.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end_matches([' ', '\u{200d}', '\u{fe0f}']))
}

/// The text, marked as a run of its own if it is written from right to left, so that it does not turn the words around it.
pub(super) fn isolated(text: &str) -> String {
    let from_right = |c| {
        matches!(c, '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' | '\u{10800}'..='\u{10fff}'
            | '\u{1e800}'..='\u{1efff}')
    };
    if text.contains(from_right) { format!("\u{2068}{text}\u{2069}") } else { text.to_owned() }
}

/// The name to greet somebody with, if it looks like one: sign-up forms are abused to send other people text and links.
pub(super) fn person(name: &str) -> Option<String> {
    let line = one_line(name, 2 * PERSON);
    let strange = line.is_empty()
        || line.chars().count() > PERSON
        || line.contains(['@', '<', '>', '"', '\\', '/', ':'])
        || line.split(' ').any(looks_like_a_host);
    (!strange).then_some(line)
}

/// What a mail server or a mail provider said, on one line and cut, without whatever could be an address: they like to repeat
/// the one they refuse, in many spellings. `recipient` is the address that it is about, whose part before the `@` counts too.
#[must_use]
pub fn without_addresses(answer: &str, recipient: Option<&str>) -> String {
    let original = one_line(answer, ANSWER);
    let line = original.to_lowercase();
    let local = recipient.and_then(|address| address.rsplit_once('@')).map(|(local, _)| local.to_lowercase());
    let telling = local.as_deref().filter(|local| local.chars().count() >= 2);
    let quoted = telling.filter(|local| local.contains(' ') && line.contains(local));
    if quoted.is_some() {
        return "(an answer that repeats the address)".to_owned();
    }
    let word = |word: &str| {
        let lower = word.to_lowercase();
        let spelt = ["@", "%40", "=40", "+40", "&#64;"].iter().any(|at| lower.contains(at));
        if spelt || telling.is_some_and(|local| lower.contains(local)) {
            "<redacted>".to_owned()
        } else {
            word.to_owned()
        }
    };
    original.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// `evil.example`, but neither `J.R.` nor `Jr.`: mail programs make links of it.
fn looks_like_a_host(word: &str) -> bool {
    word.split('.').skip(1).any(|label| label.chars().filter(|c| c.is_alphanumeric()).count() > 1)
}

/// Characters without a shape of their own that change what others look like. The joiners of scripts and emoji
/// (U+200C, U+200D) are not among them.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_and_control_characters_become_one_space() {
        assert_eq!(one_line("a\r\nBcc: b\u{0}\t c\u{2028}d", 40), "a Bcc: b c d");
    }

    #[test]
    fn direction_characters_are_dropped_and_emoji_are_kept() {
        assert_eq!(one_line("\u{202e}kcalS\u{202c} 👩\u{200d}💻", 40), "kcalS 👩\u{200d}💻");
    }

    #[test]
    fn what_is_written_from_right_to_left_stands_alone() {
        assert_eq!(isolated("סלאק"), "\u{2068}סלאק\u{2069}");
        assert_eq!(isolated("Slack 李"), "Slack 李");
        assert_eq!(one_line(&isolated("سلاك"), 40), "سلاك", "nobody else can set or end such a mark");
    }

    #[test]
    fn a_long_text_is_cut_by_characters_not_bytes() {
        assert_eq!(one_line(&"ö".repeat(50), 40), format!("{}…", "ö".repeat(39)));
        assert_eq!(one_line(&"ö".repeat(40), 40), "ö".repeat(40));
    }

    #[test]
    fn an_answer_loses_every_spelling_of_the_address() {
        let recipient = Some("ann.lee@example.org");
        for (answer, left) in [
            ("5.1.1 <ann.lee@example.org>: user unknown", "5.1.1 <redacted> user unknown"),
            ("no mailbox ANN.LEE here", "no mailbox <redacted> here"),
            ("see https://x.example/?rcpt=ann.lee%40example.org", "see <redacted>"),
            ("5.7.1 relaying denied", "5.7.1 relaying denied"),
            ("bounced to someone@else.example", "bounced to <redacted>"),
        ] {
            assert_eq!(without_addresses(answer, recipient), left);
        }
        let quoted = without_addresses("<\"ann lee\"@x.example>: unknown", Some("\"ann lee\"@x.example"));
        assert!(!quoted.contains("lee"));
    }

    #[test]
    fn names_of_people_are_greeted() {
        for name in ["Ann", "J.R. R. Tolkien", "Jean-Luc O’Neill Jr.", "李小龍", "محمد", "Zoë 🌻", "d'Arc, Jeanne"]
        {
            assert_eq!(person(name).as_deref(), Some(name));
        }
    }

    #[test]
    fn what_is_no_name_of_a_person_is_not_greeted() {
        for name in ["", "  ", "a@b.example", "win at evil.example", "http://x", "<b>Ann</b>", &"x".repeat(61)] {
            assert_eq!(person(name), None, "{name}");
        }
    }
}
