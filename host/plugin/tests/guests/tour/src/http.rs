//! `roundsman:net/http`, and `types.certificate` with it. Bodies are what the server saw.

use roundsman_sdk::bindings::roundsman::net::http::{Request, Response};
use roundsman_sdk::bindings::roundsman::net::types::Failure;

use crate::{failed, hex, option, part, show, tell, text};

fn seen(response: &Response, name: &str) -> String {
    part(&text(&response.body()), name)
}

fn texts(values: &[Vec<u8>]) -> String {
    let values: Vec<_> = values.iter().map(|value| text(value)).collect();
    values.join(", ")
}

pub(crate) fn plain(url: &str) -> Result<(), Failure> {
    let request = Request::new("PUT", &format!("{url}/tell?me"));
    request.add_header("x-own", b"mine");
    request.set_body(b"from the plugin");
    request.set_source_address("127.0.0.9");
    tell("http.request.set-option", option(request.set_option("colour", "red")));
    let response = request.send()?;
    tell("http.request.constructor", seen(&response, "request"));
    tell("http.request.add-header", seen(&response, "x-own"));
    tell("http.request.set-body", seen(&response, "body"));
    tell("http.request.set-source-address", seen(&response, "from"));
    tell("http.request.peer-address", show(request.peer_address()));
    tell("http.request.timing-ns", show(request.timing_ns("first-byte")));
    tell("http.request.fact", show(request.fact("final-url")));
    tell("http.response.status", response.status());
    tell("http.response.version", response.version());
    tell("http.response.header", texts(&response.header("X-A")));
    let headers: Vec<_> = response.headers().iter().map(|(name, value)| format!("{name}: {}", text(value))).collect();
    tell("http.response.headers", headers.join(", "));
    tell("http.response.body", text(&response.body()));
    tell("http.response.trailer", texts(&response.trailer("X-Sum")));
    // The same once more, on a connection of its own.
    tell("http.request.send", seen(&request.send()?, "connection"));
    Ok(())
}

pub(crate) fn bounds(url: &str) -> Result<(), Failure> {
    let request = Request::new("GET", url);
    request.set_max_body(4);
    let response = request.send()?;
    tell("http.request.set-max-body", text(&response.body()));
    tell("http.response.body-truncated", response.body_truncated());
    let request = Request::new("GET", &format!("{url}/redirect"));
    request.set_max_redirects(2);
    let response = request.send()?;
    let followed = (seen(&response, "request"), show(request.fact("redirects")));
    tell("http.request.set-max-redirects", format!("{} after {}", followed.0, followed.1));
    let request = Request::new("GET", &format!("{url}/silent"));
    request.set_timeout_ns(100_000_000);
    tell("http.request.set-timeout-ns", failed(request.send()));
    Ok(())
}

/// To a port of this machine, and to a unix socket.
pub(crate) fn ways(port: &str, socket: &str) -> Result<(), Failure> {
    let request = Request::new("GET", &format!("http://both.example:{port}/"));
    request.set_address_family("ipv6");
    request.send()?;
    tell("http.request.set-address-family", show(request.peer_address()));
    let request = Request::new("GET", "http://nobody.example/");
    request.set_connect_to(&format!("127.0.0.1:{port}"));
    let response = request.send()?;
    let asked = (seen(&response, "host"), show(request.peer_address()));
    tell("http.request.set-connect-to", format!("{} asked of {}", asked.0, asked.1));
    let request = Request::new("GET", "http://app.internal/");
    request.set_unix_socket(socket);
    tell("http.request.set-unix-socket", seen(&request.send()?, "from"));
    Ok(())
}

/// To a server that is called otherwise, of an authority of its own, and asks for a certificate.
fn secured(url: &str, server_name: &str) -> Request {
    let request = Request::new("GET", url);
    request.set_server_name(server_name);
    request.set_client_certificate("shop");
    request
}

pub(crate) fn tls(url: &str) -> Result<(), Failure> {
    let request = secured(url, "shop.internal");
    request.set_certificate_authority("shop");
    request.set_credentials("login");
    let response = request.send()?;
    tell("http.request.set-server-name", seen(&response, "server-name"));
    tell("http.request.set-client-certificate", seen(&response, "client"));
    tell("http.request.set-credentials", seen(&response, "authorization"));
    tell("http.request.certificates", request.certificates().len());
    if let Some(own) = request.certificates().first() {
        tell("types.certificate.subject", own.subject());
        tell("types.certificate.issuer", own.issuer());
        tell("types.certificate.names", own.names().join(", "));
        tell("types.certificate.not-before", own.not_before());
        tell("types.certificate.not-after", own.not_after());
        tell("types.certificate.serial", own.serial());
        tell("types.certificate.sha256", hex(&own.sha256()));
        let der = own.der();
        // A line of the log does not hold all of it.
        tell("types.certificate.der", format!("{} bytes, {}", der.len(), hex(&der[der.len().saturating_sub(64)..])));
    }
    let with_it = show(request.fact("tls-version"));
    let without = secured(url, "shop.internal");
    let refused = failed(without.send());
    tell("http.request.set-certificate-authority", format!("{with_it} with it, {refused} without"));
    without.set_verify_certificate(false);
    let status = without.send()?.status();
    tell("http.request.set-verify-certificate", format!("{status} with false, {refused} without"));
    Ok(())
}

pub(crate) fn version(url: &str) -> Result<(), Failure> {
    let request = Request::new("GET", url);
    request.set_version("2");
    tell("http.request.set-version", request.send()?.version());
    Ok(())
}
