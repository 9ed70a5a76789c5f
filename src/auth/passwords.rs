//! Password hashes: Argon2id on a bounded number of blocking threads.

use std::{sync::Arc, time::Duration};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{
    model::text,
    problem::{Dependency, Problem},
    secret::Secret,
};

/// Timeout of a request that waits for a core.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(4);

/// Hashes and verifies passwords.
///
/// A hash takes 19 MiB and about 15 ms of a core. At most one hash runs per core; the others wait without a thread.
pub struct Passwords {
    permits: Arc<Semaphore>,
    /// Verified when the username is unknown, so that the response takes as long.
    dummy_hash: Secret,
}

impl Passwords {
    /// Creates the dummy hash, which takes about 15 ms.
    ///
    /// # Errors
    /// The operating system gives no randomness.
    pub fn new() -> Result<Self, Problem> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            permits: Arc::new(Semaphore::new(cores)),
            dummy_hash: hash("dummy")?,
        })
    }

    /// Hashes a valid new password into a PHC string.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] if no core is free within 4 s.
    pub async fn hash(&self, password: Secret) -> Result<Secret, Problem> {
        self.run(move || hash(password.expose())).await?
    }

    /// Whether the password matches the hash, in its composed form or as typed: earlier versions hashed it as typed.
    ///
    /// The duration depends on the typed text only: not on which form matches, nor on whether there is a hash.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] if no core is free within 4 s.
    pub async fn verify(&self, password: Secret, hash: Option<Secret>) -> Result<bool, Problem> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.dummy_hash.clone());
        let matches = self
            .run(move || {
                let Ok(hash) = PasswordHash::new(hash.expose()) else {
                    return false;
                };
                let matches = |password: &str| {
                    Argon2::default()
                        .verify_password(password.as_bytes(), &hash)
                        .is_ok()
                };
                let typed = password.expose();
                let composed = Secret::new(text::password(typed));
                let typed_matches = typed != composed.expose() && matches(typed);
                matches(composed.expose()) | typed_matches
            })
            .await?;
        Ok(matches && known)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let permit =
            tokio::time::timeout(PERMIT_TIMEOUT, self.permits.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            return Err(Problem::Unavailable(Dependency::Node, None));
        };
        spawn_blocking(move || {
            // Held until the work ends: the request may be dropped before.
            let result = work();
            drop(permit);
            result
        })
        .await
        .map_err(Problem::internal)
    }
}

fn hash(password: &str) -> Result<Secret, Problem> {
    // The library generates the salt.
    let hash = Argon2::default()
        .hash_password(password.as_bytes())
        .map_err(|error| Problem::internal(error.to_string()))?;
    Ok(Secret::new(hash.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let passwords = Passwords::new().expect("randomness");
        let hash = passwords
            .hash(Secret::new("correct horse"))
            .await
            .expect("hashed");
        assert!(hash.expose().starts_with("$argon2id$"));
        assert!(
            passwords
                .verify(Secret::new("correct horse"), Some(hash.clone()))
                .await
                .expect("verified")
        );
        assert!(
            !passwords
                .verify(Secret::new("battery staple"), Some(hash))
                .await
                .expect("verified")
        );
        assert!(
            !passwords
                .verify(Secret::new("dummy"), None)
                .await
                .expect("verified")
        );
    }

    #[tokio::test]
    async fn a_password_matches_composed_decomposed_and_as_an_earlier_version_hashed_it() {
        let passwords = Passwords::new().expect("randomness");
        let (composed, decomposed) = ("caf\u{e9}", "cafe\u{301}");
        for (hashed, typed, expected) in [
            (composed, composed, true),
            (composed, decomposed, true),
            (decomposed, decomposed, true),
            // Only an account of an earlier version has such a hash. Its owner types the password as then.
            (decomposed, composed, false),
        ] {
            let hash = hash(hashed).expect("hashed");
            let matches = passwords.verify(Secret::new(typed), Some(hash)).await;
            assert_eq!(matches.expect("verified"), expected, "{hashed:?} {typed:?}");
        }
    }
}
