//! Reads the corpora of `shared/policy/tests/corpus`; the head of `read_attacks.sql` explains their form.

/// One line of a corpus.
#[derive(Debug, Clone)]
pub struct Case {
    /// What its section is called.
    pub section: String,
    /// The line as it stands in the file.
    pub line: String,
    /// What the session does.
    pub steps: Vec<Step>,
    /// What is asked on a second connection instead of `proof.world()`.
    pub proof: Option<String>,
    /// Why the proof would not show it.
    pub unshown: Option<String>,
    /// PostgreSQL refuses it.
    pub fails: bool,
}

/// A message, or what goes before all messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A startup parameter.
    Startup(String, String),
    /// A simple query.
    Query(String),
    /// Parse, Bind, Describe, Execute and Sync with these values.
    Extended(String, Vec<String>),
    /// A function call message with these integers.
    Call(String, Vec<i64>),
    /// Bytes as they are.
    Raw(Vec<u8>),
}

impl Case {
    /// Whether the session begins with a startup parameter.
    #[must_use]
    pub fn needs_session(&self) -> bool {
        matches!(self.steps.first(), Some(Step::Startup(..)))
    }
}

/// The cases of a corpus in order.
///
/// # Panics
/// When a line is not understood: a defect of the corpus.
#[must_use]
pub fn read(corpus: &str) -> Vec<Case> {
    let (mut section, mut proof, mut unshown) = (String::new(), None, None);
    let mut cases = Vec::new();
    let is_content = |line: &&str| !line.is_empty() && !line.starts_with("# ") && *line != "#";
    for line in corpus.lines().filter(is_content) {
        if let Some(name) = line.strip_prefix("--- ") {
            (section, proof, unshown) = (name.to_owned(), None, None);
        } else if let Some(sql) = line.strip_prefix("? ") {
            proof = Some(sql.to_owned());
        } else if let Some(reason) = line.strip_prefix("! ") {
            unshown = Some(reason.to_owned());
        } else {
            let (text, fails) = match line.strip_suffix(" \\fails") {
                Some(text) => (text, true),
                None => (line, false),
            };
            cases.push(Case {
                section: section.clone(),
                line: line.to_owned(),
                steps: text.split(" \\then ").map(step).collect(),
                proof: proof.clone(),
                unshown: unshown.clone(),
                fails,
            });
        }
    }
    cases
}

fn step(text: &str) -> Step {
    let not_understood = || -> ! { panic!("not understood: {text}") };
    if let Some(setting) = text.strip_prefix("\\startup ") {
        return match setting.split_once('=') {
            Some((name, value)) => Step::Startup(name.to_owned(), value.to_owned()),
            None => not_understood(),
        };
    }
    if let Some(call) = text.strip_prefix("\\call ") {
        let mut words = call.split(' ');
        let name = words.next().unwrap_or_default().to_owned();
        let integer = |word: &str| word.parse().unwrap_or_else(|_| not_understood());
        return Step::Call(name, words.map(integer).collect());
    }
    if let Some(hex) = text.strip_prefix("\\raw ") {
        let digits: Vec<char> = hex.chars().filter(|c| *c != ' ').collect();
        let byte = |pair: &[char]| {
            let pair: String = pair.iter().collect();
            u8::from_str_radix(&pair, 16).unwrap_or_else(|_| not_understood())
        };
        return Step::Raw(digits.chunks(2).map(byte).collect());
    }
    let text = text.replace('↵', "\n");
    match text.split_once(" \\bind") {
        None => Step::Query(text),
        Some((sql, values)) => {
            let values = values.trim();
            let values =
                (!values.is_empty()).then(|| values.split(" | ").map(str::to_owned).collect());
            Step::Extended(sql.to_owned(), values.unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart() {
        let cases = read(
            "# c\n--- a\nSELECT $1 \\bind x | y \\then SELECT 2 \\fails\n? SELECT 3\n! why\n\\startup a=b=c \\then \\call f 1 -2\n--- b\n\\raw 51 0a0b\n",
        );
        assert_eq!(cases.len(), 3);
        let steps = [
            Step::Extended("SELECT $1".to_owned(), vec!["x".to_owned(), "y".to_owned()]),
            Step::Query("SELECT 2".to_owned()),
        ];
        assert_eq!((&cases[0].steps[..], cases[0].fails), (&steps[..], true));
        assert_eq!(
            cases[1].steps[0],
            Step::Startup("a".to_owned(), "b=c".to_owned())
        );
        assert_eq!(cases[1].steps[1], Step::Call("f".to_owned(), vec![1, -2]));
        assert_eq!(
            (cases[1].proof.as_deref(), cases[1].unshown.as_deref()),
            (Some("SELECT 3"), Some("why"))
        );
        assert!(cases[1].needs_session() && !cases[0].needs_session());
        assert_eq!(
            (&cases[2].steps[0], &cases[2].proof),
            (&Step::Raw(vec![0x51, 10, 11]), &None)
        );
    }
}
