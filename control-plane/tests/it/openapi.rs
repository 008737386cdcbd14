//! The OpenAPI document, the table of routes and the server say the same.

use std::collections::BTreeSet;

use pglens_control_plane::rest::route_table::{Access, ROUTES};
use reqwest::Method;
use serde_json::Value;

use crate::support::Plane;

/// An id of the form connections and queries have.
const UUID: &str = "01900000-0000-7000-8000-000000000001";

#[tokio::test(flavor = "multi_thread")]
async fn document_routes_and_server_agree() {
    let plane = Plane::start().await;
    let document = plane
        .send(Method::GET, "/api/openapi.json", "", Value::Null)
        .await
        .body;
    let documented: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods
                .as_object()
                .unwrap()
                .keys()
                .map(|method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let listed: BTreeSet<(String, String)> = ROUTES
        .iter()
        .map(|route| (route.method.to_owned(), route.path.to_owned()))
        .collect();
    assert_eq!(documented, listed);

    for route in ROUTES {
        let by_uuid = ["/api/connections", "/api/queries"]
            .iter()
            .any(|list| route.path.starts_with(list));
        let id = if by_uuid { UUID } else { "1" };
        let path = route.path.replace("{id}", id);
        let answer = plane
            .send(route.method.parse().unwrap(), &path, "", Value::Null)
            .await;
        match route.access {
            Access::Caller => assert_eq!(answer.status, 401, "{route:?}"),
            Access::Public => assert!(
                [200, 400].contains(&answer.status),
                "{route:?}: {}",
                answer.body
            ),
        }
        let label = answer.headers.get("x-content-type-options").unwrap();
        assert_eq!(label, "nosniff", "{route:?}");
    }
    // Whatever a schema refers to is there.
    let text = document.to_string();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(schemas.contains_key(name), "{name}");
    }
    let page = plane.send(Method::GET, "/api/docs", "", Value::Null).await;
    assert!(page.body.as_str().unwrap().contains("openapi.json"));
    assert!(!page.body.as_str().unwrap().contains("https://"));
}
