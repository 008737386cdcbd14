//! Recurring hours of a grant: weekdays and times of day in a time zone. Pure: the time is given.
//!
//! Times are those that a clock on the wall shows. A time that the clocks skip in spring counts as the moment they jump;
//! one that comes twice in autumn counts as its first moment for a beginning and its second for an end.

use std::str::FromStr;

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc, Weekday};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::ServiceError;

/// Windows of one schedule; a week has room for no more that make sense.
const MAX_WINDOWS: usize = 50;
/// How far is looked ahead: every window comes again within a week, and a day of a change of clocks may have none.
const HORIZON_DAYS: u64 = 15;
/// A schedule without a gap in this time has none.
const ALWAYS: TimeDelta = TimeDelta::days(8);
/// The end of a day, where a window ends at midnight.
const END_OF_DAY: &str = "24:00";

/// When a grant lets its user in: in any of the windows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Name in the IANA time zone database.
    #[schema(example = "Europe/Berlin")]
    pub time_zone: String,
    /// At least one.
    pub windows: Vec<Window>,
}

/// The same hours on some days of the week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Days on which it begins: mon, tue, wed, thu, fri, sat, sun.
    #[schema(example = json!(["mon", "tue", "wed", "thu", "fri"]))]
    pub days: Vec<String>,
    /// From this time of day on.
    #[schema(example = "09:00")]
    pub from: String,
    /// Until this time; of the next day when it is not later than `from`. "24:00" is the end of the day.
    #[schema(example = "17:00")]
    pub until: String,
}

/// What a schedule says about a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hours {
    /// Let in, until then; `None`: there is no gap.
    Open(Option<DateTime<Utc>>),
    /// Not let in, until then; `None`: not within the next two weeks.
    Closed(Option<DateTime<Utc>>),
}

/// A schedule whose fields are checked.
#[derive(Debug)]
struct Plan {
    time_zone: Tz,
    windows: Vec<Hourly>,
}

#[derive(Debug)]
struct Hourly {
    days: Vec<Weekday>,
    from: NaiveTime,
    until: NaiveTime,
    /// Days between the beginning and the end.
    until_days_later: u64,
}

impl Schedule {
    /// Whether every field can be used.
    ///
    /// # Errors
    /// Names the field.
    pub fn check(&self) -> Result<(), ServiceError> {
        self.plan().map(|_| ())
    }

    /// What it says about `now`.
    ///
    /// # Errors
    /// When it is not one that was checked.
    pub fn at(&self, now: DateTime<Utc>) -> Result<Hours, ServiceError> {
        Ok(self.plan()?.at(now))
    }

    /// In words, of letters, digits and plain punctuation only.
    #[must_use]
    pub fn words(&self) -> String {
        let window = |window: &Window| {
            let Window { days, from, until } = window;
            format!("{} {from}-{until}", days.join(","))
        };
        let windows: Vec<_> = self.windows.iter().map(window).collect();
        format!("{} ({})", windows.join("; "), self.time_zone)
    }

    fn plan(&self) -> Result<Plan, ServiceError> {
        let time_zone = Tz::from_str(&self.time_zone).map_err(|_| {
            ServiceError::invalid(
                "schedule.time_zone",
                "must be a name of the IANA time zone database, such as \"Europe/Berlin\"",
            )
        })?;
        if self.windows.is_empty() || self.windows.len() > MAX_WINDOWS {
            return Err(ServiceError::invalid(
                "schedule.windows",
                format_args!("must be 1 to {MAX_WINDOWS} windows"),
            ));
        }
        let windows = self.windows.iter().enumerate();
        let windows = windows.map(|(index, window)| window.plan(index));
        Ok(Plan {
            time_zone,
            windows: windows.collect::<Result<_, _>>()?,
        })
    }
}

