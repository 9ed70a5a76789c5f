//! The setting `FILES_URL`: the storage of files.

use std::path::PathBuf;

use object_store::{ObjectStoreScheme, path::Path};
use url::Url;

/// Environment variables with the credentials, region and endpoint of a bucket.
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

/// The storage of files: a folder or a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobUrl {
    /// `file:///folder`. Nodes may mount the shared volume at different paths.
    Folder(PathBuf),
    /// `s3://bucket/prefix`
    Bucket {
        /// The bucket's URL, without the prefix.
        url: String,
        /// Prefix of every object name.
        prefix: Path,
    },
}

impl BlobUrl {
    /// Parses a URL with the scheme `file` or `s3`; `None` for any other, and for one with credentials or a query.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_url_names_a_folder_or_a_bucket() {
        assert_eq!(
            BlobUrl::parse("file:///var/lib/my%20files"),
            Some(BlobUrl::Folder("/var/lib/my files".into()))
        );
        assert_eq!(
            BlobUrl::parse("s3://bucket/a/b"),
            Some(BlobUrl::Bucket {
                url: "s3://bucket".into(),
                prefix: Path::from("a/b")
            })
        );
        for wrong in [
            "",
            "/var/lib/files",
            "file:///",
            "file://host/files",
            "s3://",
            "s3://key:secret@bucket",
            "https://example.org/files",
            "memory:///",
        ] {
            assert_eq!(BlobUrl::parse(wrong), None, "{wrong}");
        }
    }
}
