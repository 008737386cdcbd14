//! Tests of the settings.

use super::*;

const TABLE: &[Setting] = &[
    Setting {
        name: "PGL_TEST_ADDR",
        help: "An address",
        default: Some(":8080"),
        secret: Secrecy::Public,
    },
    Setting {
        name: "PGL_TEST_KEY",
        help: "A key",
        default: None,
        secret: Secrecy::Secret,
    },
    // The one variable that every environment has.
    Setting {
        name: "PATH",
        help: "Taken from the environment",
        default: Some("nowhere"),
        secret: Secrecy::Public,
    },
];

fn settings(flags: &[&str]) -> Settings {
    let command = Settings::command("test", "A test", TABLE);
    let matches = command
        .try_get_matches_from(["test"].iter().chain(flags))
        .unwrap();
    Settings::from_matches(TABLE, &matches)
}

fn refuse(text: &str) -> Result<(), String> {
    Err(format!("does not like {text}"))
}

#[test]
fn a_flag_beats_the_environment_and_the_environment_beats_the_default() {
    let text = |flags: &[&str], name| settings(flags).text(name).unwrap();
    assert_eq!(text(&[], "PGL_TEST_ADDR").as_deref(), Some(":8080"));
    assert_eq!(
        text(&["--test-addr", ":1"], "PGL_TEST_ADDR").as_deref(),
        Some(":1")
    );
    assert_ne!(text(&[], "PATH").as_deref(), Some("nowhere"));
    assert_eq!(text(&["--path=/x"], "PATH").as_deref(), Some("/x"));
    assert_eq!(
        text(&["--test-addr="], "PGL_TEST_ADDR").as_deref(),
        Some(":8080")
    );
}

#[test]
fn errors_name_setting_and_source() {
    let message = |flags: &[&str], name| {
        settings(flags)
            .required(name, refuse)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        message(&[], "PGL_TEST_ADDR"),
        "PGL_TEST_ADDR (default): does not like :8080"
    );
    assert_eq!(
        message(&["--test-addr=:1"], "PGL_TEST_ADDR"),
        "PGL_TEST_ADDR (from the command line): does not like :1"
    );
    assert!(message(&[], "PATH").starts_with("PATH (from the environment): does not like "));
    assert_eq!(
        message(&[], "PGL_TEST_KEY"),
        "PGL_TEST_KEY: is required and was not given"
    );
    assert_eq!(
        message(&[], "PGL_OTHER"),
        "settings: there is no setting PGL_OTHER here"
    );
}

#[test]
fn a_secret_is_in_no_error_and_no_help() {
    let settings = settings(&["--test-key", "hunter2"]);
    let error = settings.required("PGL_TEST_KEY", refuse).unwrap_err();
    assert_eq!(
        error.to_string(),
        "PGL_TEST_KEY (from the command line): does not like [secret]"
    );
    assert!(!format!("{settings:?} {error:?}").contains("hunter2"));
}

#[test]
fn pairs_are_for_embedding() {
    let settings = Settings::from_pairs(TABLE, [("PGL_TEST_ADDR", "x".to_owned())]).unwrap();
    assert!(settings.is_given("PGL_TEST_ADDR"));
    assert!(!settings.is_given("PATH"));
    assert_eq!(settings.text("PATH").unwrap().as_deref(), Some("nowhere"));
    assert_eq!(settings.text("PGL_TEST_KEY").unwrap(), None);
    let error = Settings::from_pairs(TABLE, [("PGL_NOPE", String::new())]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "settings: there is no setting PGL_NOPE here"
    );
}

#[test]
fn help_shows_defaults_and_no_panics_hide_in_the_command() {
    let mut command = Settings::command("test", "A test", TABLE);
    command.clone().debug_assert();
    let help = command.render_long_help().to_string();
    assert!(
        help.contains("--test-addr <VALUE>") && help.contains("[default: :8080]"),
        "{help}"
    );
}

#[test]
fn small_parsers() {
    assert_eq!(parse_bool("true"), Ok(true));
    assert!(parse_bool("yes").is_err());
    assert_eq!(parse_number(1..=3u16)("3"), Ok(3));
    assert_eq!(
        parse_number(1..=3u16)("4"),
        Err("\"4\" is not a whole number from 1 to 3".to_owned())
    );
    assert_eq!(parse_seconds("300"), Ok(Duration::from_secs(300)));
    assert!(parse_seconds("0").is_err() && parse_seconds("1.5").is_err());
}
