//! `/api/binaryContents`: files, their lists and downloads.

use std::ops::Range;

use headers::{
    AcceptRanges, ContentLength, ContentRange, ETag, HeaderMapExt, IfMatch, IfNoneMatch, IfRange,
};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RANGE,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use serde::Deserialize;
use warp::reply::Response;

use crate::{
    auth::tokens::TokenError,
    http::{
        reply::{json, stream},
        request::Request,
    },
    ids::{FileId, UserId},
    model::{BinaryContent, UploadStatus, file},
    problem::{Problem, Resource},
    rate_limit::clients::READ_COST,
    store,
    thumbnails::WIDTHS,
};

/// Maximum files of one list: enough for a page of messages, and short enough for the URL limit of proxies.
const MAX_LISTED: usize = 100;

/// Describes a file.
#[utoipa::path(
    get,
    path = "/api/binaryContents/{id}",
    params(("id" = FileId, Path)),
    responses((status = 200, body = BinaryContent)),
)]
pub(super) async fn find(id: FileId, request: Request) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    json(StatusCode::OK, &readable(&request, id, caller.id).await?)
}

/// The file, if the user may read it.
async fn readable(request: &Request, id: FileId, user: UserId) -> Result<BinaryContent, Problem> {
    let mut found = store::files::readable(&request.app.db, &[id], user).await?;
    found.pop().ok_or(Problem::NotFound(Resource::File(id)))
}

/// Describes files, in the order of the request. Leaves out those that the caller may not read.
#[utoipa::path(
    get,
    path = "/api/binaryContents",
    params(("binaryContentIds" = Vec<FileId>, Query, description = "1 to 100 ids, repeated or separated by commas.")),
    responses((status = 200, body = [BinaryContent])),
)]
pub(super) async fn list(request: Request) -> Result<Response, Problem> {
    const NAME: &str = "binaryContentIds";
    let caller = request.caller().await?;
    let query: Vec<(String, String)> = request.query()?;
    let ids = query
        .iter()
        .filter(|(name, _)| name == NAME)
        .flat_map(|(_, value)| value.split(','))
        .map(str::trim)
        .filter(|id| !id.is_empty());
    let ids: Result<Vec<FileId>, _> = ids.map(str::parse).collect();
    let ids = ids.map_err(|_| Problem::invalid(NAME, "must be ids of files"))?;
    if ids.is_empty() || ids.len() > MAX_LISTED {
        return Err(Problem::invalid(NAME, "must be 1 to 100 ids"));
    }
    let found = store::files::readable(&request.app.db, &ids, caller.id).await?;
    // Deleted and unreadable files are left out, so that the client gets the others.
    let in_order: Vec<_> = ids
        .into_iter()
        .filter_map(|id| found.iter().find(|file| file.id == id))
        .collect();
    json(StatusCode::OK, &in_order)
}

/// The user of the bearer token or, if the token has expired or is absent, of the session cookie: `<img>` sends no token.
async fn authenticate(request: &Request) -> Result<UserId, Problem> {
    let (user, _) = match request.claims() {
        Err(None) => request.cookie_session(None).await?,
        Err(Some(TokenError::Expired(caller))) => request.cookie_session(Some(&caller)).await?,
        _ => return Ok(request.caller().await?.id),
    };
    request.admit(user, READ_COST).await?;
    Ok(user)
}

/// The bytes of a file that a request selects.
#[derive(Debug, PartialEq, Eq)]
enum Selection {
    /// The client has the file already: 304.
    NotModified,
    /// 200.
    Whole,
    /// 206.
    Part(Range<u64>),
    /// The range starts at or after the end of the file: 416.
    NotSatisfiable,
    /// The client wants another file: 412.
    Failed,
}

/// Evaluates the conditions and the range of a request, in the order of RFC 9110 §13.2.2.
///
/// Only a GET has a range (§14.2). Several ranges, an invalid one and other units select the whole file. Conditions on dates are
/// ignored, since no file has a `Last-Modified` (§13.1.3, §13.1.4).
fn select(method: &Method, headers: &HeaderMap, etag: &ETag, size: u64) -> Selection {
    // An unreadable condition fails.
    let is_wanted = match headers.typed_try_get::<IfMatch>() {
        Ok(condition) => condition.is_none_or(|condition| condition.precondition_passes(etag)),
        Err(_) => false,
    };
    if !is_wanted {
        return Selection::Failed;
    }
    let if_none_match: Option<IfNoneMatch> = headers.typed_get();
    if if_none_match.is_some_and(|condition| !condition.precondition_passes(etag)) {
        return Selection::NotModified;
    }
    // An unreadable condition fails. So does a date, since no file has a `Last-Modified`.
    let is_current = match headers.typed_try_get::<IfRange>() {
        Ok(condition) => condition.is_none_or(|tag| !tag.is_modified(Some(etag), None)),
        Err(_) => false,
    };
    let range = headers
        .get(RANGE)
        .filter(|_| is_current && method == Method::GET);
    range
        .and_then(|range| range.to_str().ok())
        .map_or(Selection::Whole, |range| select_range(range, size))
}

