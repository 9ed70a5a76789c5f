//! Accounts and channels by the HTTP API.

use std::net::Ipv6Addr;

use reqwest::{Client, multipart};
use serde_json::{Value, json};

use super::{Outcome, PASSWORD};

pub(super) struct Api {
    pub(super) http: Client,
    pub(super) base: String,
}

pub(super) struct User {
    pub(super) name: String,
    pub(super) id: String,
}

#[expect(
    clippy::disallowed_methods,
    reason = "secrets do not belong on a command line"
)]
pub(super) fn environment(name: &str) -> Outcome<String> {
    std::env::var(name).map_err(|_| format!("{name} is not set").into())
}

impl Api {
    pub(super) fn new(address: &str) -> Outcome<Self> {
        Ok(Self {
            http: Client::builder()
                .no_proxy()
                // A run is longer than a node keeps an idle connection.
                .pool_max_idle_per_host(0)
                .build()?,
            base: format!("http://{address}/api"),
        })
    }

    pub(super) async fn answer(request: reqwest::RequestBuilder) -> Outcome<Value> {
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        if status.is_success() {
            Ok(serde_json::from_str(&text)?)
        } else {
            Err(format!("{status}: {text}").into())
        }
    }

    pub(super) async fn sign_up(&self, how_many: usize) -> Outcome<Vec<User>> {
        let mut users = Vec::with_capacity(how_many);
        for _ in 0..how_many {
            let random = uuid::Uuid::new_v4().as_u64_pair().0;
            let name = format!("m{random:x}");
            // An address for each user: sign-ups are limited by address.
            let address = Ipv6Addr::from(u128::from(random) << 64);
            let body = json!({ "username": name, "email": format!("{name}@example.org"), "password": PASSWORD });
            let part = multipart::Part::text(body.to_string()).mime_str("application/json")?;
            let form = multipart::Form::new().part("userCreateRequest", part);
            let user = Self::answer(
                self.http
                    .post(format!("{}/users", self.base))
                    .header("X-Forwarded-For", address.to_string())
                    .multipart(form),
            )
            .await?;
            let id = user["id"].as_str().ok_or("a user has an id")?.to_owned();
            users.push(User { name, id });
        }
        Ok(users)
    }

    pub(super) async fn token(&self, username: &str, password: &str) -> Outcome<String> {
        let body = json!({ "username": username, "password": password });
        let token = Self::answer(
            self.http
                .post(format!("{}/auth/login", self.base))
                .json(&body),
        )
        .await?;
        Ok(token
            .as_str()
            .ok_or("a login answers with a token")?
            .to_owned())
    }

    pub(super) async fn channel(&self) -> Outcome<String> {
        let token = self
            .token(
                &environment("ADMIN_USERNAME")?,
                &environment("ADMIN_PASSWORD")?,
            )
            .await?;
        let request = self
            .http
            .post(format!("{}/channels/public", self.base))
            .bearer_auth(token);
        let channel =
            Self::answer(request.json(&json!({ "name": "measure", "description": "" }))).await?;
        Ok(channel["id"]
            .as_str()
            .ok_or("a channel has an id")?
            .to_owned())
    }
}
