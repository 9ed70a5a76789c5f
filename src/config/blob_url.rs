//! Where the bytes of files are stored: the setting `FILES_URL`.

use std::path::PathBuf;

use object_store::{ObjectStoreScheme, path::Path};
use url::Url;

/// The environment's variables that a bucket is reached with.
pub const AWS_VARIABLES: [&str; 20] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT",
    "AWS_ALLOW_HTTP",
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_SERVER_SIDE_ENCRYPTION",
    "AWS_SSE_KMS_KEY_ID",
    "AWS_DISABLE_TAGGING",
    "AWS_UNSIGNED_PAYLOAD",
];

/// Where files are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobUrl {
    /// `file:///folder`, which every node must see at the same path or mounted at its own.
    Folder(PathBuf),
    /// `s3://bucket/prefix`
    Bucket {
        /// The bucket's URL, without the prefix.
        url: String,
        /// Before every name.
        prefix: Path,
    },
}

impl BlobUrl {
    /// Parses `FILES_URL`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
            return None;
        }
        let (scheme, path) = ObjectStoreScheme::parse(&url).ok()?;
        match (scheme, url.scheme()) {
            (ObjectStoreScheme::Local, _) if !path.as_ref().is_empty() => {
                url.to_file_path().ok().map(Self::Folder)
            }
            (ObjectStoreScheme::AmazonS3, "s3") => Some(Self::Bucket {
                url: format!("s3://{}", url.host_str()?),
                prefix: path,
            }),
            _ => None,
        }
    }
}
