//! `GET /api/openapi.json`: the description of the HTTP API (`OpenAPI` 3.1), made from the handlers and the types of their bodies.
//! `GET /api/asyncapi.json`: that of STOMP and the event stream (`AsyncAPI` 3.0), a file of its own.

use std::sync::LazyLock;

use bytes::Bytes;
use http::StatusCode;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        Header, ObjectBuilder, OpenApi as Document, Ref, RefOr, ResponseBuilder, Type,
        content::ContentBuilder,
        path::{Operation, PathItem},
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use warp::reply::Response;

use crate::{
    api::{
        auth, channels, files, health, messages, notifications, read_statuses, sessions, sse, users,
    },
    http::{
        reply::{ErrorBody, json_bytes},
        request::Request,
    },
    problem::Problem,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Discodeit",
        description = "The HTTP API of a Discodeit server. STOMP and the event stream are described by `/api/asyncapi.json`.",
    ),
    paths(
        auth::csrf_token,
        auth::login,
        auth::refresh,
        auth::me,
        auth::logout,
        auth::set_role,
        sessions::list,
        sessions::end_others,
        sessions::end,
        users::list,
        users::sign_up,
        users::remove_picture,
        users::find,
        users::update,
        users::delete,
        channels::list,
        channels::create_public,
        channels::create_private,
        channels::update,
        channels::delete,
        channels::add,
        channels::leave,
        messages::page,
        messages::create,
        messages::search,
        messages::update,
        messages::delete,
        messages::add_reaction,
        messages::remove_reaction,
        read_statuses::list,
        read_statuses::create,
        read_statuses::update,
        files::list,
        files::find,
        files::download,
        files::thumbnail,
        notifications::list,
        notifications::delete,
        sse::open,
        health::live,
        health::ready,
        openapi,
        asyncapi,
    ),
    components(schemas(ErrorBody)),
    security(("bearer" = [])),
    modifiers(&Conventions),
)]
struct Api;

/// The lists whose answers have `X-Event-Cursor`; see [`super::cursor`].
const WITH_CURSOR: [&str; 5] = [
    "channels.list",
    "messages.page",
    "notifications.list",
    "readStatuses.list",
    "users.list",
];

/// What all operations share.
struct Conventions;

impl Modify for Conventions {
    fn modify(&self, document: &mut Document) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT");
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
        let session = ApiKeyValue::with_description(
            "REFRESH-TOKEN",
            "The session of a browser; `__Host-REFRESH-TOKEN` behind TLS.",
        );
        components.add_security_scheme("session", SecurityScheme::ApiKey(ApiKey::Cookie(session)));
        for (path, item) in &mut document.paths.paths {
            // The part after "/api/".
            let part = path.split('/').nth(2).unwrap_or_default();
            let tag = if part.contains('.') {
                "documents"
            } else {
                part
            };
            for operation in operations(item) {
                describe(operation, tag);
            }
        }
    }
}

/// The operations of a path, with each method that a route can have.
fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let methods = [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
        &mut item.patch,
    ];
    methods.into_iter().flatten()
}

fn describe(operation: &mut Operation, tag: &str) {
    operation.tags = Some(vec![tag.to_owned()]);
    // The function's name, which is unique among those of a tag only.
    let function = operation.operation_id.take().unwrap_or_default();
    let name = format!("{tag}.{function}");
    // Plain text, unlike the description.
    operation.summary = operation.summary.take().map(|text| text.replace('`', ""));
    let responses = &mut operation.responses.responses;
    for (status, response) in responses.iter_mut() {
        if let RefOr::T(response) = response
            && response.description.is_empty()
        {
            let status = status.parse().ok();
            let reason = status.and_then(|status: StatusCode| status.canonical_reason());
            reason
                .unwrap_or_default()
                .clone_into(&mut response.description);
        }
    }
    if let Some(RefOr::T(response)) = responses.get_mut("200")
        && WITH_CURSOR.contains(&&*name)
    {
        let mut header = Header::new(ObjectBuilder::new().schema_type(Type::String));
        header.description =
            Some("The position for an event stream that misses no change of the list.".to_owned());
        response.headers.insert("X-Event-Cursor".to_owned(), header);
    }
    let error = ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody")));
    let error = ResponseBuilder::new()
        .description("An error")
        .content("application/json", error.build());
    responses.insert("default".to_owned(), error.build().into());
    operation.operation_id = Some(name);
}

