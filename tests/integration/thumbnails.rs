//! Thumbnails of pictures: sizes, access, conditions, hostile pictures, deletion.

use std::{io::Cursor, time::Duration};

use image::{DynamicImage, GenericImageView, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::{
    accounts::text,
    files::{attach, content, file, stored, until_ready, with_picture},
};
use crate::support::{Cluster, Sse, User, eventually};

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).expect("encoded");
    bytes.into_inner()
}

fn picture(width: u32, height: u32) -> DynamicImage {
    RgbImage::from_pixel(width, height, Rgb([200, 40, 40])).into()
}

async fn thumbnail(by: &User, id: &str, width: &str, headers: &[(&str, &str)]) -> Response {
    let path = format!("/api/binaryContents/{id}/thumbnail?width={width}");
    let mut request = by.request(Method::GET, &path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("an answer")
}

/// The media type and the size in pixels of a thumbnail.
async fn shape(by: &User, id: &str, width: &str) -> (String, (u32, u32)) {
    let response = thumbnail(by, id, width, &[]).await;
    assert_eq!(response.status(), 200, "{response:?}");
    let media_type = response.headers()["content-type"].to_str().expect("text");
    let media_type = media_type.to_owned();
    let image = image::load_from_memory(&response.bytes().await.expect("complete"));
    (media_type, image.expect("an image").dimensions())
}

async fn described(by: &User, id: &str) -> Value {
    by.get(&format!("/api/binaryContents/{id}")).await.body
}

/// Width, height and `thumbnail` of a file, as in the API.
async fn size(by: &User, id: &str) -> [Value; 3] {
    let body = described(by, id).await;
    ["width", "height", "thumbnail"].map(|name| body[name].clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pictures_have_their_size_and_thumbnails_once_they_are_complete() {
    let cluster = Cluster::shared(2).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    let channel = cluster.channel().await;
    let mut stream = Sse::open(&bob, None).await;
    stream.expect("sync").await;
    let mut transparent = RgbaImage::from_pixel(400, 100, Rgba([1, 2, 3, 255]));
    transparent.put_pixel(0, 0, Rgba([0, 0, 0, 0]));
    let files = vec![
        file(
            "wide.png",
            "image/png",
            encoded(&picture(1280, 640), ImageFormat::Png),
        ),
        file(
            "small.gif",
            "image/gif",
            encoded(&picture(20, 10), ImageFormat::Gif),
        ),
        file(
            "glass.webp",
            "image/webp",
            encoded(&transparent.into(), ImageFormat::WebP),
        ),
    ];
    let ids = attach(&ann, &channel, files).await;
    for id in &ids {
        until_ready(&bob, id).await;
    }
    for (id, expected) in ids.iter().zip([(1280, 640), (20, 10), (400, 100)]) {
        let expected = [json!(expected.0), json!(expected.1), json!(true)];
        assert_eq!(size(&bob, id).await, expected);
    }
    let jpeg = "image/jpeg".to_owned();
    assert_eq!(
        shape(&bob, &ids[0], "320").await,
        (jpeg.clone(), (320, 160))
    );
    assert_eq!(
        shape(&bob, &ids[0], "640").await,
        (jpeg.clone(), (640, 320))
    );
    assert_eq!(shape(&bob, &ids[1], "320").await, (jpeg, (20, 10)));
    let webp = "image/webp".to_owned();
    assert_eq!(shape(&bob, &ids[2], "320").await, (webp, (320, 80)));

    // The event, the message and the page of messages have the size too.
    let event = loop {
        let event = stream.expect("binaryContents.status").await.json();
        if event["id"] == *ids[0] {
            break event;
        }
    };
    assert_eq!(
        (&event["width"], &event["thumbnail"]),
        (&json!(1280), &json!(true))
    );
    let listed = &bob.history(&channel).await[0]["attachments"];
    assert_eq!(
        (&listed[2]["height"], &listed[2]["thumbnail"]),
        (&json!(100), &json!(true))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_taken_sideways_is_shown_upright() {
    let cluster = Cluster::shared(1).await;
    let ann = cluster.user(0, "ann").await;
    let channel = cluster.channel().await;
    let mut sideways = encoded(&picture(800, 400), ImageFormat::Jpeg);
    // An Exif segment with one entry: orientation 6, turn right.
    let exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let length = u16::try_from(exif.len() + 2).expect("short").to_be_bytes();
    sideways.splice(2..2, [&[0xff, 0xe1][..], &length, exif].concat());
    let id = attach(&ann, &channel, vec![file("s.jpg", "image/jpeg", sideways)]).await;
    until_ready(&ann, &id[0]).await;
    assert_eq!(size(&ann, &id[0]).await[..2], [json!(400), json!(800)]);
    assert_eq!(shape(&ann, &id[0], "320").await.1, (320, 640));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_be_decoded_is_complete_without_thumbnails() {
    let cluster = Cluster::shared(1).await;
    let ann = cluster.user(0, "ann").await;
    let channel = cluster.channel().await;
    let whole = encoded(&picture(64, 64), ImageFormat::Png);
    let files = vec![
        file("cut.png", "image/png", &whole[..60]),
        file("text.jpg", "image/jpeg", "not a picture"),
        file("empty.png", "image/png", ""),
        file(
            "drawing.svg",
            "image/svg+xml",
            "<svg xmlns='http://www.w3.org/2000/svg'/>",
        ),
        file("note.txt", "text/plain", whole.clone()),
    ];
    let ids = attach(&ann, &channel, files).await;
    for id in &ids {
        until_ready(&ann, id).await;
        assert_eq!(
            size(&ann, id).await,
            [Value::Null, Value::Null, Value::Null]
        );
        assert!(described(&ann, id).await.get("width").is_none());
        let response = thumbnail(&ann, id, "320", &[]).await;
        assert_eq!(response.status(), 404);
    }
    assert_eq!(content(&ann, &ids[0]).await, &whole[..60]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_that_expands_beyond_the_limits_ends_its_process_and_delays_no_other_file() {
    let cluster = Cluster::shared(1).await;
    let ann = cluster.user(0, "ann").await;
    let channel = cluster.channel().await;
    // 39 million pixels of one colour: some kilobytes, and more time than the process has in a build without optimisation.
    let bomb = encoded(&DynamicImage::new_luma8(6_500, 6_000), ImageFormat::Png);
    let bombs = (0..3).map(|n| file(&format!("{n}.png"), "image/png", bomb.clone()));
    let bombs = attach(&ann, &channel, bombs.collect()).await;
    let other = attach(&ann, &channel, vec![file("a.txt", "text/plain", "x")]).await;
    until_ready(&ann, &other[0]).await;
    let message = ann.write(&channel, "still here").await;
    assert_eq!(message.status, 201);
    for id in &bombs {
        crate::support::eventually_within(
            Duration::from_mins(1),
            "the file is ready",
            async || super::files::status(&ann, id).await == "SUCCESS",
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thumbnail_has_the_access_and_the_conditions_of_its_file() {
    let cluster = Cluster::shared(1).await;
    let (ann, bob, eve) = (
        cluster.user(0, "ann").await,
        cluster.user(0, "bob").await,
        cluster.user(0, "eve").await,
    );
    let private = ann.create_private(&[&bob]).await;
    let png = encoded(&picture(700, 70), ImageFormat::Png);
    let id = attach(&ann, &private, vec![file("p.png", "image/png", png)]).await;
    let id = id[0].as_str();
    until_ready(&bob, id).await;
    assert_eq!(thumbnail(&eve, id, "320", &[]).await.status(), 404);
    for width in ["0", "321", "1000000", "wide", ""] {
        assert_eq!(
            thumbnail(&bob, id, width, &[]).await.status(),
            400,
            "{width:?}"
        );
    }
    let first = thumbnail(&bob, id, "320", &[]).await;
    let tag = first.headers()["etag"].to_str().expect("text").to_owned();
    assert_eq!(first.headers()["cache-control"], "private, no-cache");
    assert_eq!(first.headers()["x-content-type-options"], "nosniff");
    let bytes = first.bytes().await.expect("complete");
    let again = thumbnail(&bob, id, "320", &[("if-none-match", &tag)]).await;
    assert_eq!(again.status(), 304);
    let other = thumbnail(&bob, id, "640", &[("if-none-match", &tag)]).await;
    assert_eq!(other.status(), 200);
    let part = thumbnail(&bob, id, "320", &[("range", "bytes=2-5")]).await;
    assert_eq!(part.status(), 206);
    assert_eq!(part.bytes().await.expect("complete"), bytes[2..6]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thumbnails_are_deleted_with_their_file() {
    let cluster = Cluster::start(1).await;
    let ann = cluster.user(0, "ann").await;
    let channel = cluster.channel().await;
    let png = || {
        file(
            "p.png",
            "image/png",
            encoded(&picture(8, 8), ImageFormat::Png),
        )
    };
    attach(&ann, &channel, vec![png()]).await;
    assert_eq!(with_picture(&ann, png()).await.status, 200);
    eventually("both pictures have thumbnails", async || {
        stored(&cluster, "thumbnails").len() == 4
    })
    .await;
    let message = text(&ann.history(&channel).await[0]["id"]).to_owned();
    assert_eq!(
        ann.delete(&format!("/api/messages/{message}")).await.status,
        204
    );
    assert_eq!(with_picture(&ann, png()).await.status, 200);
    eventually("only the new picture has thumbnails", async || {
        stored(&cluster, "thumbnails").len() == 2 && stored(&cluster, "files").len() == 1
    })
    .await;
}
