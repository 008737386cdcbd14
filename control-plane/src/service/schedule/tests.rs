//! Tests of recurring hours.

use super::*;

fn schedule(time_zone: &str, windows: &[(&str, &str, &str)]) -> Schedule {
    let window = |(days, from, until): &(&str, &str, &str)| Window {
        days: days.split(',').map(str::to_owned).collect(),
        from: (*from).to_owned(),
        until: (*until).to_owned(),
    };
    Schedule {
        time_zone: time_zone.to_owned(),
        windows: windows.iter().map(window).collect(),
    }
}

fn time(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

#[track_caller]
fn check(schedule: &Schedule, now: &str, expected: Hours) {
    assert_eq!(schedule.at(time(now)).unwrap(), expected, "at {now}");
}

fn open(until: &str) -> Hours {
    Hours::Open(Some(time(until)))
}

fn closed(until: &str) -> Hours {
    Hours::Closed(Some(time(until)))
}

const WORKDAYS: &str = "mon,tue,wed,thu,fri";

#[test]
fn office_hours_are_those_of_the_wall_clock_in_summer_and_in_winter() {
    let office = schedule("Europe/Berlin", &[(WORKDAYS, "09:00", "17:00")]);
    check(
        &office,
        "2026-01-15T08:00:00Z",
        open("2026-01-15T16:00:00Z"),
    );
    check(
        &office,
        "2026-07-15T07:00:00Z",
        open("2026-07-15T15:00:00Z"),
    );
    check(
        &office,
        "2026-07-15T06:59:59Z",
        closed("2026-07-15T07:00:00Z"),
    );
    check(
        &office,
        "2026-07-15T15:00:00Z",
        closed("2026-07-16T07:00:00Z"),
    );
    // Friday evening: Monday is next, behind the change of clocks.
    check(
        &office,
        "2026-03-27T16:00:00Z",
        closed("2026-03-30T07:00:00Z"),
    );
}

#[test]
fn a_window_may_go_over_midnight() {
    let night = schedule("UTC", &[("fri", "22:00", "02:00")]);
    check(&night, "2026-01-16T23:00:00Z", open("2026-01-17T02:00:00Z"));
    check(&night, "2026-01-17T01:59:00Z", open("2026-01-17T02:00:00Z"));
    check(
        &night,
        "2026-01-17T02:00:00Z",
        closed("2026-01-23T22:00:00Z"),
    );
}

#[test]
fn windows_that_touch_or_overlap_are_one() {
    let windows = [
        ("mon", "08:00", "12:00"),
        ("mon", "11:00", "24:00"),
        ("tue", "00:00", "01:00"),
    ];
    let day = schedule("UTC", &windows);
    check(&day, "2026-01-12T09:00:00Z", open("2026-01-13T01:00:00Z"));
    let always = schedule("UTC", &[("mon,tue,wed,thu,fri,sat,sun", "00:00", "24:00")]);
    check(&always, "2026-01-12T09:00:00Z", Hours::Open(None));
}

#[test]
fn skipped_and_repeated_times_have_a_meaning() {
    // Clocks go from 02:00 to 03:00 on 29 March 2026 and from 03:00 to 02:00 on 25 October.
    let early = schedule("Europe/Berlin", &[("sun", "02:30", "04:00")]);
    check(
        &early,
        "2026-03-29T00:59:00Z",
        closed("2026-03-29T01:00:00Z"),
    );
    check(&early, "2026-03-29T01:30:00Z", open("2026-03-29T02:00:00Z"));
    check(&early, "2026-10-25T00:30:00Z", open("2026-10-25T03:00:00Z"));
    let until = schedule("Europe/Berlin", &[("sun", "01:00", "02:30")]);
    check(&until, "2026-10-25T00:45:00Z", open("2026-10-25T01:30:00Z"));
    let gap = schedule("Europe/Berlin", &[("sun", "02:10", "02:50")]);
    check(&gap, "2026-03-29T01:00:00Z", closed("2026-04-05T00:10:00Z"));
}

#[test]
fn what_cannot_be_used_is_named() {
    let check = |schedule: Schedule, field: &str| {
        let error = schedule.check().unwrap_err().to_string();
        assert!(error.contains(field), "{error} should name {field}");
    };
    check(
        schedule("Berlin", &[("mon", "09:00", "17:00")]),
        "schedule.time_zone",
    );
    check(schedule("UTC", &[]), "schedule.windows");
    check(
        schedule("UTC", &[("monday", "09:00", "17:00")]),
        "schedule.windows[0].days",
    );
    check(
        schedule("UTC", &[("mon", "9:00", "17:00")]),
        "schedule.windows[0].from",
    );
    check(
        schedule("UTC", &[("mon", "09:00", "25:00")]),
        "schedule.windows[0].until",
    );
    check(
        schedule("UTC", &[("mon", "09:00", "09:00")]),
        "schedule.windows[0].until",
    );
    check(
        schedule("UTC", &[("mon", "+9:00", "17:00")]),
        "schedule.windows[0].from",
    );
}

#[test]
fn words_are_plain() {
    let words = schedule("Europe/Berlin", &[("mon,fri", "09:00", "17:00")]).words();
    assert_eq!(words, "mon,fri 09:00-17:00 (Europe/Berlin)");
}
