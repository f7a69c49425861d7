//! The servers that tests need.

/// The server's URL, from the variable of this name.
pub(crate) fn url_of(variable: &str) -> String {
    let url = std::env::var(variable);
    url.unwrap_or_else(|_| panic!("set {variable} to the URL of a server"))
}
