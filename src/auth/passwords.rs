//! Password hashes: Argon2id, on a bounded number of blocking threads.

use std::{sync::Arc, time::Duration};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{
    problem::{Dependency, Problem},
    secret::Secret,
};

/// A request waits this long for its turn; a login that takes longer is better tried again.
const TURN_TIMEOUT: Duration = Duration::from_secs(4);

/// Hashes and verifies. Each hash takes 19 MiB and some 15 ms of a core, so as many run at once as there are cores, and
/// the rest wait without a thread.
pub struct Passwords {
    turns: Arc<Semaphore>,
    /// Verified when the username is unknown, so that the answer takes as long.
    decoy: Secret,
}

impl Passwords {
    /// Takes one hash's time.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn new() -> Result<Self, Problem> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            turns: Arc::new(Semaphore::new(cores)),
            decoy: hash("decoy")?,
        })
    }

    /// The hash of a new password, as a PHC string. Waits for its turn.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] when no turn came in time.
    pub async fn hash(&self, password: Secret) -> Result<Secret, Problem> {
        self.run(move || hash(password.expose())).await?
    }

    /// Whether the password is the hash's. Takes as long when there is no hash. Waits for its turn.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] when no turn came in time.
    pub async fn verify(&self, password: Secret, hash: Option<Secret>) -> Result<bool, Problem> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.decoy.clone());
        let matches = self
            .run(move || {
                let hash = PasswordHash::new(hash.expose());
                hash.is_ok_and(|hash| {
                    Argon2::default()
                        .verify_password(password.expose().as_bytes(), &hash)
                        .is_ok()
                })
            })
            .await?;
        Ok(matches && known)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = tokio::time::timeout(TURN_TIMEOUT, self.turns.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(Problem::Unavailable(Dependency::Node, None));
        };
        spawn_blocking(move || {
            // The turn ends with the work, not with the request, which may be gone by then.
            let result = work();
            drop(turn);
            result
        })
        .await
        .map_err(Problem::internal)
    }
}

fn hash(password: &str) -> Result<Secret, Problem> {
    // The salt is made by the library.
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
                .verify(Secret::new("decoy"), None)
                .await
                .expect("verified")
        );
    }
}
