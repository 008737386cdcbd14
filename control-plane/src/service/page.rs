//! Pages of lists: how many, from where on, and whether more follow.

use std::fmt::Display;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::ServiceError;

/// Items on a page when the caller does not say.
pub const DEFAULT_LIMIT: u32 = 100;
/// Most items on a page.
pub const MAX_LIMIT: u32 = 1000;
/// Longer than any cursor ever handed out.
const MAX_CURSOR_BYTES: usize = 256;

/// The part of a list that is asked for. `K` is the key the list is ordered by.
#[derive(Debug, Clone, Copy)]
pub struct Page<K = i64> {
    limit: u32,
    after: Option<K>,
}

/// A part of a list, and the cursor of the next one.
#[derive(Debug, Clone)]
pub struct Paged<T> {
    /// The items.
    pub items: Vec<T>,
    /// Absent: nothing follows.
    pub next_cursor: Option<String>,
}

impl<K> Page<K> {
    /// Reads `limit` (1 to 1000, 100 when absent) and `cursor` (from the page before; empty is the start).
    ///
    /// # Errors
    /// When either cannot be used.
    pub fn new(limit: Option<u32>, cursor: Option<&str>) -> Result<Self, ServiceError>
    where
        K: FromStr,
    {
        let limit = limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(ServiceError::invalid(
                "limit",
                format_args!("must be 1 to {MAX_LIMIT}"),
            ));
        }
        let after = match cursor {
            None | Some("") => None,
            Some(cursor) => Some(decode(cursor).ok_or_else(|| {
                ServiceError::invalid("cursor", "is not one that this list has given out")
            })?),
        };
        Ok(Self { limit, after })
    }

    /// Items on the page.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Rows to fetch for [`Page::cut`]: one more than are shown, to learn whether more follow.
    #[must_use]
    pub fn fetch_rows(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// The key behind which the page starts; absent at the start of the list.
    #[must_use]
    pub fn after(&self) -> Option<K>
    where
        K: Copy,
    {
        self.after
    }

    /// The cursor of a page that starts behind `key`.
    #[must_use]
    pub fn cursor_behind(&self, key: impl Display) -> String {
        URL_SAFE_NO_PAD.encode(key.to_string())
    }

    /// The page made of up to [`Page::fetch_rows`] `rows`.
    #[must_use]
    pub fn cut<T>(&self, mut rows: Vec<T>, key: impl Fn(&T) -> K) -> Paged<T>
    where
        K: Display,
    {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows
            .last()
            .filter(|_| more)
            .map(|last| URL_SAFE_NO_PAD.encode(key(last).to_string()));
        Paged {
            items: rows,
            next_cursor,
        }
    }
}

fn decode<K: FromStr>(cursor: &str) -> Option<K> {
    if cursor.len() > MAX_CURSOR_BYTES {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    std::str::from_utf8(&bytes).ok()?.parse().ok()
}

impl<T> Paged<T> {
    /// The same page with other items.
    #[must_use]
    pub fn map<U>(self, convert: impl FnMut(T) -> U) -> Paged<U> {
        Paged {
            items: self.items.into_iter().map(convert).collect(),
            next_cursor: self.next_cursor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_lead_through_the_whole_list() {
        let all: Vec<i64> = (1..=5).collect();
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page: Page = Page::new(Some(2), cursor.as_deref()).unwrap();
            let from = page.after().unwrap_or(0);
            let rows = all
                .iter()
                .copied()
                .filter(|id| *id > from)
                .take(3)
                .collect();
            let paged = page.cut(rows, |id| *id);
            seen.extend(paged.items);
            cursor = paged.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn limits_and_foreign_cursors_are_refused() {
        for (limit, cursor, field) in [
            (Some(0), None, "limit"),
            (Some(1001), None, "limit"),
            (None, Some("%%%"), "cursor"),
            (None, Some("eA"), "cursor"),
        ] {
            let error = Page::<i64>::new(limit, cursor).unwrap_err();
            assert!(error.to_string().starts_with(field), "{error}");
        }
    }
}
