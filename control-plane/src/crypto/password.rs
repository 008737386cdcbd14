//! Argon2id password hashes. Each takes tens of milliseconds and 19 MiB, so they run on blocking threads, a few at a time.
//!
//! Their memory is used again and again: an allocator keeps blocks of that size for every thread that ever freed one.

use std::sync::{Arc, OnceLock};

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, Version};
use parking_lot::Mutex;
use pglens_core::Secret;
use tokio::sync::Semaphore;

use crate::error::ServiceError;

/// Hashes at once. Each holds a core and 19 MiB; more would only make each one slower.
const MAX_CONCURRENT_HASHES: usize = 4;

/// Makes and checks password hashes.
#[derive(Debug, Clone)]
pub struct Passwords {
    places: Arc<Semaphore>,
    /// Of hashes that are done; never more than there are places.
    memory: Arc<Mutex<Vec<Memory>>>,
    dummy: Arc<OnceLock<String>>,
}

/// What a hash is computed in.
type Memory = Vec<Block>;

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
            memory: Arc::default(),
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
        self.run(move |memory| hash(&password, memory)).await?
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
        self.run(move |memory| match stored {
            Some(stored) => verify(&password, &stored, memory),
            None => {
                let stored = match dummy.get() {
                    Some(stored) => stored,
                    None => {
                        let made = hash(&Secret::new("nobody".to_owned()), memory)?;
                        dummy.get_or_init(|| made)
                    }
                };
                verify(&password, stored, memory).map(|_| Verdict::Wrong)
            }
        })
        .await?
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        let place = Arc::clone(&self.places)
            .acquire_owned()
            .await
            .map_err(ServiceError::internal)?;
        let free = Arc::clone(&self.memory);
        tokio::task::spawn_blocking(move || {
            let mut memory = free.lock().pop().unwrap_or_default();
            let done = work(&mut memory);
            free.lock().push(memory);
            drop(place);
            done
        })
        .await
        .map_err(ServiceError::internal)
    }
}

fn hash(password: &Secret<String>, memory: &mut Memory) -> Result<String, ServiceError> {
    let argon2 = Argon2::default();
    let salt = Salt::generate();
    let hash = compute(&argon2, password, &salt, Params::DEFAULT_OUTPUT_LEN, memory)?;
    let hash = PasswordHash {
        algorithm: ARGON2ID_IDENT,
        version: Some(Version::default().into()),
        params: ParamsString::try_from(argon2.params()).map_err(defect)?,
        salt: Some(salt),
        hash: Some(hash),
    };
    Ok(hash.to_string())
}

fn verify(
    password: &Secret<String>,
    stored: &str,
    memory: &mut Memory,
) -> Result<Verdict, ServiceError> {
    let stored = PasswordHash::new(stored).map_err(defect)?;
    let (Some(salt), Some(expected)) = (&stored.salt, &stored.hash) else {
        return Err(defect("a stored hash without salt or hash"));
    };
    let algorithm = Algorithm::try_from(stored.algorithm.as_str()).map_err(defect)?;
    let version = stored
        .version
        .map_or(Ok(Version::default()), Version::try_from);
    let params = Params::try_from(&stored).map_err(defect)?;
    let argon2 = Argon2::new(algorithm, version.map_err(defect)?, params);
    let computed = compute(&argon2, password, salt, expected.len(), memory)?;
    // In constant time, as this type compares.
    match computed == *expected {
        true => Ok(Verdict::Right),
        false => Ok(Verdict::Wrong),
    }
}

fn compute(
    argon2: &Argon2<'_>,
    password: &Secret<String>,
    salt: &Salt,
    bytes: usize,
    memory: &mut Memory,
) -> Result<Output, ServiceError> {
    // Only a hash that was made with other parameters needs another size.
    memory.resize(argon2.params().block_count(), Block::default());
    let mut output = [0; Output::MAX_LENGTH];
    let output = output.get_mut(..bytes);
    let output = output.ok_or_else(|| defect("a hash of a length that cannot be"))?;
    let password = password.expose().as_bytes();
    argon2
        .hash_password_into_with_memory(password, salt, output, memory)
        .map_err(defect)?;
    Output::new(output).map_err(defect)
}

fn defect(error: impl std::fmt::Display) -> ServiceError {
    ServiceError::internal(error.to_string())
}

#[cfg(test)]
mod tests {
    use argon2::{PasswordHasher, PasswordVerifier};

    use super::*;

    #[tokio::test]
    async fn hashes_are_those_of_the_library() {
        let passwords = Passwords::default();
        let password = "correct horse";
        let made = passwords.hash(password.to_owned().into()).await.unwrap();
        let argon2 = Argon2::default();
        argon2.verify_password(password.as_bytes(), &*made).unwrap();
        // Made with less memory, between two that are made with the usual one.
        let other = Argon2::from(Params::new(64, 3, 2, Some(16)).unwrap());
        let other = other.hash_password(password.as_bytes()).unwrap();
        for stored in [other.to_string(), made] {
            let verify = |password: &str| {
                let password = password.to_owned().into();
                passwords.verify(password, Some(stored.clone()))
            };
            assert_eq!(verify(password).await.unwrap(), Verdict::Right, "{stored}");
            let wrong = verify("wrong horse").await.unwrap();
            assert_eq!(wrong, Verdict::Wrong, "{stored}");
        }
        assert_eq!(passwords.memory.lock().len(), 1, "it is used again");
    }

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
