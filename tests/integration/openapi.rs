//! The description of the API: its paths and methods are those of the node.

use std::collections::BTreeSet;

use reqwest::Method;

use crate::support::Cluster;

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_described_path_has_the_described_methods_and_no_others() {
    let cluster = Cluster::shared(1).await;
    let visitor = cluster.visitor(0);
    let answer = visitor.get("/api/openapi.json").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let version = answer.body["openapi"].as_str().expect("a version");
    assert!(version.starts_with("3.1."), "{version}");
    let paths = answer.body["paths"].as_object().expect("paths");
    assert!(!paths.is_empty());
    for (path, item) in paths {
        let mut described: BTreeSet<String> = METHODS
            .iter()
            .filter(|method| item.get(method).is_some())
            .map(|method| method.to_uppercase())
            .collect();
        if described.contains("GET") {
            described.insert("HEAD".to_owned());
        }
        let id = "01234567-89ab-7def-8123-456789abcdef";
        let segments = path
            .split('/')
            .map(|part| if part.starts_with('{') { id } else { part });
        let path = segments.collect::<Vec<_>>().join("/");
        let refused = visitor.send(visitor.request(Method::TRACE, &path)).await;
        assert_eq!(refused.status, 405, "{path}");
        let allowed = refused.header("allow").expect("Allow").split(", ");
        assert_eq!(
            allowed.map(str::to_owned).collect::<BTreeSet<_>>(),
            described,
            "{path}"
        );
    }
}
