//! An HTTP client of the API.

use reqwest::{Method, header::HeaderName, multipart};
use serde_json::{Value, json};

use super::{START, eventually_within};

/// A response of the API.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: reqwest::header::HeaderMap,
    /// The body as JSON; null for an empty body, a string for other types.
    pub body: Value,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The error code. Panics unless the body has the fields of every error.
    pub fn code(&self) -> &str {
        let body = self
            .body
            .as_object()
            .unwrap_or_else(|| panic!("an error has a JSON body: {self:?}"));
        let mut fields: Vec<_> = body.keys().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(
            fields,
            [
                "code",
                "details",
                "exceptionType",
                "message",
                "status",
                "timestamp"
            ],
            "{self:?}"
        );
        assert_eq!(body["status"], self.status, "{self:?}");
        assert!(body["details"].is_object(), "{self:?}");
        assert!(self.header("discodeit-request-id").is_some(), "{self:?}");
        body["code"].as_str().expect("a code is a string")
    }
}

/// A browser with a cookie store and, after a login, an access token.
#[derive(Clone)]
pub struct Visitor {
    /// The HTTP client.
    pub http: reqwest::Client,
    /// `http://127.0.0.1:12345`
    pub base: String,
    /// The access token of a signed-in browser.
    pub token: Option<String>,
}

impl Visitor {
    /// A browser without cookies that sends to that address.
    pub fn new(address: &str) -> Self {
        Self::behind_proxy(address, None)
    }

    /// A browser whose requests carry `X-Forwarded-For`, like those that nginx passes on.
    pub fn behind_proxy(address: &str, client_address: Option<&str>) -> Self {
        let forwarded = client_address.map(|client| {
            let value = client.parse().expect("an IP address is a header value");
            (HeaderName::from_static("x-forwarded-for"), value)
        });
        let http = reqwest::Client::builder()
            .cookie_store(true)
            .no_proxy()
            .default_headers(forwarded.into_iter().collect())
            .build()
            .expect("a client");
        Self {
            http,
            base: format!("http://{address}"),
            token: None,
        }
    }

    /// The same node for a browser at another address, without cookies.
    ///
    /// The node must trust this host's `X-Forwarded-For`.
    pub fn at_address(&self, client: &str) -> Self {
        Self::behind_proxy(self.base.trim_start_matches("http://"), Some(client))
    }

    /// Waits until the node is ready.
    pub async fn until_ready(&self) {
        eventually_within(START, "the node is ready", async || {
            self.get("/api/health/ready").await.status == 200
        })
        .await;
    }

    /// A request, with the token if the browser has one.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends the request and reads the whole response.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.expect("the node answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.expect("the answer is complete");
        let body = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        };
        Answer {
            status,
            headers,
            body,
        }
    }

    /// Sends a GET request.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// Sends a DELETE request.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Sends a request with a JSON body.
    pub async fn json(&self, method: Method, path: &str, body: &Value) -> Answer {
        self.send(self.request(method, path).json(body)).await
    }

    /// Sends a POST request with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.json(Method::POST, path, body).await
    }

    /// Sends a PATCH request with a JSON body.
    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.json(Method::PATCH, path, body).await
    }

    /// Sends a multipart request with one JSON part.
    pub async fn multipart(
        &self,
        method: Method,
        path: &str,
        part: &'static str,
        body: &Value,
    ) -> Answer {
        let json = multipart::Part::text(body.to_string())
            .mime_str("application/json")
            .expect("a media type");
        self.send(
            self.request(method, path)
                .multipart(multipart::Form::new().part(part, json)),
        )
        .await
    }

    /// Signs a new user up.
    pub async fn sign_up(&self, username: &str, email: &str, password: &str) -> Answer {
        let body = json!({ "username": username, "email": email, "password": password });
        self.multipart(Method::POST, "/api/users", "userCreateRequest", &body)
            .await
    }

    /// Signs in. The body of the response is the access token.
    pub async fn login(&self, username: &str, password: &str) -> Answer {
        self.post(
            "/api/auth/login",
            &json!({ "username": username, "password": password }),
        )
        .await
    }

    /// Gets a CSRF cookie and returns its value for the header.
    pub async fn csrf(&self) -> String {
        let answer = self.get("/api/auth/csrf-token").await;
        assert_eq!(answer.status, 204);
        let cookie = answer.header("set-cookie").expect("a cookie is set");
        let value = cookie
            .strip_prefix("XSRF-TOKEN=")
            .expect("the cookie is the CSRF cookie");
        value
            .split(';')
            .next()
            .expect("a cookie has a value")
            .to_owned()
    }

    /// Sends a POST request with the CSRF cookie and its header.
    ///
    /// `/api/auth/refresh` and `/api/auth/logout` require both.
    pub async fn post_csrf(&self, path: &str) -> Answer {
        let token = self.csrf().await;
        self.send(
            self.request(Method::POST, path)
                .header("x-xsrf-token", token),
        )
        .await
    }
}

