//! `/api/binaryContents`

use std::ops::Range;

use futures_util::{StreamExt, stream};
use headers::{
    AcceptRanges, ContentLength, ContentRange, ETag, HeaderMapExt, IfNoneMatch, IfRange,
};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RANGE,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use parking_lot::Mutex;
use warp::reply::Response;

use crate::{
    auth::tokens::TokenError,
    http::{reply::json, request::Request},
    ids::{FileId, UserId},
    model::{BinaryContent, UploadStatus, file},
    problem::{Missing, Problem},
    store,
};

/// Files of one list at most: what a page of messages may need, and a query that proxies still take.
const MAX_LISTED: usize = 100;

/// `GET /api/binaryContents/{id}`
pub(super) async fn find(id: FileId, request: Request) -> Result<Response, Problem> {
    let caller = request.caller().await?;
    json(StatusCode::OK, &readable(&request, id, caller.id).await?)
}

async fn readable(request: &Request, id: FileId, reader: UserId) -> Result<BinaryContent, Problem> {
    let mut found = store::files::readable(&request.app.db, &[id], reader).await?;
    found.pop().ok_or(Problem::NotFound(Missing::File(id)))
}

/// `GET /api/binaryContents?binaryContentIds=a&binaryContentIds=b`, or `binaryContentIds=a,b`
pub(super) async fn list(request: Request) -> Result<Response, Problem> {
    const NAME: &str = "binaryContentIds";
    let caller = request.caller().await?;
    let query: Vec<(String, String)> = request.query()?;
    let asked = query
        .iter()
        .filter(|(name, _)| name == NAME)
        .flat_map(|(_, value)| value.split(','))
        .map(str::trim)
        .filter(|id| !id.is_empty());
    let ids: Result<Vec<FileId>, _> = asked.map(str::parse).collect();
    let ids = ids.map_err(|_| Problem::invalid(NAME, "must be ids of files"))?;
    if ids.is_empty() || ids.len() > MAX_LISTED {
        return Err(Problem::invalid(NAME, "must be 1 to 100 ids"));
    }
    let found = store::files::readable(&request.app.db, &ids, caller.id).await?;
    // One that is gone must not keep the client from the others.
    let in_order: Vec<_> = ids
        .into_iter()
        .filter_map(|id| found.iter().find(|file| file.id == id))
        .collect();
    json(StatusCode::OK, &in_order)
}

/// By bearer token, or by the session cookie when that has merely expired or is absent: `<img>` sends no header.
async fn reader(request: &Request) -> Result<UserId, Problem> {
    match request.claims() {
        Err(None) => Ok(request.cookie_holder(None).await?.0),
        Err(Some(TokenError::Expired(caller))) => Ok(request.cookie_holder(Some(&caller)).await?.0),
        _ => Ok(request.caller().await?.id),
    }
}

/// What of a file is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Nothing,
    Whole,
    Part(Range<u64>),
    Impossible,
}

/// RFC 9110 §13.2.2 and §14: the condition first, then the range, if it is for what we have. Of several ranges, and of what
/// is no range of bytes, the whole is a valid answer.
fn wanted(headers: &HeaderMap, etag: &ETag, size: u64) -> Wanted {
    let if_none_match: Option<IfNoneMatch> = headers.typed_get();
    if if_none_match.is_some_and(|condition| !condition.precondition_passes(etag)) {
        return Wanted::Nothing;
    }
    // A condition that cannot be read is not met. Neither is a date, since no file has a `Last-Modified`.
    let is_current = match headers.typed_try_get::<IfRange>() {
        Ok(condition) => condition.is_none_or(|tag| !tag.is_modified(Some(etag), None)),
        Err(_) => false,
    };
    let range = headers.get(RANGE).filter(|_| is_current);
    range
        .and_then(|range| range.to_str().ok())
        .map_or(Wanted::Whole, |range| range_of(range, size))
}

/// The one range of bytes that a `Range` header asks for.
///
/// Not by `headers::Range`: its iterator leaves out a suffix longer than the file, which RFC 9110 §14.1.2 makes the whole
/// file, and numbers of more than 64 bits, as it leaves out what is no range. The first two are answered with 206 or 416, the last
/// with 200.
fn range_of(range: &str, size: u64) -> Wanted {
    let range = range
        .trim()
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'));
    let Some((first, last)) = range else {
        return Wanted::Whole;
    };
    let number = |text: &str| -> Option<u64> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // What does not fit lies behind every end.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let range = match (number(first.trim()), number(last.trim())) {
        (Some(first), None) if last.trim().is_empty() => first..size,
        (Some(first), Some(last)) if first <= last => first..size.min(last.saturating_add(1)),
        (None, Some(length)) if first.trim().is_empty() => size.saturating_sub(length)..size,
        _ => return Wanted::Whole,
    };
    if range.is_empty() {
        Wanted::Impossible
    } else {
        Wanted::Part(range)
    }
}

