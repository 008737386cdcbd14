//! Searches for a text in the indexes of days and hours that are over.
//!
//! A common text fills a page within a step or two of a walk, where an index of trigrams would name every statement of the
//! day first. A rare one is the other way round: so a step is walked first, and what it found decides.

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use super::filter::{Driver, Order};
use super::list::{List, STEP_ROWS};
use crate::storage::StoreError;
use crate::storage::manager::UsedClient;
use crate::storage::text_index::{can_search, indexed_spans};
use crate::storage::text_span::TextSpan;

/// A step of a walk that finds less than one in so many is followed by whole spans.
const RARE: i64 = 400;
/// The same along the indexes of grants. Those are asked for a span together with its texts, and the planner takes the
/// better or both: no worse than the walk, which goes to a page of its own for most statements.
const RARE_OF_GRANTS: i64 = 40;
/// Of one answer. A span in which more statements have the text is walked: they would all be looked at for one page.
pub(super) const MAX_FOUND: i64 = 5_000;
/// So many are read at once at most.
const MAX_AT_ONCE: usize = 32;
/// Spans that took no longer are followed by such that are up to twice as long together: most of what one costs is asking.
/// Others by up to half: an index that knows each three letters of a text may know them of every statement, all of which
/// are looked at then.
const QUICK: Duration = Duration::from_millis(60);

/// How a search for a text goes on.
pub(super) struct TextSpans {
    /// What may be read through a text index: its first id, with the first behind it.
    indexed: BTreeMap<Uuid, Uuid>,
    /// One in how many is few.
    rare: i64,
    /// As far as is known, few statements have the text.
    is_rare: bool,
    /// How long spans are together that are to be read at once. Any single one may be longer.
    at_once_ms: u64,
    /// Statements that were found in spans, and how long those are together.
    found: u64,
    read_ms: u64,
}

/// Spans that are to be read at once, as far as they are behind `after`.
pub(super) struct Spans {
    /// First ids, and those behind the last, in the order of the list. Never none.
    pub(super) ids: Vec<(Uuid, Uuid)>,
    pub(super) after: Uuid,
    /// Where the last span ends in the order of the list.
    pub(super) end: Uuid,
}