/// A signed-in user.
#[derive(Clone)]
pub struct User {
    /// The browser, with the user's token and cookies.
    pub at: Visitor,
    /// The user's id.
    pub id: String,
    /// The user's name.
    pub name: String,
}

impl std::ops::Deref for User {
    type Target = Visitor;

    fn deref(&self) -> &Visitor {
        &self.at
    }
}

impl User {
    /// Signs a new user up and in with that browser. The name gets a random suffix.
    pub async fn sign_up(visitor: Visitor, name: &str) -> Self {
        let name = format!("{name}-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let answer = visitor
            .sign_up(&name, &format!("{name}@example.org"), "password")
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
        Self::sign_in(visitor, &name, "password").await
    }

    /// Signs in with that browser.
    pub async fn sign_in(mut visitor: Visitor, name: &str, password: &str) -> Self {
        let answer = visitor.login(name, password).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let token = answer
            .body
            .as_str()
            .expect("the token is a string")
            .to_owned();
        let id = Self::claims(&token)["userDto"]["id"]
            .as_str()
            .expect("the token names the user")
            .to_owned();
        visitor.token = Some(token);
        Self {
            at: visitor,
            id,
            name: name.to_owned(),
        }
    }

    /// The claims of a token, without a check of its signature.
    pub fn claims(token: &str) -> Value {
        use base64::Engine;
        let payload = token.split('.').nth(1).expect("a JWT has three parts");
        let json = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(payload)
            .expect("a JWT is base64url");
        serde_json::from_slice(&json).expect("a JWT is JSON")
    }

    /// The access token.
    pub fn token(&self) -> &str {
        self.at.token.as_deref().expect("a user has a token")
    }

    /// The same browser, with token and cookies, at another node.
    pub fn at_node(&self, address: &str) -> Self {
        let mut moved = self.clone();
        moved.at.base = format!("http://{address}");
        moved
    }

    /// Creates a public channel and returns its id.
    pub async fn create_channel(&self, name: &str) -> String {
        let answer = self
            .post(
                "/api/channels/public",
                &json!({ "name": name, "description": "" }),
            )
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["id"]
            .as_str()
            .expect("a channel has an id")
            .to_owned()
    }

    /// Creates a private channel with these users and returns its id.
    pub async fn create_private(&self, others: &[&User]) -> String {
        let ids: Vec<_> = others
            .iter()
            .map(|user| user.id.as_str())
            .chain([self.id.as_str()])
            .collect();
        let answer = self
            .post("/api/channels/private", &json!({ "participantIds": ids }))
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["id"]
            .as_str()
            .expect("a channel has an id")
            .to_owned()
    }

    /// Posts a message over HTTP.
    pub async fn write(&self, channel: &str, content: &str) -> Answer {
        let body = json!({ "content": content, "channelId": channel, "authorId": self.id });
        self.multipart(Method::POST, "/api/messages", "messageCreateRequest", &body)
            .await
    }

    /// Posts a message over HTTP; returns false if that fails.
    ///
    /// A draining or killed node rejects the request or cannot be reached.
    pub async fn write_if_possible(&self, channel: &str, content: &str) -> bool {
        let body =
            json!({ "content": content, "channelId": channel, "authorId": self.id }).to_string();
        let form = multipart::Form::new().text("messageCreateRequest", body);
        let response = self
            .request(Method::POST, "/api/messages")
            .multipart(form)
            .send()
            .await;
        response.is_ok_and(|response| response.status() == 201)
    }

    /// Every message of a channel, oldest first, over all pages.
    pub async fn history(&self, channel: &str) -> Vec<Value> {
        let mut messages = Vec::new();
        let mut cursor = String::new();
        loop {
            let answer = self
                .get(&format!(
                    "/api/messages?channelId={channel}&size=100&sort=createdAt,asc&cursor={cursor}"
                ))
                .await;
            assert_eq!(answer.status, 200, "{answer:?}");
            messages.extend(
                answer.body["content"]
                    .as_array()
                    .expect("a page has content")
                    .iter()
                    .cloned(),
            );
            match answer.body["nextCursor"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => return messages,
            }
        }
    }
}