/// The document, made once.
static DOCUMENT: LazyLock<Bytes> =
    LazyLock::new(|| Api::openapi().to_json().unwrap_or_default().into());

/// Returns this document.
#[utoipa::path(
    get,
    path = "/api/openapi.json",
    responses((status = 200, body = serde_json::Value)),
    security(()),
)]
pub(super) async fn openapi(_: Request) -> Result<Response, Problem> {
    Ok(json_bytes(StatusCode::OK, DOCUMENT.clone()))
}

/// Returns the description of STOMP and of the event stream.
#[utoipa::path(
    get,
    path = "/api/asyncapi.json",
    responses((status = 200, body = serde_json::Value)),
    security(()),
)]
pub(super) async fn asyncapi(_: Request) -> Result<Response, Problem> {
    Ok(json_bytes(StatusCode::OK, ASYNC_DOCUMENT))
}

const ASYNC_DOCUMENT: &str = include_str!("asyncapi.json");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::{api::PATHS, delivery::destination, ids::ChannelId, model::event};

    #[test]
    fn every_route_is_described() {
        let mut document = Api::openapi();
        let ids = |path: &str| {
            let segments = path.split('/');
            let segments = segments.map(|part| if part.starts_with('{') { "{id}" } else { part });
            segments.collect::<Vec<_>>().join("/")
        };
        let described: BTreeSet<_> = document.paths.paths.keys().map(|path| ids(path)).collect();
        let routed = PATHS.iter().filter(|path| **path != "/ws");
        assert_eq!(described, routed.map(|path| (*path).to_owned()).collect());
        let items = document.paths.paths.values_mut();
        let described = items.flat_map(operations).count();
        let routed = include_str!("mod.rs").matches("(M::").count();
        assert_eq!(described, routed);
    }

    #[test]
    fn an_operation_has_a_name_of_its_own_and_describes_errors() {
        let mut document = Api::openapi();
        let mut names = BTreeSet::new();
        for operation in document.paths.paths.values_mut().flat_map(operations) {
            let name = operation.operation_id.clone().expect("a name");
            assert!(operation.summary.is_some(), "{name}");
            assert!(
                operation.responses.responses.contains_key("default"),
                "{name}"
            );
            assert!(names.insert(name.clone()), "{name} twice");
        }
    }

    #[test]
    fn every_event_and_destination_is_described() {
        let document: Value = serde_json::from_str(ASYNC_DOCUMENT).expect("JSON");
        let messages = document["components"]["messages"]
            .as_object()
            .expect("messages");
        let kinds = event::KINDS.into_iter().chain([event::SYNC, event::RESYNC]);
        for kind in kinds.filter(|kind| *kind != "control") {
            assert!(messages.contains_key(kind), "{kind}");
        }
        let channels = document["channels"].as_object().expect("channels");
        let id = ChannelId::new().to_string();
        for channel in channels.values() {
            let address = channel["address"].as_str().expect("an address");
            let address = address.replace("{channelId}", &id);
            assert!(
                address == "/api/sse"
                    || destination::subscribe(&address).is_some()
                    || destination::send(&address).is_some(),
                "{address}"
            );
        }
        assert_eq!(channels.len(), 7, "every destination and the event stream");
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    /// The schemas to which the descriptions refer.
    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(target)) = fields.get("$ref")
                    && let Some((_, name)) = target.split_once("#/components/schemas/")
                {
                    found.insert(name);
                }
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_schema_that_is_referred_to_exists() {
        let api: Value = serde_json::from_slice(&DOCUMENT).expect("JSON");
        let events: Value = serde_json::from_str(ASYNC_DOCUMENT).expect("JSON");
        let mut found = BTreeSet::new();
        references(&api, &mut found);
        references(&events, &mut found);
        assert!(found.contains("Message"));
        for name in found {
            assert!(api["components"]["schemas"].get(name).is_some(), "{name}");
        }
    }
}
