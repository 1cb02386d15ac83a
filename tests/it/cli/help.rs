//! Every `--help`, as reviewed: the commands are found by reading the help itself, so that none can be forgotten.

use super::{Place, assert_shown};

/// Nothing is wider, so that it fits beside something else.
const WIDEST: usize = 100;

/// The commands that a help lists.
fn listed(help: &str) -> Vec<String> {
    let commands = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    commands
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn every_help_is_as_reviewed() {
    let place = Place::new();
    let mut left = vec![Vec::<String>::new()];
    let mut seen = 0;
    while let Some(command) = left.pop() {
        let arguments: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
        let ran = place.run(&arguments);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{arguments:?}");
        let wide = ran.out.lines().find(|line| line.chars().count() > WIDEST);
        assert_eq!(wide, None, "{arguments:?}");
        left.extend(listed(&ran.out).into_iter().map(|name| [command.clone(), vec![name]].concat()));
        assert_shown!(format!("help {}", command.join(" ")).trim_end().replace([' ', '-'], "_"), ran.out);
        seen += 1;
    }
    assert_eq!(seen, 57, "a command came or went");
}

#[test]
fn the_short_help_fits_a_screen() {
    let ran = Place::new().run(&["-h"]);
    assert!(ran.out.lines().count() <= 43, "{}", ran.out);
    assert_shown!(ran.out);
}

#[test]
fn a_command_that_can_find_something_says_in_its_help_when_it_exits_with_2() {
    let place = Place::new();
    for command in [
        &["sweep"][..],
        &["check"],
        &["explain"],
        &["gate"],
        &["execute"],
        &["guard", "list"],
        &["policy", "simulate"],
        &["queue", "dead", "list"],
        &["users", "import"],
        &["webhooks", "show"],
        &["webhooks", "subscribe"],
    ] {
        let help = place.run(&[command, &["--help"]].concat()).out;
        assert!(help.contains("Exit code 2"), "{help}");
    }
}
