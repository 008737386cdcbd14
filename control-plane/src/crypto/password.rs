//! Argon2id password hashes. Each takes tens of milliseconds and 19 MiB, so they run on blocking threads, a few at a time.

use std::sync::{Arc, OnceLock};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use pglens_core::Secret;
use tokio::sync::Semaphore;

use crate::error::ServiceError;

/// Hashes at once. Each holds a core and 19 MiB; more would only make each one slower.
const MAX_CONCURRENT_HASHES: usize = 4;

/// Makes and checks password hashes.
#[derive(Debug, Clone)]
pub struct Passwords {
    places: Arc<Semaphore>,
    dummy: Arc<OnceLock<String>>,
}

/// Whether a password belongs to a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Right,
    /// It does not, or there is no such user.
    Wrong,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(MAX_CONCURRENT_HASHES)),
            dummy: Arc::new(OnceLock::new()),
        }
    }
}

impl Passwords {
    /// The Argon2id hash of `password` in PHC string format, with a random salt.
    ///
    /// # Errors
    /// When no hash could be made, which is a defect.
    pub async fn hash(&self, password: Secret<String>) -> Result<String, ServiceError> {
        self.run(move || hash(&password)).await?
    }

    /// Checks `password`. Without a hash, because there is no such user, it takes as long and is wrong.
    ///
    /// # Errors
    /// When the stored hash cannot be read, which is a defect.
    pub async fn verify(
        &self,
        password: Secret<String>,
        stored: Option<String>,
    ) -> Result<Verdict, ServiceError> {
        let dummy = Arc::clone(&self.dummy);
        self.run(move || match stored {
            Some(stored) => verify(&password, &stored),
            None => {
                let stored = match dummy.get() {
                    Some(stored) => stored,
                    None => {
                        let made = hash(&Secret::new("nobody".to_owned()))?;
                        dummy.get_or_init(|| made)
                    }
                };
                verify(&password, stored).map(|_| Verdict::Wrong)
            }
        })
        .await?
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        let place = Arc::clone(&self.places)
            .acquire_owned()
            .await
            .map_err(ServiceError::internal)?;
        tokio::task::spawn_blocking(move || {
            let done = work();
            drop(place);
            done
        })
        .await
        .map_err(ServiceError::internal)
    }
}

fn hash(password: &Secret<String>) -> Result<String, ServiceError> {
    Argon2::default()
        .hash_password(password.expose().as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|error| ServiceError::internal(error.to_string()))
}

fn verify(password: &Secret<String>, stored: &str) -> Result<Verdict, ServiceError> {
    let stored =
        PasswordHash::new(stored).map_err(|error| ServiceError::internal(error.to_string()))?;
    match Argon2::default().verify_password(password.expose().as_bytes(), &stored) {
        Ok(()) => Ok(Verdict::Right),
        Err(_) => Ok(Verdict::Wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_is_right() {
        let passwords = Passwords::default();
        let stored = passwords
            .hash("correct horse".to_owned().into())
            .await
            .unwrap();
        assert!(stored.starts_with("$argon2id$"));
        for (password, stored, expected) in [
            ("correct horse", Some(stored.clone()), Verdict::Right),
            ("wrong horse", Some(stored), Verdict::Wrong),
            ("nobody", None, Verdict::Wrong),
        ] {
            let verdict = passwords
                .verify(password.to_owned().into(), stored)
                .await
                .unwrap();
            assert_eq!(verdict, expected);
        }
    }
}
