//! Follows prepared statements that are made and dropped by SQL, so that later messages are recorded with the right
//! text: PREPARE, DEALLOCATE and DISCARD ALL.

use super::facts;
use super::prepared::{Names, Prepared};

/// Whether a command with this tag changes prepared statements.
pub(crate) fn matters(command_tag: &[u8]) -> bool {
    matches!(
        command_tag,
        b"PREPARE" | b"DEALLOCATE" | b"DEALLOCATE ALL" | b"DISCARD ALL"
    )
}

/// Applies what a statement that has run did to the prepared statements.
pub(crate) fn follow(statements: &mut Names<Prepared>, command_tag: &[u8], sql: &str) {
    match command_tag {
        b"DEALLOCATE ALL" | b"DISCARD ALL" => statements.clear(),
        b"DEALLOCATE" => match name_behind(sql, &["deallocate", "prepare"]) {
            Some(name) => drop(statements.set(name.as_bytes(), None)),
            // A spelling not followed here: no text at all is better than a wrong one.
            None => statements.clear(),
        },
        b"PREPARE" => match name_behind(sql, &["prepare"]) {
            Some(name) if statements.has_room(sql.len()) => {
                let prepared = facts::not_analysed(sql);
                drop(statements.set(name.as_bytes(), Some(prepared)));
            }
            _ => statements.clear(),
        },
        _ => {}
    }
}

/// The identifier behind leading keywords, the first of which must be there; `None` for comments and Unicode escapes.
fn name_behind(sql: &str, keywords: &[&str]) -> Option<String> {
    let mut rest = sql.trim_start();
    for (index, keyword) in keywords.iter().enumerate() {
        let word_end = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let (word, behind) = rest.split_at(word_end);
        if word.eq_ignore_ascii_case(keyword) {
            rest = behind.trim_start();
        } else if index == 0 {
            return None;
        }
    }
    if let Some(quoted) = rest.strip_prefix('"') {
        let mut name = String::new();
        let mut chars = quoted.chars();
        loop {
            match chars.next()? {
                '"' if chars.as_str().starts_with('"') => {
                    chars.next();
                    name.push('"');
                }
                '"' => return Some(name),
                other => name.push(other),
            }
        }
    }
    let end = rest
        .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
        .unwrap_or(rest.len());
    let (name, behind) = rest.split_at(end);
    let is_unicode_escape = name.eq_ignore_ascii_case("u") && behind.starts_with('&');
    (!name.is_empty() && !is_unicode_escape).then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_as_postgresql_reads_them() {
        let deallocate = |sql| name_behind(sql, &["deallocate", "prepare"]);
        let name = |text: &str| Some(text.to_owned());
        assert_eq!(deallocate("DEALLOCATE s1"), name("s1"));
        assert_eq!(deallocate("deallocate PREPARE \"S\"\"1\""), name("S\"1"));
        assert_eq!(
            deallocate("deallocate Pdo_Stmt_00000001"),
            name("pdo_stmt_00000001")
        );
        assert_eq!(deallocate("deallocate /* x */ s"), None);
        assert_eq!(deallocate("deallocate U&\"s\""), None);
        assert_eq!(
            name_behind("PREPARE q(int) AS SELECT $1", &["prepare"]),
            name("q")
        );
    }

    #[test]
    fn a_statement_prepared_by_sql_is_known_by_its_text() {
        let mut statements = super::super::prepared::statements();
        follow(&mut statements, b"PREPARE", "PREPARE a AS SELECT 1");
        assert_eq!(
            statements.get(b"a").unwrap().text.sql(),
            "PREPARE a AS SELECT 1"
        );
        follow(&mut statements, b"DEALLOCATE", "DEALLOCATE a");
        assert!(statements.get(b"a").is_none());
    }
}
