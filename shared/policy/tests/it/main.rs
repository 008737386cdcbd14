//! The guards against corpora of texts, and the parser against hostile ones.

mod corpus;
mod hostile;
mod statements;
