//! The URLs that a client is given, checked before the first call.

use reqwest::Url;

use super::ClientError;

/// Nodes that a client can be given.
const URLS_MAX: usize = 64;
/// What a URL of a node looks like.
const EXAMPLE: &str = "give one like http://127.0.0.1:7600, several separated by commas";

/// Parses the URLs of nodes, separated by commas. They come out as nodes write them, in lower case:
/// they have no path, and a name means the same in any.
///
/// # Errors
/// [`ClientError::Configuration`] for what can never lead to a node.
pub(super) fn parse(urls: &str) -> Result<Vec<String>, ClientError> {
    let urls: Vec<String> =
        urls.split(',').map(|url| url.trim().trim_end_matches('/').to_ascii_lowercase()).collect();
    if urls.len() > URLS_MAX {
        return Err(ClientError::Configuration(format!("at most {URLS_MAX} URLs")));
    }

    for url in &urls {
        check(url).map_err(|error| ClientError::Configuration(error.to_string()))?;
    }
    Ok(urls)
}

/// Why a URL can never lead to a node.
#[derive(Debug, thiserror::Error)]
enum UrlError {
    // A password is never printed.
    #[error(
        "a URL has a user or a password in it: give only the node, and a key in RATEQUEUE_API_KEY"
    )]
    Credentials,
    #[error("{0:?} is not a URL: {EXAMPLE}")]
    NoUrl(String),
    #[error("{0:?}: nodes do not speak TLS yet, give an http:// URL")]
    Tls(String),
    #[error("{0:?} is not the URL of a node: {EXAMPLE}")]
    Scheme(String),
    #[error("{0:?} has a path, and nodes serve their API at the root: give {1}")]
    Path(String, String),
    #[error("{0:?} has a query or a fragment: give {1}")]
    Query(String, String),
}

fn check(url: &str) -> Result<(), UrlError> {
    if url.contains('@') {
        return Err(UrlError::Credentials);
    }
    let named = url.to_owned();
    let Ok(parsed) = Url::parse(url) else { return Err(UrlError::NoUrl(named)) };

    let node = parsed.origin().ascii_serialization();
    match parsed.scheme() {
        "http" => {}
        "https" => return Err(UrlError::Tls(named)),
        _ => return Err(UrlError::Scheme(named)),
    }

    if parsed.path() != "/" {
        return Err(UrlError::Path(named, node));
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(UrlError::Query(named, node));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_nodes_are_taken() {
        let urls = parse("http://127.0.0.1:7600/, http://node-1:80,http://[::1]:7600").unwrap();
        assert_eq!(urls, ["http://127.0.0.1:7600", "http://node-1:80", "http://[::1]:7600"]);
        assert_eq!(parse("http://Node-1.Example:7600").unwrap(), ["http://node-1.example:7600"]);
    }

    #[test]
    fn what_leads_to_no_node_is_refused_with_what_to_do() {
        for (url, words) in [
            ("", &["not a URL", "http://127.0.0.1:7600"][..]),
            ("http://a:1,,http://b:1", &["not a URL"]),
            ("127.0.0.1:7600", &["not a URL", "http://127.0.0.1:7600"]),
            ("localhost:7600", &["not the URL of a node", "http://127.0.0.1:7600"]),
            ("http://", &["not a URL"]),
            ("https://a:1", &["TLS", "http://"]),
            ("http://a:1/x/", &["/x", "give http://a:1"]),
            ("http://a:1/?x=1", &["query", "give http://a:1"]),
            ("http://a:1#x", &["fragment", "give http://a:1"]),
            ("http://me:secret@a:1", &["user", "RATEQUEUE_API_KEY"]),
        ] {
            let error = parse(url).unwrap_err().to_string();
            assert!(
                words.iter().all(|word| error.contains(word)) && !error.contains("secret"),
                "{url}: {error}"
            );
        }

        let many = vec!["http://a:1"; URLS_MAX + 1].join(",");
        assert!(parse(&many).unwrap_err().to_string().contains("64"));
    }
}
