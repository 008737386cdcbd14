//! Query strings: each key is known, given once and understood, or the request is refused.

use std::convert::Infallible;
use std::fmt::Display;
use std::str::FromStr;

use warp::Filter;

use crate::error::ServiceError;
use crate::service::page::Page;
use crate::service::queries::Order;

/// More pairs than any list has filters.
const MAX_PAIRS: usize = 32;

/// The pairs of a query string that nobody has asked for yet.
#[derive(Debug)]
pub struct Filters {
    pairs: Vec<(String, String)>,
}

/// The query string of a request, to be read with [`Filters::parse`].
pub fn query() -> impl Filter<Extract = (String,), Error = Infallible> + Copy {
    warp::filters::query::raw()
        .or(warp::any().map(String::new))
        .unify()
}

impl Filters {
    /// Splits and decodes a query string.
    ///
    /// # Errors
    /// When an escape is broken, a key is given twice, or there are too many.
    pub fn parse(query: &str) -> Result<Self, ServiceError> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let broken = || ServiceError::invalid("query", "has a broken escape");
            let key = crate::percent::decode(key).ok_or_else(broken)?;
            let value = crate::percent::decode(value).ok_or_else(broken)?;
            if value.contains('\0') {
                return Err(ServiceError::invalid(
                    &key,
                    "must not contain a NUL character",
                ));
            }
            if pairs.iter().any(|(other, _)| *other == key) {
                return Err(ServiceError::invalid(&key, "is given twice"));
            }
            if pairs.len() == MAX_PAIRS {
                return Err(ServiceError::invalid("query", "has too many filters"));
            }
            pairs.push((key, value));
        }
        Ok(Self { pairs })
    }

    /// The text of `key`.
    pub fn text(&mut self, key: &str) -> Option<String> {
        let index = self.pairs.iter().position(|(name, _)| name == key)?;
        Some(self.pairs.swap_remove(index).1)
    }

    /// The value of `key`.
    ///
    /// # Errors
    /// When it cannot be understood.
    pub fn value<T>(&mut self, key: &str) -> Result<Option<T>, ServiceError>
    where
        T: FromStr<Err: Display>,
    {
        let Some(text) = self.text(key) else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|error| ServiceError::invalid(key, error))
    }

    /// The value of the one of two keys that is given.
    ///
    /// # Errors
    /// When both are given, or it cannot be understood.
    pub fn either<T>(&mut self, key: &str, other: &str) -> Result<Option<T>, ServiceError>
    where
        T: FromStr<Err: Display>,
    {
        match (self.value(key)?, self.value(other)?) {
            (Some(_), Some(_)) => {
                let reason = format!("is given as {other} as well");
                Err(ServiceError::invalid(key, reason))
            }
            (one, another) => Ok(one.or(another)),
        }
    }

    /// The key `order`: "newest" or "oldest" first.
    ///
    /// # Errors
    /// When it is another word.
    pub fn order(&mut self) -> Result<Order, ServiceError> {
        match self.text("order").as_deref() {
            None | Some("newest") => Ok(Order::Newest),
            Some("oldest") => Ok(Order::Oldest),
            Some(_) => Err(ServiceError::invalid("order", "must be newest or oldest")),
        }
    }

    /// The keys `limit` and `cursor`.
    ///
    /// # Errors
    /// When either cannot be used.
    pub fn page<K: FromStr>(&mut self) -> Result<Page<K>, ServiceError> {
        let limit = self.value("limit")?;
        Page::new(limit, self.text("cursor").as_deref())
    }

    /// Refuses what is left.
    ///
    /// # Errors
    /// When a key was not asked for.
    pub fn finish(self) -> Result<(), ServiceError> {
        match self.pairs.first() {
            None => Ok(()),
            Some((key, _)) => Err(ServiceError::invalid(key, "is not a filter of this list")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_known_once_and_understood() {
        let mut filters = Filters::parse("user_id=7&status=a%20b&&limit=5").unwrap();
        assert_eq!(filters.value::<i64>("user_id").unwrap(), Some(7));
        assert_eq!(filters.text("status").as_deref(), Some("a b"));
        assert_eq!(filters.value::<i64>("database_id").unwrap(), None);
        assert_eq!(filters.page::<i64>().unwrap().limit(), 5);
        filters.finish().unwrap();
    }

    #[test]
    fn others_are_refused_by_name() {
        let check = |query: &str, field: &str| {
            let read = || {
                let mut filters = Filters::parse(query)?;
                filters.value::<i64>("user_id")?;
                filters.page::<i64>()?;
                filters.finish()
            };
            let error = read().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{field}: ")), "{error}");
        };
        check("user_id=x", "user_id");
        check("user_id=", "user_id");
        check("user_id=1&user_id=2", "user_id");
        check("colour=red", "colour");
        check("limit=0", "limit");
        check("cursor=%25", "cursor");
        check("user_id=%zz", "query");
        let mut both = Filters::parse("a=1&b=2").unwrap();
        assert!(both.either::<i64>("a", "b").is_err());
        assert!(Filters::parse("order=up").unwrap().order().is_err());
    }
}
