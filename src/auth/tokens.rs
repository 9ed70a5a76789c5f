//! Access tokens: JWT (RFC 7519), signed with HS256 only.

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

/// The claims of an access token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// Username.
    pub sub: String,
    /// Issued at, seconds since 1970.
    pub iat: i64,
    /// Expires at, seconds since 1970.
    pub exp: i64,
    /// The user when the token was issued.
    #[serde(rename = "userDto")]
    pub user: User,
    /// The session, which may have been revoked since.
    pub sid: SessionId,
    /// Random id, so that no two tokens are equal.
    pub jti: Uuid,
}

/// The user and session of a valid token. The session may have ended.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user's id.
    pub id: UserId,
    /// The username when the token was issued.
    pub username: String,
    /// The role. It is current while the session lives, since a change of role revokes the user's sessions.
    pub role: Role,
    /// The session.
    pub session: SessionId,
}

/// Why a token is rejected.
#[derive(Clone, Debug)]
pub enum TokenError {
    /// The token has expired and is valid otherwise; with its caller.
    Expired(Caller),
    /// The token is malformed, unsigned or signed with another key.
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
        // Only nodes issue tokens, and their clocks differ little.
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

    /// Issues a token for a session.
    ///
    /// # Errors
    /// [`Problem::Internal`] if the claims cannot be serialized.
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

    /// Checks signature, algorithm and expiry.
    ///
    /// # Errors
    /// Why the token is rejected. Beside an expired token some routes accept the session cookie.
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
            // Checked again but for the expiry: an unsigned token must not name a caller.
            let without_expiry = Validation {
                validate_exp: false,
                ..self.validation.clone()
            };
            match error.kind() {
                ExpiredSignature => {
                    read(&without_expiry).map_or(TokenError::Invalid, TokenError::Expired)
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
    fn an_issued_token_is_accepted_with_its_caller() {
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
    fn another_algorithm_or_key_is_rejected() {
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
    fn a_token_without_expiry_or_past_it_is_rejected() {
        let sign = |claims: serde_json::Value| {
            encode(&Header::new(Algorithm::HS256), &claims, &tokens().encoding).expect("signed")
        };
        let ann = ann();
        let claims = |exp: Option<i64>| json!({ "sub": "ann", "iat": 0, "exp": exp, "userDto": &ann, "sid": SessionId::new(), "jti": Uuid::new_v4() });
        let expired = sign(claims(Some(1_000)));
        match tokens().check(&expired) {
            Err(TokenError::Expired(caller)) => {
                assert_eq!(caller.id, ann.id, "the error names the caller");
            }
            other => panic!("{other:?}"),
        }
        let unsigned = expired.rsplit_once('.').expect("three parts").0;
        for token in [sign(claims(None)), format!("{unsigned}.AAAA")] {
            assert!(matches!(tokens().check(&token), Err(TokenError::Invalid)));
        }
    }
}
