//! The list of routes: labels of metrics, `Allow` headers, and what the OpenAPI document is compared with.

/// A method on a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The path, with parameters in braces.
    pub path: &'static str,
    /// The method.
    pub method: &'static str,
    /// Whether credentials are needed.
    pub access: Access,
}

/// Whether a route needs credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Anyone may ask.
    Public,
    /// A caller is needed.
    Caller,
}

const fn route(method: &'static str, path: &'static str) -> Route {
    Route {
        path,
        method,
        access: Access::Caller,
    }
}

const fn public(method: &'static str, path: &'static str) -> Route {
    Route {
        path,
        method,
        access: Access::Public,
    }
}

/// Every route of the REST API.
pub const ROUTES: &[Route] = &[
    public("POST", "/api/login"),
    route("POST", "/api/logout"),
    route("GET", "/api/me"),
    route("GET", "/api/users"),
    route("POST", "/api/users"),
    route("GET", "/api/users/{id}"),
    route("PUT", "/api/users/{id}"),
    route("DELETE", "/api/users/{id}"),
    route("GET", "/api/databases"),
    route("POST", "/api/databases"),
    route("GET", "/api/databases/{id}"),
    route("PUT", "/api/databases/{id}"),
    route("DELETE", "/api/databases/{id}"),
    route("POST", "/api/databases/{id}/test"),
    route("GET", "/api/grants"),
    route("POST", "/api/grants"),
    route("GET", "/api/grants/{id}"),
    route("DELETE", "/api/grants/{id}"),
    route("GET", "/api/connections"),
    route("GET", "/api/connections/{id}"),
    route("DELETE", "/api/connections/{id}"),
    route("GET", "/api/queries"),
    route("GET", "/api/queries/{id}"),
    route("GET", "/api/queries/{id}/rows"),
    route("GET", "/api/proxies"),
    route("GET", "/api/stats"),
    route("GET", "/api/stream"),
    route("GET", "/api/audit"),
    route("GET", "/api/tokens"),
    route("POST", "/api/tokens"),
    route("DELETE", "/api/tokens/{id}"),
    public("GET", "/api/openapi.json"),
    public("GET", "/api/docs"),
];

/// The label of requests for paths that are in no route.
pub const NO_ROUTE: &str = "none";

/// The route's path that `path` belongs to.
#[must_use]
pub fn template(path: &str) -> Option<&'static str> {
    ROUTES
        .iter()
        .map(|route| route.path)
        .find(|template| matches(template, path))
}

/// The methods of a route's path, as an `Allow` header has them.
#[must_use]
pub fn allowed_methods(template: &str) -> String {
    let methods: Vec<&str> = ROUTES
        .iter()
        .filter(|route| route.path == template)
        .map(|route| route.method)
        .collect();
    methods.join(", ")
}

/// The method as a closed set of labels.
#[must_use]
pub fn method_label(method: &http::Method) -> &'static str {
    ["GET", "POST", "PUT", "DELETE"]
        .into_iter()
        .find(|known| method == known)
        .unwrap_or("other")
}

fn matches(template: &str, path: &str) -> bool {
    let (mut expected, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (expected.next(), given.next()) {
            (None, None) => return true,
            (Some(parameter), Some(value)) if parameter.starts_with('{') && !value.is_empty() => {}
            (Some(expected), Some(given)) if expected == given => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_template() {
        let check = |path, expected| assert_eq!(template(path), expected, "{path}");
        check("/api/users", Some("/api/users"));
        check("/api/users/7", Some("/api/users/{id}"));
        check("/api/databases/7/test", Some("/api/databases/{id}/test"));
        check("/api/users/", None);
        check("/api/users/7/x", None);
        check("/", None);
        assert_eq!(allowed_methods("/api/grants/{id}"), "GET, DELETE");
    }
}
