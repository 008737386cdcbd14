//! Which of the sums a time is made of.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use postgres_types::ToSql;

pub(super) const HOUR: TimeDelta = TimeDelta::hours(1);

/// A time, and the whole hours or days in it, of which there are sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    whole_from: DateTime<Utc>,
    whole_to: DateTime<Utc>,
}

impl Span {
    pub(super) fn new(from: DateTime<Utc>, to: DateTime<Utc>, unit: TimeDelta) -> Self {
        let parts = Self {
            from,
            to,
            whole_from: to,
            whole_to: to,
        };
        let begin = from
            .duration_trunc(unit)
            .ok()
            .and_then(|begin| match begin {
                begin if begin == from => Some(begin),
                begin => begin.checked_add_signed(unit),
            });
        match (begin, to.duration_trunc(unit)) {
            (Some(whole_from), Ok(whole_to)) if whole_from < whole_to => Self {
                whole_from,
                whole_to,
                ..parts
            },
            _ => parts,
        }
    }

    /// Without anything whole.
    pub(super) fn in_parts(self) -> Self {
        Self {
            whole_from: self.to,
            whole_to: self.to,
            ..self
        }
    }

    /// The parameters of a query, with a last one.
    pub(super) fn and<'a>(&'a self, last: &'a (dyn ToSql + Sync)) -> [&'a (dyn ToSql + Sync); 5] {
        [&self.from, &self.to, &self.whole_from, &self.whole_to, last]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        format!("2026-11-{text}:00Z").parse().unwrap()
    }

    #[test]
    fn whole_hours_and_days_are_inside() {
        let whole = |from, to, unit| {
            let span = Span::new(at(from), at(to), unit);
            (span.whole_from, span.whole_to)
        };
        let day = TimeDelta::days(1);
        let (begin, end) = ("03T10:20", "05T09:40");
        assert_eq!(whole(begin, end, HOUR), (at("03T11:00"), at("05T09:00")));
        assert_eq!(whole(begin, end, day), (at("04T00:00"), at("05T00:00")));
        assert_eq!(
            whole("03T00:00", "04T00:00", day),
            (at("03T00:00"), at("04T00:00"))
        );
        for (from, to) in [
            ("03T10:20", "03T11:40"),
            ("03T10:00", "03T10:59"),
            ("03T10:20", "03T11:00"),
        ] {
            assert_eq!(
                whole(from, to, HOUR),
                (at(to), at(to)),
                "nothing whole between {from} and {to}"
            );
        }
    }
}
