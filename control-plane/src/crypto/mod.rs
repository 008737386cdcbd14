//! Everything sealed, hashed or derived.

mod cipher;
pub mod columns;
pub mod data_key;
pub mod keyring;
pub mod password;
pub mod sealed_value;
