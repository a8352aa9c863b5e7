//! `http`, and the certificates of `types`: servers of HTTP/1.1 in clear, within TLS and at a unix socket, and one of
//! HTTP/2.

use sha2::{Digest, Sha256};

use super::{Expected, Table, bench, is, load, part, peers, says};
use crate::probe_support::h2::Polite;

/// Exchanges in clear.
fn plain(table: &mut Table, shop: &peers::Shop) {
    let bench = bench(shop.options());
    let (server, port) = (peers::http(), peers::http_on_both());
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("app.sock");
    peers::http_at(&socket);
    let version = bench.runtime.block_on(Polite::new(None));
    let plugin = load(&bench);
    let (url, grant) = (format!("http://shop.example:{}", server.port()), "http://shop.example:*");
    let thinking = i128::try_from(peers::THINKING.as_nanos()).unwrap();
    table.take(
        &bench.run(&plugin, &part("http", &[&url], &[grant])),
        &[
            ("http.request.set-option", is("unsupported")),
            ("http.request.constructor", is("PUT /tell?me")),
            ("http.request.add-header", is("mine")),
            ("http.request.set-body", is("from the plugin")),
            ("http.request.set-source-address", is("127.0.0.9")),
            ("http.request.peer-address", is(server)),
            ("http.request.timing-ns", Expected::Between(thinking, 15_000_000_000)),
            ("http.request.fact", is(format!("{url}/tell?me"))),
            ("http.response.status", is(203)),
            ("http.response.version", is("1.1")),
            ("http.response.header", is("1, 2")),
            ("http.response.headers", says("x-a: 1, x-a: 2, transfer-encoding: chunked")),
            ("http.response.body", says("told; request=PUT /tell?me; host=shop.example:")),
            ("http.response.trailer", is("7")),
            ("http.request.send", is(2)),
        ],
    );
    table.take(
        &bench.run(&plugin, &part("http-bounds", &[&url], &[grant])),
        &[
            ("http.request.set-max-body", is("told")),
            ("http.response.body-truncated", is(true)),
            ("http.request.set-max-redirects", is("GET /there after 1")),
            ("http.request.set-timeout-ns", is("timeout in first-byte")),
        ],
    );
    let words = [&port.to_string(), socket.to_str().unwrap()];
    let lines = ["http://both.example:*", "http://127.0.0.1:*", "http://app.internal"];
    table.take(
        &bench.run(&plugin, &part("http-ways", &words, &lines).file(folder.path())),
        &[
            ("http.request.set-address-family", is(format!("[::1]:{port}"))),
            ("http.request.set-connect-to", is(format!("nobody.example asked of 127.0.0.1:{port}"))),
            ("http.request.set-unix-socket", is("a unix socket")),
        ],
    );
    let url = format!("http://shop.example:{}/", version.port());
    table.take(&bench.run(&plugin, &part("http-2", &[&url], &[grant])), &[("http.request.set-version", is("2"))]);
}

/// Exchanges within TLS, with certificates of both sides.
fn secured(table: &mut Table, shop: &peers::Shop) {
    let bench = bench(shop.options());
    let identity = shop.identity("shop.internal");
    let der = identity.chain[0].to_vec();
    let server = peers::https(shop.config(identity, b"http/1.1", true));
    let plugin = load(&bench);
    let run = part("http-tls", &[&format!("https://shop.example:{}/", server.port())], &["https://shop.example:*"]);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let end = hex(&der[der.len() - 64..]);
    table.take(
        &bench.run(&plugin, &run.secret("shop").secret("login")),
        &[
            ("http.request.set-server-name", is("shop.internal")),
            ("http.request.set-client-certificate", is("2 certificates")),
            ("http.request.set-credentials", is("as in the secret")),
            ("http.request.certificates", is(2)),
            ("types.certificate.subject", is("CN=shop.internal")),
            ("types.certificate.issuer", is("CN=the root")),
            ("types.certificate.names", is("shop.internal")),
            ("types.certificate.not-before", is(1_577_836_800)),
            ("types.certificate.not-after", is(4_102_444_800_u64)),
            ("types.certificate.serial", is("0a:1b")),
            ("types.certificate.sha256", is(hex(&Sha256::digest(&der)))),
            ("types.certificate.der", is(format!("{} bytes, {end}", der.len()))),
            ("http.request.set-certificate-authority", is("1.3 with it, certificate in tls without")),
            ("http.request.set-verify-certificate", is("203 with false, certificate in tls without")),
        ],
    );
}

pub(super) fn tour(table: &mut Table) {
    let shop = peers::Shop::new();
    plain(table, &shop);
    secured(table, &shop);
}
