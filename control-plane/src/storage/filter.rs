//! Conditions of a list, put together from fixed pieces: only those that are asked for are in the statement, so that
//! each combination gets the plan, and the index, that fits it.

use postgres_types::ToSql;

/// A parameter of a condition.
pub(super) type Parameter = Box<dyn ToSql + Send + Sync>;

/// Conditions joined by `and`, with their parameters.
#[derive(Default)]
pub(super) struct Conditions {
    texts: Vec<String>,
    parameters: Vec<Parameter>,
}

impl Conditions {
    /// Adds `condition`, in which `$` stands for the parameter. Conditions are literals of our own, never input.
    pub(super) fn add(
        &mut self,
        condition: &'static str,
        value: impl ToSql + Send + Sync + 'static,
    ) {
        let number = self.parameters.len() + 1;
        self.texts
            .push(condition.replace('$', &format!("${number}")));
        self.parameters.push(Box::new(value));
    }

    /// Adds `condition` if there is a value for it.
    pub(super) fn add_some(
        &mut self,
        condition: &'static str,
        value: Option<impl ToSql + Send + Sync + 'static>,
    ) {
        if let Some(value) = value {
            self.add(condition, value);
        }
    }

    /// Adds a condition without a parameter.
    pub(super) fn add_fixed(&mut self, condition: &'static str) {
        self.texts.push(condition.to_owned());
    }

    /// Adds a value that is no part of a condition, and returns its place, for example "$3".
    pub(super) fn place(&mut self, value: impl ToSql + Send + Sync + 'static) -> String {
        self.parameters.push(Box::new(value));
        format!("${}", self.parameters.len())
    }

    /// The text behind `where`.
    pub(super) fn text(&self) -> String {
        match self.texts.is_empty() {
            true => "true".to_owned(),
            false => self.texts.join(" and "),
        }
    }

    /// The parameters in order.
    pub(super) fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.parameters
            .iter()
            .map(|value| &**value as &(dyn ToSql + Sync))
            .collect()
    }
}

/// `text` as a pattern of `LIKE` that stands anywhere in a value.
pub(super) fn contains_pattern(text: &str) -> String {
    let escaped = text
        .replace('\\', "\\\\")
        .replace('%', "\\%")
        .replace('_', "\\_");
    format!("%{escaped}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_numbered_in_order() {
        let mut conditions = Conditions::default();
        assert_eq!(conditions.text(), "true");
        conditions.add("a = $", 1_i64);
        conditions.add_some("b = $", None::<i64>);
        conditions.add_fixed("c is null");
        conditions.add_some("d < $", Some("x"));
        assert_eq!(conditions.place(5_i64), "$3");
        assert_eq!(conditions.text(), "a = $1 and c is null and d < $2");
        assert_eq!(conditions.parameters().len(), 3);
    }

    #[test]
    fn wildcards_in_a_search_mean_themselves() {
        assert_eq!(contains_pattern(r"50%_\"), r"%50\%\_\\%");
    }
}
