//! Pure decisions on SQL: what a text contains, whether a read grant may run it, whether other controls let it through.
//!
//! The text is parsed by PostgreSQL's own grammar ([`analyze`]); what is not understood is refused. Nothing here does
//! I/O or knows a session: the data plane asks, and acts on the [`Refusal`] it gets.
//!
//! The parser assumes what the data plane must ensure on the target's session: `client_encoding` UTF-8 and
//! `standard_conforming_strings` on; otherwise server and parser read different statements ([`startup`], and the
//! settings that a read grant may change, keep both).
#![warn(missing_docs)]

mod analysis;
mod cache;
mod catalog;
mod fingerprint;
mod guard;
mod kind;
mod last_verdict;
mod parser;
mod pattern;
mod refusal;
mod shape;
pub mod startup;

pub use analysis::{Analysis, Statement, analyze};
pub use cache::{Judged, Rules, VerdictCache};
pub use catalog::{
    AllowedFunctions, Builder as CatalogBuilder, Catalog, FETCH as CATALOG_QUERY, InvalidFunction,
    InvalidRow,
};
pub use fingerprint::{Fingerprint, LazyFingerprint};
pub use guard::{ControlGuard, FunctionRef, NameRef, Notation, Uses};
pub use kind::StatementKind;
pub use last_verdict::LastVerdict;
pub use parser::{INLINE_MAX_BYTES, MAX_ANALYSED_BYTES, MAX_ANALYSED_TOKENS, ParseFailure};
pub use refusal::Refusal;
