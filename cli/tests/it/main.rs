//! The `pglens` command from outside, as a person or a script runs it.

#[cfg(test)]
mod bad_settings;
#[cfg(test)]
mod command;
#[cfg(test)]
mod dev;
#[cfg(test)]
mod export;
#[cfg(test)]
mod maintenance;
