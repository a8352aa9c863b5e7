//! What InfluxDB 1.8 does for clients of 2.x, before a 1.6: `/api/v2/write` becomes `/write`.

use std::net::SocketAddr;

use super::mock::{Mock, Reply};
use super::request;

/// Hands every write on to a 1.x server, its body untouched.
pub fn v2_to_v1(to: SocketAddr) -> Mock {
    Mock::start(move |_, asked| {
        let Some(query) = asked.path.strip_prefix("/api/v2/write?") else {
            return Reply::new(404, "404 page not found\n");
        };
        let of = |key: &str| {
            let pair = query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
            pair.unwrap_or_default().to_owned()
        };
        let bucket = of("bucket");
        let (database, policy) = bucket.split_once("%2F").unwrap_or((&bucket, ""));
        let precision = if of("precision") == "us" { "u".to_owned() } else { of("precision") };
        let path = format!("/write?db={database}&rp={policy}&precision={precision}");
        let headers = [("Content-Encoding", asked.header("content-encoding"))];
        let headers = if headers[0].1.is_empty() { &[][..] } else { &headers[..] };
        match request(to, "POST", &path, headers, &asked.body) {
            Ok((status, text)) => Reply::new(status, text),
            Err(error) => Reply::new(502, error.to_string()),
        }
    })
}