impl Window {
    fn plan(&self, index: usize) -> Result<Hourly, ServiceError> {
        let field = |name: &str| format!("schedule.windows[{index}].{name}");
        if self.days.is_empty() || self.days.len() > 7 {
            return Err(ServiceError::invalid(&field("days"), "must be 1 to 7 days"));
        }
        let days = self.days.iter().map(|day| {
            weekday(day).ok_or_else(|| {
                ServiceError::invalid(
                    &field("days"),
                    "must be among mon, tue, wed, thu, fri, sat, sun",
                )
            })
        });
        let days = days.collect::<Result<_, _>>()?;
        let time = |name: &str, text: &str| {
            time_of_day(text).ok_or_else(|| {
                ServiceError::invalid(&field(name), "must be a time of day, such as \"09:00\"")
            })
        };
        let from = time("from", &self.from)?;
        let (until, until_days_later) = if self.until == END_OF_DAY {
            (NaiveTime::MIN, 1)
        } else {
            let until = time("until", &self.until)?;
            (until, u64::from(until <= from))
        };
        if self.until == self.from {
            return Err(ServiceError::invalid(
                &field("until"),
                "must differ from `from`; a whole day is 00:00 to 24:00",
            ));
        }
        Ok(Hourly {
            days,
            from,
            until,
            until_days_later,
        })
    }
}

impl Plan {
    fn at(&self, now: DateTime<Utc>) -> Hours {
        let today = now.with_timezone(&self.time_zone).date_naive();
        // A window that began yesterday may still be open.
        let first = today.checked_sub_days(Days::new(1)).unwrap_or(today);
        let days = first
            .iter_days()
            .take(usize::try_from(HORIZON_DAYS).unwrap_or(0) + 2);
        let mut spans: Vec<_> = days
            .flat_map(|day| {
                self.windows
                    .iter()
                    .filter_map(move |one| self.span(one, day))
            })
            .filter(|(from, until)| from < until)
            .collect();
        spans.sort_unstable();
        let mut open_until = None;
        for (from, until) in spans {
            match open_until {
                None if until <= now => {}
                None if from > now => return Hours::Closed(Some(from)),
                None => open_until = Some(until),
                // Windows that touch are one.
                Some(end) if from <= end => open_until = Some(until.max(end)),
                Some(_) => break,
            }
        }
        match open_until {
            Some(end) if end - now > ALWAYS => Hours::Open(None),
            Some(end) => Hours::Open(Some(end)),
            None => Hours::Closed(None),
        }
    }

    fn span(&self, window: &Hourly, day: NaiveDate) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        if !window.days.contains(&day.weekday()) {
            return None;
        }
        let last = day.checked_add_days(Days::new(window.until_days_later))?;
        Some((
            self.moment(day, window.from, Twice::First)?,
            self.moment(last, window.until, Twice::Second)?,
        ))
    }

    fn moment(&self, day: NaiveDate, time: NaiveTime, twice: Twice) -> Option<DateTime<Utc>> {
        /// No change of clocks skips more; a whole day was skipped once, where the date line moved.
        const LONGEST_GAP_MINUTES: i64 = 24 * 60;
        let local = day.and_time(time);
        for minutes in 0..=LONGEST_GAP_MINUTES {
            let local = local.checked_add_signed(TimeDelta::minutes(minutes))?;
            let found = self.time_zone.from_local_datetime(&local);
            let found = match twice {
                Twice::First => found.earliest(),
                Twice::Second => found.latest(),
            };
            if let Some(moment) = found {
                return Some(moment.with_timezone(&Utc));
            }
        }
        None
    }
}

/// Which of two moments with the same local time.
#[derive(Debug, Clone, Copy)]
enum Twice {
    First,
    Second,
}

fn weekday(word: &str) -> Option<Weekday> {
    Some(match word {
        "mon" => Weekday::Mon,
        "tue" => Weekday::Tue,
        "wed" => Weekday::Wed,
        "thu" => Weekday::Thu,
        "fri" => Weekday::Fri,
        "sat" => Weekday::Sat,
        "sun" => Weekday::Sun,
        _ => return None,
    })
}

/// "HH:MM", and nothing else that chrono would also take.
fn time_of_day(text: &str) -> Option<NaiveTime> {
    let is_digit = |index: usize| text.as_bytes().get(index).is_some_and(u8::is_ascii_digit);
    let is_shaped = text.len() == 5 && [0, 1, 3, 4].into_iter().all(is_digit);
    is_shaped
        .then(|| NaiveTime::parse_from_str(text, "%H:%M").ok())
        .flatten()
}

#[cfg(test)]
mod tests;
