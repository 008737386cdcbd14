//! The command line inside the startup parameter `options`.

use crate::refusal::Refusal;

/// Splits `options` as PostgreSQL does and returns the settings in it, names as PostgreSQL looks them up.
///
/// Words end at white space, a backslash takes the next character as it is (`pg_split_opts`). `-c name=value`,
/// `-cname=value` and `--name=value` are settings, in whose names `-` stands for `_`. PostgreSQL knows further switches,
/// among them ones that lift protections; no client needs them.
///
/// # Errors
/// When there is anything but settings in it.
pub fn parse_options(options: &str) -> Result<Vec<(String, String)>, Refusal> {
    let mut words = split_words(options).into_iter();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let setting = if let Some(long) = word.strip_prefix("--") {
            long.to_owned()
        } else if word == "-c" {
            words.next().unwrap_or_default()
        } else if let Some(attached) = word.strip_prefix("-c") {
            attached.to_owned()
        } else {
            return Err(refused(
                "Only -c name=value and --name=value are understood.",
            ));
        };
        match setting.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                settings.push((
                    name.replace('-', "_").to_ascii_lowercase(),
                    value.to_owned(),
                ));
            }
            _ => return Err(refused("A setting has no value.")),
        }
    }
    Ok(settings)
}

fn split_words(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = None::<String>;
    let mut chars = options.chars();
    while let Some(character) = chars.next() {
        match character {
            // The white space of C's isspace in a UTF-8 locale's ASCII range.
            ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(chars.next()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

fn refused(detail: &str) -> Refusal {
    Refusal::control(
        "startup.options",
        "the startup parameter \"options\" is not understood",
        detail,
    )
    .with_hint("Set the parameter in one of these forms, or connect without it.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_split_as_postgresql_splits_them() {
        let check = |options: &str, expected: &[(&str, &str)]| {
            let expected: Vec<_> = expected
                .iter()
                .map(|(n, v)| (n.to_string(), v.to_string()))
                .collect();
            assert_eq!(parse_options(options), Ok(expected), "{options}");
        };
        check("", &[]);
        check("  -c  a=b ", &[("a", "b")]);
        check("-ca=b --x-y=z", &[("a", "b"), ("x_y", "z")]);
        check("-c a=b\\ c", &[("a", "b c")]);
        check("-c a=b\\\\c", &[("a", "b\\c")]);
        check("-c A-b=1\t-c\nc=2=3", &[("a_b", "1"), ("c", "2=3")]);
        check("-c ro\\le=x", &[("role", "x")]);
        check("-c a=\\", &[("a", "")]);
    }

    #[test]
    fn everything_else_is_refused() {
        for options in [
            "-O", "-c", "-c a", "--a", "x", "-d 5", "-Fc a=b", "- c", "-c =x", "\\-O", "-- a=b",
        ] {
            assert!(parse_options(options).is_err(), "{options}");
        }
    }
}