impl TextSpans {
    /// All that have an index, if `list` has a text that it can be asked for.
    pub(super) async fn of(client: &UsedClient, list: &List<'_>) -> Result<Self, StoreError> {
        let indexed = match list.filter.text.as_deref().is_some_and(can_search) {
            true => indexed_spans(client).await?,
            false => Vec::new(),
        };
        Ok(Self {
            indexed: indexed.into_iter().filter_map(TextSpan::ids).collect(),
            rare: match list.driver {
                Driver::Grants(_) => RARE_OF_GRANTS,
                _ => RARE,
            },
            is_rare: false,
            at_once_ms: 0,
            found: 0,
            read_ms: 0,
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.indexed.is_empty()
    }

    /// Takes note of what a step of the walk found that was `scale` times as long as the shortest.
    pub(super) fn step_found(&mut self, found: usize, scale: i64) {
        let found = i64::try_from(found);
        self.is_rare = found.is_ok_and(|found| found * self.rare < STEP_ROWS * scale);
    }

    /// The spans to be read next, behind `after`, for a page that lacks so many statements. If there are none, the walk is to
    /// go on by a step.
    pub(super) fn next(&self, after: Option<Uuid>, order: Order, missing: i64) -> Option<Spans> {
        let after = after.filter(|_| self.is_rare)?;
        let first = self.with(next_id(after, order)?)?;
        let following = std::iter::successors(Some(first), |(lowest, behind)| match order {
            Order::Newest => self.with(id_before(*lowest)?),
            Order::Oldest => self.with(*behind),
        });
        let (expected_ms, mut chosen_ms) = (self.expected_ms(missing), 0);
        let is_wanted = |span: &(Uuid, Uuid)| {
            let (before_ms, ms) = (chosen_ms, length_ms(*span));
            chosen_ms += ms;
            before_ms == 0 || before_ms < expected_ms && chosen_ms <= self.at_once_ms
        };
        let following = following.take(MAX_AT_ONCE);
        let ids: Vec<(Uuid, Uuid)> = following.take_while(is_wanted).collect();
        let (lowest, behind) = *ids.last()?;
        let end = match order {
            Order::Newest => lowest,
            Order::Oldest => id_before(behind)?,
        };
        Some(Spans { ids, after, end })
    }

    /// How long spans are in which so many statements are to be expected, by those that were read.
    fn expected_ms(&self, statements: i64) -> u64 {
        let statements = u64::try_from(statements).unwrap_or(0);
        let expected = self.read_ms.saturating_mul(statements);
        expected.checked_div(self.found).unwrap_or(u64::MAX)
    }

    /// The span that an id is in.
    fn with(&self, id: Uuid) -> Option<(Uuid, Uuid)> {
        let (lowest, behind) = self.indexed.range(..=id).next_back()?;
        (id < *behind).then_some((*lowest, *behind))
    }

    /// Where a step that begins behind `after` and would end at `boundary` is to end: not beyond what is not indexed.
    pub(super) fn stop(
        &self,
        after: Option<Uuid>,
        order: Order,
        boundary: Option<Uuid>,
    ) -> Option<Uuid> {
        let boundary = boundary?;
        let edge = after
            .filter(|_| self.is_rare)
            .and_then(|after| self.edge_behind(after, order));
        Some(match (edge, order) {
            (Some(edge), Order::Newest) => boundary.max(edge),
            (Some(edge), Order::Oldest) => boundary.min(edge),
            (None, _) => boundary,
        })
    }

    /// The last id before the span that comes first behind `after`.
    fn edge_behind(&self, after: Uuid, order: Order) -> Option<Uuid> {
        match order {
            Order::Newest => {
                let (_, behind) = self.indexed.range(..after).next_back()?;
                Some(*behind).filter(|behind| *behind < after)
            }
            Order::Oldest => {
                let behind = self.indexed.range(next_id(after, order)?..).next();
                id_before(*behind?.0).filter(|edge| *edge > after)
            }
        }
    }

    /// Takes note of how many statements of `spans` have the text, and of how long it took to find them; `false`: too many
    /// to look at them all.
    pub(super) fn found(&mut self, spans: &Spans, found: usize, took: Duration) -> bool {
        if i64::try_from(found).is_ok_and(|found| found <= MAX_FOUND) {
            let ms = spans.ids.iter().copied().map(length_ms).sum::<u64>();
            self.found += found as u64;
            self.read_ms += ms;
            self.at_once_ms = if took <= QUICK { ms * 2 } else { ms / 2 };
            return true;
        }
        if let [(lowest, _)] = spans.ids.as_slice() {
            self.indexed.remove(lowest);
        }
        self.at_once_ms = 0;
        false
    }

    /// Takes note that it took too long to read `spans`. If it was a single one, the rest of the page is walked.
    pub(super) fn gave_up(&mut self, spans: &Spans) {
        self.at_once_ms = 0;
        if spans.ids.len() == 1 {
            self.indexed.clear();
        }
    }
}

/// The milliseconds from the first id of a span to that behind it.
fn length_ms((lowest, behind): (Uuid, Uuid)) -> u64 {
    let begins_ms = |id: Uuid| id.as_u128() >> 80;
    u64::try_from(begins_ms(behind).saturating_sub(begins_ms(lowest))).unwrap_or(u64::MAX)
}

fn next_id(after: Uuid, order: Order) -> Option<Uuid> {
    match order {
        Order::Newest => id_before(after),
        Order::Oldest => after.as_u128().checked_add(1).map(Uuid::from_u128),
    }
}

fn id_before(id: Uuid) -> Option<Uuid> {
    id.as_u128().checked_sub(1).map(Uuid::from_u128)
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;

    const FEW: usize = 3;
    const MANY: usize = 5_001;

    fn day(number: u32) -> TextSpan {
        TextSpan::day(NaiveDate::from_ymd_opt(2026, 3, number).unwrap())
    }

    /// Of the 20th.
    fn hour(hour: u32) -> TextSpan {
        TextSpan::hour(NaiveDate::from_ymd_opt(2026, 3, 20).unwrap(), hour)
    }

    fn spans(indexed: impl IntoIterator<Item = TextSpan>) -> TextSpans {
        TextSpans {
            indexed: indexed.into_iter().filter_map(TextSpan::ids).collect(),
            rare: RARE,
            is_rare: true,
            at_once_ms: 0,
            found: 0,
            read_ms: 0,
        }
    }

    fn first(span: TextSpan) -> Uuid {
        span.ids().unwrap().0
    }

    /// The spans that are read together one after the other behind `after`.
    fn read(
        text_spans: &mut TextSpans,
        after: Uuid,
        order: Order,
        found: &[(usize, Duration)],
    ) -> Vec<Vec<(Uuid, Uuid)>> {
        const PAGE: i64 = 101;
        let mut after = Some(after);
        let mut read = Vec::new();
        for (found, took) in found {
            let Some(spans) = text_spans.next(after, order, PAGE) else {
                break;
            };
            if text_spans.found(&spans, *found, *took) {
                after = Some(spans.end);
            }
            read.push(spans.ids);
        }
        read
    }

    fn ids<const GROUPS: usize>(groups: [Vec<TextSpan>; GROUPS]) -> Vec<Vec<(Uuid, Uuid)>> {
        let groups = groups.into_iter();
        let ids = |group: Vec<TextSpan>| group.into_iter().filter_map(TextSpan::ids).collect();
        groups.map(ids).collect()
    }

    #[test]
    fn spans_with_little_in_them_are_read_together() {
        let little = [(FEW, Duration::ZERO); 5];
        let mut newest = spans((17..20).map(day).chain((0..3).map(hour)).chain([day(15)]));
        let expected = ids([
            vec![hour(2)],
            vec![hour(1), hour(0)],
            vec![day(19)],
            vec![day(18), day(17)],
        ]);
        assert_eq!(
            read(&mut newest, first(hour(3)), Order::Newest, &little),
            expected,
            "the 16th is walked"
        );
        let mut oldest = spans((17..20).map(day).chain([hour(0), hour(2)]));
        let expected = ids([vec![day(17)], vec![day(18), day(19)], vec![hour(0)]]);
        let before = id_before(first(day(17))).unwrap();
        assert_eq!(
            read(&mut oldest, before, Order::Oldest, &little),
            expected,
            "the hour behind is walked"
        );
    }

    #[test]
    fn along_the_indexes_of_grants_fewer_texts_are_common() {
        let reads_spans = |rare, found| {
            let mut text_spans = spans([day(19)]);
            text_spans.rare = rare;
            text_spans.step_found(found, 1);
            let next = text_spans.next(Some(first(day(20))), Order::Newest, 101);
            next.is_some()
        };
        assert!(reads_spans(RARE, 12) && !reads_spans(RARE, 13));
        assert!(reads_spans(RARE_OF_GRANTS, 100), "not a page in a step");
        assert!(!reads_spans(RARE_OF_GRANTS, 125));
    }

    #[test]
    fn what_takes_long_is_followed_by_less() {
        let mut text_spans = spans((1..20).map(day));
        let found = [0, 0, 99, 99, 99].map(|took| (FEW, Duration::from_millis(took)));
        let read = read(&mut text_spans, first(day(20)), Order::Newest, &found);
        let lengths: Vec<usize> = read.iter().map(Vec::len).collect();
        assert_eq!(lengths, [1, 2, 4, 2, 1]);
    }

    #[test]
    fn a_day_is_not_read_together_with_hours() {
        let mut text_spans = spans((1..20).map(day).chain((0..10).map(hour)));
        let found = [(FEW, Duration::ZERO); 7];
        let read = read(&mut text_spans, first(hour(10)), Order::Newest, &found);
        let lengths: Vec<usize> = read.iter().map(Vec::len).collect();
        assert_eq!(lengths, [1, 2, 4, 3, 1, 2, 4]);
    }

    #[test]
    fn no_more_is_read_than_a_page_is_expected_to_take() {
        let mut text_spans = spans((1..20).map(day));
        // 101 are expected in ten days, more than twice the last one; then in one and a half; then in two and a half.
        let found = [10, 200, 0, 0].map(|found| (found, Duration::ZERO));
        let read = read(&mut text_spans, first(day(20)), Order::Newest, &found);
        let lengths: Vec<usize> = read.iter().map(Vec::len).collect();
        assert_eq!(lengths, [1, 2, 2, 3]);
    }

    #[test]
    fn what_takes_too_long_is_read_alone_and_then_walked() {
        let mut text_spans = spans((1..20).map(day));
        let after = Some(first(day(20)));
        text_spans.at_once_ms = u64::MAX;
        let all = text_spans.next(after, Order::Newest, 101).unwrap();
        assert_eq!(all.ids.len(), 19);
        text_spans.gave_up(&all);
        let one = text_spans.next(after, Order::Newest, 101).unwrap();
        assert_eq!(one.ids.len(), 1);
        text_spans.gave_up(&one);
        assert!(text_spans.next(after, Order::Newest, 101).is_none());
    }

    #[test]
    fn a_step_ends_where_a_span_begins() {
        let mut text_spans = spans([day(10), day(11), hour(3)]);
        let (twelfth, behind) = day(12).ids().unwrap();
        let ninth = first(day(9));
        let newest = |text_spans: &TextSpans, boundary| {
            text_spans.stop(Some(behind), Order::Newest, boundary)
        };
        assert_eq!(newest(&text_spans, Some(ninth)), Some(twelfth));
        assert_eq!(newest(&text_spans, Some(behind)), Some(behind), "before it");
        assert_eq!(newest(&text_spans, None), None, "the list ends before");
        let oldest = |boundary| text_spans.stop(Some(behind), Order::Oldest, Some(boundary));
        assert_eq!(oldest(first(day(25))), id_before(first(hour(3))));
        assert_eq!(oldest(first(hour(2))), Some(first(hour(2))), "before it");
        text_spans.is_rare = false;
        assert_eq!(
            newest(&text_spans, Some(ninth)),
            Some(ninth),
            "it is walked"
        );
    }

    #[test]
    fn spans_with_much_in_them_are_read_alone_and_then_walked() {
        let mut text_spans = spans((10..20).map(day));
        let found = [FEW, MANY, MANY].map(|found| (found, Duration::ZERO));
        let expected = ids([vec![day(19)], vec![day(18), day(17)], vec![day(18)]]);
        let read = read(&mut text_spans, first(day(20)), Order::Newest, &found);
        assert_eq!(read, expected);
        assert!(text_spans.with(first(day(18))).is_none());
        assert!(text_spans.with(first(day(17))).is_some());
        let after = Some(first(day(19)));
        let edge = text_spans.stop(after, Order::Newest, Some(first(day(1))));
        assert_eq!(edge, Some(first(day(18))), "it alone is walked");
    }
}
