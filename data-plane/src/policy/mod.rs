//! What a session may do: the judge of its statements, the catalogs it asks, the quota, and the words for what is refused.

pub(crate) mod catalogs;
pub(crate) mod judge;
pub(crate) mod quota;
pub(crate) mod refusals;
pub(crate) mod study;
pub(crate) mod substitute;

pub(crate) use catalogs::Catalogs;
pub(crate) use judge::Judge;
pub(crate) use quota::Quota;
