//! Parts of the record whose texts have an index of their own.

use std::fmt;

use chrono::{DateTime, NaiveDate, TimeDelta, Timelike, Utc};
use uuid::Uuid;

use super::partition::id_range;
use super::query::first_id;

/// A day that is over; or an hour that is, of the day at hand. In the order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TextSpan {
    day: NaiveDate,
    hour: Option<u32>,
}

impl TextSpan {
    /// All of a day.
    #[must_use]
    pub fn day(day: NaiveDate) -> Self {
        Self { day, hour: None }
    }

    /// One of the 24 hours of a day.
    #[must_use]
    pub fn hour(day: NaiveDate, hour: u32) -> Self {
        let hour = Some(hour);
        Self { day, hour }
    }

    /// Those of a day that are over at `time`, the last first: the day itself, or some of its hours.
    pub(super) fn over(day: NaiveDate, time: DateTime<Utc>) -> Vec<Self> {
        let today = time.date_naive();
        if day < today {
            return vec![Self::day(day)];
        }
        let hours = if day == today { time.hour() } else { 0 };
        (0..hours).rev().map(|hour| Self::hour(day, hour)).collect()
    }

    pub(super) fn is_day(self) -> bool {
        self.hour.is_none()
    }

    /// Of an index on the day's partition, for example `queries_20260131_text`, or `queries_20260131_text_07`.
    pub(super) fn index_name(self, partition: &str) -> String {
        match self.hour {
            None => format!("{partition}_text"),
            Some(hour) => format!("{partition}_text_{hour:02}"),
        }
    }

    /// The span of an index that is on the partition of `day`; `None`: it is none of texts.
    pub(super) fn of_index(day: NaiveDate, partition: &str, index: &str) -> Option<Self> {
        let hours = (0..24).map(|hour| Self::hour(day, hour));
        std::iter::once(Self::day(day))
            .chain(hours)
            .find(|span| span.index_name(partition) == index)
    }

    /// The ids of what began in it: from the first, to the first behind.
    pub(super) fn ids(self) -> Option<(Uuid, Uuid)> {
        let Some(hour) = self.hour else {
            return id_range(self.day);
        };
        let begins = self.day.and_hms_opt(hour, 0, 0)?.and_utc();
        let ends = begins.checked_add_signed(TimeDelta::hours(1))?;
        Some((first_id(begins)?, first_id(ends)?))
    }
}

impl fmt::Display for TextSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.hour {
            None => write!(f, "{}", self.day),
            Some(hour) => write!(f, "{}T{hour:02}", self.day),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn names_of_indexes_lead_back_to_their_span() {
        let (day, partition) = (day("2026-01-31"), "queries_20260131");
        for (span, name, shown) in [
            (TextSpan::day(day), "queries_20260131_text", "2026-01-31"),
            (
                TextSpan::hour(day, 7),
                "queries_20260131_text_07",
                "2026-01-31T07",
            ),
        ] {
            assert_eq!(span.index_name(partition), name);
            assert_eq!(TextSpan::of_index(day, partition, name), Some(span));
            assert_eq!(span.to_string(), shown);
        }
        for other in [
            "queries_20260131_pkey",
            "queries_20260131_text_24",
            "queries_20260131_text_7",
            "queries_20260131_text_07_ccnew",
        ] {
            assert_eq!(TextSpan::of_index(day, partition, other), None, "{other}");
        }
    }

    #[test]
    fn the_hours_of_a_day_are_the_day() {
        let day = day("2026-02-28");
        let ids = |hour| TextSpan::hour(day, hour).ids().unwrap();
        let (first, behind) = TextSpan::day(day).ids().unwrap();
        assert_eq!((ids(0).0, ids(23).1), (first, behind));
        assert!((1..24).all(|hour| ids(hour - 1).1 == ids(hour).0));
    }

    #[test]
    fn what_is_over_of_a_day_is_the_day_or_its_hours() {
        let day = day("2026-02-28");
        let over = |hour, minute| {
            let time = day.and_hms_opt(hour, minute, 0).unwrap().and_utc();
            (
                TextSpan::over(day, time),
                TextSpan::over(day.succ_opt().unwrap(), time),
            )
        };
        assert_eq!(over(0, 59), (vec![], vec![]));
        let hours = vec![TextSpan::hour(day, 1), TextSpan::hour(day, 0)];
        assert_eq!(over(2, 0), (hours, vec![]));
        let tomorrow = day.and_hms_opt(23, 0, 0).unwrap().and_utc() + TimeDelta::hours(1);
        assert_eq!(TextSpan::over(day, tomorrow), [TextSpan::day(day)]);
    }
}
