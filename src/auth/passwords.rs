//! Password hashes: Argon2id on a bounded number of blocking threads.

use std::time::Duration;

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::task::spawn_blocking;

use crate::{
    auth::fair_queue::{FairQueue, Refused},
    model::text,
    problem::{Dependency, Problem},
    rate_limit::client_network::ClientNetwork,
    secret::Secret,
};

/// Timeout of a request that waits for a core.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(4);

/// Requests that wait for each core: about 1 s of work.
const MAX_WAITING_PER_CORE: usize = 64;

/// Requests from one client network that wait for each core: about 0.25 s of work.
const MAX_WAITING_PER_CORE_AND_NETWORK: usize = 16;

/// `Retry-After` of a client network with too many waiting requests.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Hashes and verifies passwords.
///
/// A hash takes 19 MiB and about 15 ms of a core. At most one hash runs per core. The others wait without a thread in a queue,
/// where client networks take turns, so that one client cannot delay the others by more than a turn.
pub struct Passwords {
    queue: FairQueue<ClientNetwork>,
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
            queue: FairQueue::new(
                cores,
                MAX_WAITING_PER_CORE * cores,
                MAX_WAITING_PER_CORE_AND_NETWORK * cores,
            ),
            dummy_hash: hash("dummy")?,
        })
    }

    /// Hashes a valid new password into a PHC string.
    ///
    /// # Errors
    /// [`Problem::TooMany`] if many requests from this network wait, [`Problem::Unavailable`] if many requests of all networks do,
    /// or no core is free within 4 s.
    pub async fn hash(&self, client: ClientNetwork, password: Secret) -> Result<Secret, Problem> {
        self.run(client, move || hash(password.expose())).await?
    }

    /// Whether the password matches the hash, in its composed form or as typed: earlier versions hashed it as typed.
    ///
    /// The duration depends on the typed text only: not on which form matches, nor on whether there is a hash.
    ///
    /// # Errors
    /// As [`Self::hash`].
    pub async fn verify(
        &self,
        client: ClientNetwork,
        password: Secret,
        hash: Option<Secret>,
    ) -> Result<bool, Problem> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.dummy_hash.clone());
        let matches = self
            .run(client, move || {
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

    /// Number of requests that wait for a core.
    pub fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    async fn run<T: Send + 'static>(
        &self,
        client: ClientNetwork,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let permit = match tokio::time::timeout(PERMIT_TIMEOUT, self.queue.acquire(client)).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(Refused::Key)) => {
                return Err(Problem::TooMany {
                    retry_after: RETRY_AFTER,
                });
            }
            Ok(Err(Refused::Full)) | Err(_) => {
                return Err(Problem::Unavailable(Dependency::Node, None));
            }
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
        let client = ClientNetwork::of([127, 0, 0, 1].into());
        let hash = passwords
            .hash(client, Secret::new("correct horse"))
            .await
            .expect("hashed");
        assert!(hash.expose().starts_with("$argon2id$"));
        assert!(
            passwords
                .verify(client, Secret::new("correct horse"), Some(hash.clone()))
                .await
                .expect("verified")
        );
        assert!(
            !passwords
                .verify(client, Secret::new("battery staple"), Some(hash))
                .await
                .expect("verified")
        );
        assert!(
            !passwords
                .verify(client, Secret::new("dummy"), None)
                .await
                .expect("verified")
        );
    }

    #[tokio::test]
    async fn a_password_matches_composed_decomposed_and_as_an_earlier_version_hashed_it() {
        let passwords = Passwords::new().expect("randomness");
        let client = ClientNetwork::of([127, 0, 0, 1].into());
        let (composed, decomposed) = ("caf\u{e9}", "cafe\u{301}");
        for (hashed, typed, expected) in [
            (composed, composed, true),
            (composed, decomposed, true),
            (decomposed, decomposed, true),
            // Only an account of an earlier version has such a hash. Its owner types the password as then.
            (decomposed, composed, false),
        ] {
            let hash = hash(hashed).expect("hashed");
            let matches = passwords
                .verify(client, Secret::new(typed), Some(hash))
                .await;
            assert_eq!(matches.expect("verified"), expected, "{hashed:?} {typed:?}");
        }
    }
}