/// `GET /api/binaryContents/{id}/download`
pub(super) async fn download(id: FileId, request: Request) -> Result<Response, Problem> {
    let reader = reader(&request).await?;
    let file = readable(&request, id, reader).await?;
    if file.upload_status != UploadStatus::Success {
        return Err(Problem::NotFound(Missing::File(id)));
    }
    let size = u64::try_from(file.size).unwrap_or(0);
    // A file never changes, so its name is as good a tag as its digest.
    let etag: ETag = format!("\"{id}\"").parse().map_err(Problem::internal)?;
    let (status, stretch) = match wanted(&request.head.headers, &etag, size) {
        Wanted::Impossible => return Err(Problem::RangeNotSatisfiable { size: file.size }),
        Wanted::Nothing => (StatusCode::NOT_MODIFIED, 0..0),
        Wanted::Whole => (StatusCode::OK, 0..size),
        Wanted::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
    };
    let length = stretch.end - stretch.start;
    let mut response = if length == 0 {
        Response::default()
    } else {
        let files = &request.app.files;
        let pieces = files.read(id, file.size, stretch.clone()).await?;
        // Never locked: it only makes a body of it that tasks may share.
        let mut pieces = Mutex::new(pieces);
        let pieces = stream::poll_fn(move |context| pieces.get_mut().poll_next_unpin(context));
        warp::Reply::into_response(warp::reply::stream(pieces))
    };
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let text = |text: &str| HeaderValue::from_str(text).map_err(Problem::internal);
    headers.typed_insert(etag);
    // Kept by the browser, and asked for each time: rights may be lost.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if status == StatusCode::NOT_MODIFIED {
        return Ok(response);
    }
    let (content_type, inline) = file::served_type(&file.content_type);
    let disposition = file::disposition(&file.file_name, inline);
    headers.insert(CONTENT_TYPE, text(content_type)?);
    headers.typed_insert(ContentLength(length));
    headers.insert(CONTENT_DISPOSITION, text(&disposition)?);
    headers.typed_insert(AcceptRanges::bytes());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("sandbox; default-src 'none'"),
    );
    if status == StatusCode::PARTIAL_CONTENT {
        headers.typed_insert(ContentRange::bytes(stretch, size).map_err(Problem::internal)?);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(headers: &[(&'static str, &'static str)]) -> Wanted {
        let headers = headers.iter().map(|(name, value)| {
            (
                name.parse().expect("a name"),
                HeaderValue::from_static(value),
            )
        });
        wanted(
            &headers.collect(),
            &"\"tag\"".parse().expect("an entity tag"),
            100,
        )
    }

    #[test]
    fn a_range_is_what_the_rfc_says() {
        for (range, expected) in [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=10-", Wanted::Part(10..100)),
            ("bytes=90-1000", Wanted::Part(90..100)),
            ("bytes=-5", Wanted::Part(95..100)),
            ("bytes=-500", Wanted::Part(0..100)),
            ("bytes=0-99999999999999999999999", Wanted::Part(0..100)),
            ("bytes=100-", Wanted::Impossible),
            ("bytes=99999999999999999999999-", Wanted::Impossible),
            ("bytes=-0", Wanted::Impossible),
            ("bytes=5-2", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("lines=1-2", Wanted::Whole),
        ] {
            assert_eq!(ask(&[("range", range)]), expected, "{range}");
        }
    }

    #[test]
    fn conditions_come_before_ranges() {
        for tags in ["\"tag\"", "W/\"tag\"", "\"a\", \"tag\"", "*"] {
            assert_eq!(
                ask(&[("if-none-match", tags), ("range", "bytes=0-1")]),
                Wanted::Nothing
            );
        }
        for tags in ["\"other\"", "\"a b\"", "tag", ""] {
            assert_eq!(ask(&[("if-none-match", tags)]), Wanted::Whole, "{tags}");
        }
        let range = ("range", "bytes=0-1");
        assert_eq!(ask(&[range, ("if-range", "\"tag\"")]), Wanted::Part(0..2));
        for stale in [
            "\"other\"",
            "W/\"tag\"",
            "Tue, 24 Nov 2026 00:00:00 GMT",
            "tag",
            "",
        ] {
            assert_eq!(ask(&[range, ("if-range", stale)]), Wanted::Whole, "{stale}");
        }
    }
}
