//! What holds for any URL, and for any `Location` that a server sends with it.

use super::MAX_URL;
use super::url::Url;
use crate::host::Host;

/// The first line is a URL, the second a `Location` found there. What both we and the crate `url` (which reads as browsers
/// do) take leads to the same server.
pub fn any_url(text: &str) -> bool {
    let (first, location) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(own) = Url::parse(first) else { return false };
    examine(&own);
    let theirs = ::url::Url::parse(first);
    if let Ok(theirs) = &theirs {
        assert_same_server(&own, theirs, first);
    }
    let Ok(joined) = own.join(location) else { return false };
    examine(&joined);
    // Browsers take `\` for `/`; here it is a character of a path like any other, and leads nowhere else by itself.
    if location.contains('\\') {
        let leads = location.trim_start_matches([' ', '\t']);
        assert!(own.same_origin(&joined) || leads.starts_with("//") || leads.contains(':'), "{location}");
        return true;
    }
    if let Some(theirs) = theirs.ok().and_then(|theirs| theirs.join(location).ok()) {
        assert_same_server(&joined, &theirs, location);
    }
    true
}

fn assert_same_server(own: &Url, theirs: &::url::Url, text: &str) {
    // Addresses are compared, not their spellings.
    let host = theirs.host_str().and_then(|host| Host::parse(host).ok()).map(|host| host.in_url());
    let server = (theirs.scheme(), host, theirs.port_or_known_default());
    assert_eq!((own.scheme.as_str(), Some(own.host.in_url()), Some(own.port)), server, "{text:?}");
}

/// It is read again as it was written, and has a place in a request's head.
fn examine(url: &Url) {
    assert!(url.target.starts_with('/') && url.target.bytes().all(|b| b.is_ascii_graphic()), "{url}");
    let written = url.to_string();
    if written.len() <= MAX_URL {
        // Only the final dot of a name is not written.
        let again = Url::parse(&written).expect("what we write we read");
        assert_eq!((again.to_string(), &again.target), (written, &url.target));
    }
}
