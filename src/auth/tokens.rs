//! Access tokens: JWT (RFC 7519), HS256 and nothing else.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    ids::{SessionId, UserId},
    model::{Role, User},
    problem::Problem,
    secret::Secret,
};

/// What an access token says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// Username.
    pub sub: String,
    /// Issued at, seconds since 1970.
    pub iat: i64,
    /// Expires at, seconds since 1970.
    pub exp: i64,
    /// The user when it was issued.
    #[serde(rename = "userDto")]
    pub user: User,
    /// The session, which may have been revoked since.
    pub sid: SessionId,
    /// Makes each token different.
    pub jti: Uuid,
}

/// Who is calling. The token was valid; whether its session still lives is asked of Redis.
#[derive(Clone, Debug)]
pub struct Caller {
    /// User.
    pub id: UserId,
    /// Name when the token was issued.
    pub username: String,
    /// Role; changing it revokes the sessions, so it cannot be stale.
    pub role: Role,
    /// Session.
    pub session: SessionId,
}

/// Why a token was not taken.
#[derive(Clone, Debug)]
pub enum TokenError {
    /// Genuine, and its time is over. It still says whose it was.
    Expired(Caller),
    /// Anything else.
    Invalid,
}

/// Issues and checks tokens.
pub struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
    ttl: Duration,
}

impl Tokens {
    /// Tokens signed with `secret`, valid for `ttl`.
    pub fn new(secret: &Secret, ttl: Duration) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        // Our own nodes issue them, so clocks differ by little.
        validation.leeway = 5;
        validation.set_required_spec_claims(&["exp", "sub"]);
        validation.validate_nbf = true;
        validation.validate_aud = false;
        let bytes = secret.expose().as_bytes();
        Self {
            encoding: EncodingKey::from_secret(bytes),
            decoding: DecodingKey::from_secret(bytes),
            validation,
            ttl,
        }
    }

    /// A token for that session.
    ///
    /// # Errors
    /// Only a bug.
    pub fn issue(&self, user: &User, session: SessionId) -> Result<String, Problem> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let ttl = i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX);
        let user = User {
            online: None,
            ..user.clone()
        };
        let claims = Claims {
            sub: user.username.clone(),
            iat: now,
            exp: now.saturating_add(ttl),
            user,
            sid: session,
            jti: Uuid::new_v4(),
        };
        encode(&Header::new(Algorithm::HS256), &claims, &self.encoding).map_err(Problem::internal)
    }

    /// Checks signature, algorithm and time.
    ///
    /// # Errors
    /// Whether it merely expired: then the session cookie may stand in for it.
    pub fn check(&self, token: &str) -> Result<Caller, TokenError> {
        use jsonwebtoken::errors::ErrorKind::ExpiredSignature;
        let read = |validation: &Validation| {
            let Claims { user, sid, .. } =
                decode::<Claims>(token, &self.decoding, validation)?.claims;
            Ok(Caller {
                id: user.id,
                username: user.username,
                role: user.role,
                session: sid,
            })
        };
        read(&self.validation).map_err(|error: jsonwebtoken::errors::Error| {
            // Everything but its end is checked again: nobody is believed without a signature.
            let but_for_its_end = Validation {
                validate_exp: false,
                ..self.validation.clone()
            };
            match error.kind() {
                ExpiredSignature => {
                    read(&but_for_its_end).map_or(TokenError::Invalid, TokenError::Expired)
                }
                _ => TokenError::Invalid,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
    use serde_json::json;

    use super::*;

    fn tokens() -> Tokens {
        Tokens::new(
            &Secret::new("0123456789abcdef0123456789abcdef"),
            Duration::from_mins(1),
        )
    }

    fn ann() -> User {
        User {
            id: UserId::new(),
            username: "ann".into(),
            email: "a@b".into(),
            profile: None,
            online: Some(true),
            role: Role::User,
        }
    }

    #[test]
    fn an_issued_token_is_accepted_and_says_who() {
        let (ann, session) = (ann(), SessionId::new());
        let caller = tokens()
            .check(&tokens().issue(&ann, session).expect("issued"))
            .expect("accepted");
        assert_eq!(
            (caller.id, caller.session, caller.role),
            (ann.id, session, Role::User)
        );
    }

    #[test]
    fn another_algorithm_or_key_is_refused() {
        let token = tokens().issue(&ann(), SessionId::new()).expect("issued");
        let payload = token.split('.').nth(1).expect("three parts");
        for alg in ["none", "None", "nOnE", "HS384", "HS512", "RS256"] {
            let header = BASE64
                .encode(json!({ "alg": alg, "typ": "JWT", "kid": "../../dev/null" }).to_string());
            let signature = token.rsplit('.').next().expect("three parts");
            for signature in ["", signature] {
                assert!(
                    tokens()
                        .check(&format!("{header}.{payload}.{signature}"))
                        .is_err(),
                    "{alg}"
                );
            }
        }
        let other = Tokens::new(
            &Secret::new("another-secret-of-32-bytes-or-so!"),
            Duration::from_mins(1),
        );
        assert!(matches!(other.check(&token), Err(TokenError::Invalid)));
    }

    #[test]
    fn a_token_without_an_end_or_past_it_is_refused() {
        let sign = |claims: serde_json::Value| {
            encode(&Header::new(Algorithm::HS256), &claims, &tokens().encoding).expect("signed")
        };
        let ann = ann();
        let claims = |exp: Option<i64>| json!({ "sub": "ann", "iat": 0, "exp": exp, "userDto": &ann, "sid": SessionId::new(), "jti": Uuid::new_v4() });
        let expired = sign(claims(Some(1_000)));
        match tokens().check(&expired) {
            Err(TokenError::Expired(caller)) => {
                assert_eq!(caller.id, ann.id, "it says whose it was");
            }
            other => panic!("{other:?}"),
        }
        let unsigned = expired.rsplit_once('.').expect("three parts").0;
        for token in [sign(claims(None)), format!("{unsigned}.AAAA")] {
            assert!(matches!(tokens().check(&token), Err(TokenError::Invalid)));
        }
    }
}
