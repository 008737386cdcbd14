//! The target's own account of what it executed: PostgreSQL's log in the form that every major has (`csvlog`).

/// Columns of `csvlog`, which newer majors only add to.
/// <https://www.postgresql.org/docs/current/runtime-config-logging.html#RUNTIME-CONFIG-LOGGING-CSVLOG>
const MESSAGE: usize = 13;
const APPLICATION_NAME: usize = 22;

/// Texts of the statements that a log with `log_statement=all` tells of sessions with this application name, or with
/// one that goes on behind a colon, in order.
pub fn statements_of(log: &str, application: &str) -> Vec<String> {
    let is_of_application = |entry: &Vec<String>| {
        entry.get(APPLICATION_NAME).is_some_and(|name| {
            name.strip_prefix(application)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        })
    };
    entries(log)
        .into_iter()
        .filter(is_of_application)
        .filter_map(|entry| statement_text(&entry[MESSAGE]))
        .collect()
}

/// "statement: TEXT" and "execute NAME: TEXT" as `log_statement` writes them.
fn statement_text(message: &str) -> Option<String> {
    let text = match message.strip_prefix("statement: ") {
        Some(text) => text,
        None => message.strip_prefix("execute ")?.split_once(": ")?.1,
    };
    Some(text.to_owned())
}

/// Whole entries; one that is being written is left out. A quoted field may hold line ends, and quotes twice.
fn entries(log: &str) -> Vec<Vec<String>> {
    let (mut entries, mut entry, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut quoted = false;
    let mut characters = log.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => entry.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                entry.push(std::mem::take(&mut field));
                entries.push(std::mem::take(&mut entry));
            }
            other => field.push(other),
        }
    }
    entries
}

#[test]
fn quotes_line_ends_and_an_unfinished_entry_are_read_as_postgresql_writes_them() {
    let line = |message: &str, name: &str| {
        let before = "x,".repeat(MESSAGE);
        let between = ",".repeat(APPLICATION_NAME - MESSAGE);
        format!("{before}\"{message}\"{between}\"{name}\",client backend,,0\n")
    };
    let mut log = line("statement: select \"\"a\"\",\n'b'", "pglens/ann: psql");
    log += &line("execute <unnamed>: select 2", "pglens/ann");
    log += &line("statement: another's", "pglens/anna");
    log += &line("duration: 3 ms", "pglens/ann");
    log += line("statement: half", "pglens/ann").trim_end();
    assert_eq!(
        statements_of(&log, "pglens/ann"),
        ["select \"a\",\n'b'", "select 2"]
    );
}
