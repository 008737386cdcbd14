//! Lines of an export: `{"record": "statement", …}` as the API shows it, and behind it `{"record": "row", …}` for each of
//! its rows.

use serde_json::Value;

/// Puts lines together, and keeps the beginning of one that is still on its way.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// The lines that end in `piece`.
    pub(super) fn complete(&mut self, piece: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, behind) = rest.split_at(end);
            self.begun.extend_from_slice(line);
            lines.push(String::from_utf8_lossy(&self.begun).into_owned());
            self.begun.clear();
            rest = behind.get(1..).unwrap_or_default();
        }
        self.begun.extend_from_slice(rest);
        lines
    }
}

/// Makes the lines of an export.
#[derive(Debug, Default)]
pub(super) struct Ndjson {
    id: String,
    row: u64,
    lines: Lines,
}

impl Ndjson {
    /// The line of a statement.
    pub(super) fn statement(&self, query: &Value) -> String {
        // An object's text begins with a brace; a statement is never empty.
        let text = query.to_string();
        let fields = text.strip_prefix('{').unwrap_or("}");
        format!("{{\"record\":\"statement\",{fields}\n")
    }

    /// Rows of this statement come now.
    pub(super) fn rows_of(&mut self, id: &str) {
        id.clone_into(&mut self.id);
        self.row = 0;
        self.lines = Lines::default();
    }

    /// The lines of the rows that end in `piece`.
    pub(super) fn rows(&mut self, piece: &[u8]) -> String {
        let mut out = String::with_capacity(piece.len() * 2);
        for values in self.lines.complete(piece) {
            let (id, row) = (&self.id, self.row);
            out.push_str(&format!(
                "{{\"record\":\"row\",\"query_id\":\"{id}\",\"row\":{row},\"values\":{values}}}\n"
            ));
            self.row += 1;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_put_together_from_pieces() {
        let mut lines = Ndjson::default();
        let query = serde_json::json!({ "id": "q", "sql": "select 1" });
        assert_eq!(
            lines.statement(&query),
            "{\"record\":\"statement\",\"id\":\"q\",\"sql\":\"select 1\"}\n"
        );
        lines.rows_of("q");
        let mut out = String::new();
        for piece in [&b"{\"a\":1}\n{\"a\""[..], b":", b"2}\n"] {
            out.push_str(&lines.rows(piece));
        }
        assert_eq!(
            out,
            "{\"record\":\"row\",\"query_id\":\"q\",\"row\":0,\"values\":{\"a\":1}}\n\
             {\"record\":\"row\",\"query_id\":\"q\",\"row\":1,\"values\":{\"a\":2}}\n"
        );
    }
}