/// Evaluates the value of a `Range` header with a single range.
///
/// Does not use `headers::Range`, which skips three cases alike: a suffix longer than the file, a number above 64 bits, and an
/// invalid range. RFC 9110 §14.1.2 gives the first two a meaning.
fn select_range(range: &str, size: u64) -> Selection {
    let range = range
        .trim()
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'));
    let Some((first, last)) = range else {
        return Selection::Whole;
    };
    let number = |text: &str| -> Option<u64> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // A number above 64 bits lies after the end of every file.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let range = match (number(first.trim()), number(last.trim())) {
        (Some(first), None) if last.trim().is_empty() => first..size,
        (Some(first), Some(last)) if first <= last => first..size.min(last.saturating_add(1)),
        (None, Some(length)) if first.trim().is_empty() => size.saturating_sub(length)..size,
        _ => return Selection::Whole,
    };
    if range.is_empty() {
        Selection::NotSatisfiable
    } else {
        Selection::Part(range)
    }
}

/// Returns the bytes of a file, or a range of them.
#[utoipa::path(
    get,
    path = "/api/binaryContents/{id}/download",
    params(("id" = FileId, Path)),
    responses((status = 200, body = serde_json::Value, content_type = "*/*"), (status = 206, body = serde_json::Value, content_type = "*/*"), (status = 304)),
    security(("bearer" = []), ("session" = [])),
)]
pub(super) async fn download(id: FileId, request: Request) -> Result<Response, Problem> {
    let file = downloadable(&request, id).await?;
    let size = u64::try_from(file.size).unwrap_or(0);
    // A file never changes, so its id identifies its bytes.
    let (mut response, range) = answer(&request, &format!("\"{id}\""), size)?;
    if !range.is_empty() {
        let bytes = request.app.blobs.read(id, file.size, range).await?;
        *response.body_mut() = stream(bytes).into_body();
    }
    let (content_type, inline) = file::served_type(&file.content_type);
    describe(
        &mut response,
        content_type,
        &file::disposition(&file.file_name, inline),
    )?;
    Ok(response)
}

/// The file, if it is complete and the sender of the request may read it.
async fn downloadable(request: &Request, id: FileId) -> Result<BinaryContent, Problem> {
    let user = authenticate(request).await?;
    let file = readable(request, id, user).await?;
    if file.upload_status == UploadStatus::Success {
        Ok(file)
    } else {
        Err(Problem::NotFound(Resource::File(id)))
    }
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
struct ThumbnailQuery {
    /// 320 or 640.
    width: u32,
}

/// Returns a smaller copy of a picture.
#[utoipa::path(
    get,
    path = "/api/binaryContents/{id}/thumbnail",
    params(("id" = FileId, Path), ThumbnailQuery),
    responses((status = 200, body = serde_json::Value, content_type = "*/*"), (status = 206, body = serde_json::Value, content_type = "*/*"), (status = 304)),
    security(("bearer" = []), ("session" = [])),
)]
pub(super) async fn thumbnail(id: FileId, request: Request) -> Result<Response, Problem> {
    let file = downloadable(&request, id).await?;
    let ThumbnailQuery { width } = request.query()?;
    if !WIDTHS.contains(&width) {
        return Err(Problem::invalid("width", "must be 320 or 640"));
    }
    if file.picture.is_none() {
        return Err(Problem::NotFound(Resource::File(id)));
    }
    let image = request.app.blobs.thumbnail(id, width).await?;
    let content_type = file::picture_type(&image).unwrap_or(file::UNKNOWN_TYPE);
    let (mut response, range) = answer(&request, &format!("\"{id}-{width}\""), image.len() as u64)?;
    let bounds = [range.start, range.end].map(|at| usize::try_from(at).unwrap_or(0));
    *response.body_mut() = image.slice(bounds[0]..bounds[1]).into();
    describe(&mut response, content_type, "inline")?;
    Ok(response)
}

/// The answer to a request for a representation of this size, without a body, and the bytes of the body.
fn answer(request: &Request, etag: &str, size: u64) -> Result<(Response, Range<u64>), Problem> {
    let etag: ETag = etag.parse().map_err(Problem::internal)?;
    let (status, range) = match select(&request.method, &request.head.headers, &etag, size) {
        Selection::NotSatisfiable => return Err(Problem::RangeNotSatisfiable { size }),
        Selection::Failed => return Err(Problem::PreconditionFailed),
        Selection::NotModified => (StatusCode::NOT_MODIFIED, 0..0),
        Selection::Whole => (StatusCode::OK, 0..size),
        Selection::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
    };
    let mut response = Response::default();
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.typed_insert(etag);
    // The browser revalidates the file each time, because the user may lose access.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if status == StatusCode::NOT_MODIFIED {
        return Ok((response, range));
    }
    headers.typed_insert(ContentLength(range.end - range.start));
    headers.typed_insert(AcceptRanges::bytes());
    if status == StatusCode::PARTIAL_CONTENT {
        headers.typed_insert(ContentRange::bytes(range.clone(), size).map_err(Problem::internal)?);
    }
    let body = if request.is_head() { 0..0 } else { range };
    Ok((response, body))
}

/// Adds the headers of a body that a stranger has sent.
fn describe(response: &mut Response, content_type: &str, disposition: &str) -> Result<(), Problem> {
    if response.status() == StatusCode::NOT_MODIFIED {
        return Ok(());
    }
    let text = |text: &str| HeaderValue::from_str(text).map_err(Problem::internal);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, text(content_type)?);
    headers.insert(CONTENT_DISPOSITION, text(disposition)?);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("sandbox; default-src 'none'"),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select_get(headers: &[(&'static str, &'static str)]) -> Selection {
        select_with(&Method::GET, headers)
    }

    fn select_with(method: &Method, headers: &[(&'static str, &'static str)]) -> Selection {
        let headers = headers.iter().map(|(name, value)| {
            (
                name.parse().expect("a name"),
                HeaderValue::from_static(value),
            )
        });
        select(
            method,
            &headers.collect(),
            &"\"tag\"".parse().expect("an entity tag"),
            100,
        )
    }

    #[test]
    fn a_range_selects_bytes_as_in_rfc_9110() {
        for (range, expected) in [
            ("bytes=0-0", Selection::Part(0..1)),
            ("bytes=10-", Selection::Part(10..100)),
            ("bytes=90-1000", Selection::Part(90..100)),
            ("bytes=-5", Selection::Part(95..100)),
            ("bytes=-500", Selection::Part(0..100)),
            ("bytes=0-99999999999999999999999", Selection::Part(0..100)),
            ("bytes=100-", Selection::NotSatisfiable),
            ("bytes=99999999999999999999999-", Selection::NotSatisfiable),
            ("bytes=-0", Selection::NotSatisfiable),
            ("bytes=5-2", Selection::Whole),
            ("bytes=0-1,3-4", Selection::Whole),
            ("bytes=-", Selection::Whole),
            ("bytes=a-b", Selection::Whole),
            ("lines=1-2", Selection::Whole),
        ] {
            assert_eq!(select_get(&[("range", range)]), expected, "{range}");
        }
    }

    #[test]
    fn a_head_has_conditions_and_no_range() {
        for range in ["bytes=0-1", "bytes=100-"] {
            assert_eq!(
                select_with(&Method::HEAD, &[("range", range)]),
                Selection::Whole,
                "{range}"
            );
        }
        assert_eq!(
            select_with(&Method::HEAD, &[("if-none-match", "\"tag\"")]),
            Selection::NotModified
        );
    }

    #[test]
    fn a_download_of_another_file_fails() {
        for (tags, expected) in [
            ("\"tag\"", Selection::Whole),
            ("\"a\", \"tag\"", Selection::Whole),
            ("*", Selection::Whole),
            ("\"zzz\"", Selection::Failed),
            // Only a strong tag matches.
            ("W/\"tag\"", Selection::Failed),
            ("zzz", Selection::Failed),
        ] {
            assert_eq!(select_get(&[("if-match", tags)]), expected, "{tags}");
            let with_others = [
                ("if-match", tags),
                ("if-unmodified-since", "Thu, 01 Jan 1970 00:00:00 GMT"),
            ];
            assert_eq!(select_with(&Method::HEAD, &with_others), expected, "{tags}");
        }
        let both = [("if-match", "\"zzz\""), ("if-none-match", "\"tag\"")];
        assert_eq!(select_get(&both), Selection::Failed);
    }

    #[test]
    fn conditions_come_before_ranges() {
        for tags in ["\"tag\"", "W/\"tag\"", "\"a\", \"tag\"", "*"] {
            assert_eq!(
                select_get(&[("if-none-match", tags), ("range", "bytes=0-1")]),
                Selection::NotModified
            );
        }
        for tags in ["\"other\"", "\"a b\"", "tag", ""] {
            assert_eq!(
                select_get(&[("if-none-match", tags)]),
                Selection::Whole,
                "{tags}"
            );
        }
        let range = ("range", "bytes=0-1");
        assert_eq!(
            select_get(&[range, ("if-range", "\"tag\"")]),
            Selection::Part(0..2)
        );
        for stale in [
            "\"other\"",
            "W/\"tag\"",
            "Tue, 24 Nov 2026 00:00:00 GMT",
            "tag",
            "",
        ] {
            assert_eq!(
                select_get(&[range, ("if-range", stale)]),
                Selection::Whole,
                "{stale}"
            );
        }
    }
}
