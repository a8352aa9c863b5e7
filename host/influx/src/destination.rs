//! Where lines go: one InfluxDB, as the operator named it, checked without touching the network.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

/// How long rows wait for company before they are sent, unless the operator says otherwise.
pub const DEFAULT_FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// One InfluxDB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Unique among destinations: names the cursor in the store and the file of rejected lines.
    pub name: String,
    pub url: String,
    pub api: Api,
    pub flush_interval: Duration,
}

/// Which write path the server has, and what that path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Api {
    /// `/write`: InfluxDB 1.x, also 2.x with a mapping, 3.x and VictoriaMetrics.
    V1 {
        database: String,
        /// Empty: the database's default.
        retention_policy: String,
        /// Empty: no authentication.
        username: String,
        password_file: Option<PathBuf>,
    },
    /// `/api/v2/write`: InfluxDB 2.x, also 1.8 and later, 3.x and VictoriaMetrics.
    V2 { org: String, bucket: String, token_file: Option<PathBuf> },
}

/// Why a destination cannot be used as it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    #[error("influx `{name}`: `{url}` is not a URL ({reason}); write it like http://influxdb.example:8086")]
    NotAUrl { name: String, url: String, reason: String },
    #[error("influx `{name}`: the URL's scheme is `{scheme}`; only http and https can be written to")]
    Scheme { name: String, scheme: String },
    #[error("influx `{name}`: the URL holds a user or password; write {instead} instead")]
    Credentials { name: String, instead: &'static str },
    #[error("influx `{name}`: the URL ends with `{rest}`; leave it out, the parameters are set by the other keys")]
    Rest { name: String, rest: String },
    #[error(
        "influx `{name}`: the URL has the path `{path}`, but api v2 is always written to /api/v2/write; \
         leave the path out, or use api: v1, which keeps it in front of /write"
    )]
    PathPrefix { name: String, path: String },
    #[error("influx `{name}`: `{key}` is empty; say where the points belong")]
    Missing { name: String, key: &'static str },
}

impl Destination {
    /// Finds what is wrong without asking the server: for `validate`, and before a writer is made.
    pub fn check(&self) -> Result<(), DestinationError> {
        self.endpoint().map(|_| ())
    }

    /// The URL of the server: for v1 with the whole path, for v2 without one.
    pub(crate) fn endpoint(&self) -> Result<Url, DestinationError> {
        let name = || self.name.clone();
        let mut url = self.parsed()?;
        match &self.api {
            Api::V1 { database, retention_policy, .. } => {
                if database.is_empty() {
                    return Err(DestinationError::Missing { name: name(), key: "database" });
                }
                url.set_path(&format!("{}/write", url.path().trim_end_matches('/')));
                url.query_pairs_mut().append_pair("db", database).append_pair("precision", "ns");
                if !retention_policy.is_empty() {
                    url.query_pairs_mut().append_pair("rp", retention_policy);
                }
            }
            Api::V2 { bucket, .. } => {
                if !matches!(url.path(), "" | "/") {
                    return Err(DestinationError::PathPrefix { name: name(), path: url.path().to_owned() });
                }
                if bucket.is_empty() {
                    return Err(DestinationError::Missing { name: name(), key: "bucket" });
                }
            }
        }
        Ok(url)
    }

    /// The URL as written, with nothing in it that belongs elsewhere.
    fn parsed(&self) -> Result<Url, DestinationError> {
        let name = || self.name.clone();
        let not_a_url = |reason: String| {
            let url = roundsman_model::name::excerpt(&self.url);
            DestinationError::NotAUrl { name: name(), url, reason }
        };
        let url = Url::parse(&self.url).map_err(|error| not_a_url(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(DestinationError::Scheme { name: name(), scheme: url.scheme().to_owned() });
        }
        if !url.username().is_empty() || url.password().is_some() {
            let instead = match self.api {
                Api::V1 { .. } => "username and passwordFile",
                Api::V2 { .. } => "tokenFile",
            };
            return Err(DestinationError::Credentials { name: name(), instead });
        }
        if url.query().is_some() || url.fragment().is_some() {
            let rest = self.url.find(['?', '#']).map_or("", |at| &self.url[at..]);
            return Err(DestinationError::Rest { name: name(), rest: roundsman_model::name::excerpt(rest) });
        }
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v1(url: &str, database: &str, policy: &str) -> Destination {
        let api = Api::V1 {
            database: database.into(),
            retention_policy: policy.into(),
            username: String::new(),
            password_file: None,
        };
        Destination { name: "main".into(), url: url.into(), api, flush_interval: DEFAULT_FLUSH_INTERVAL }
    }

    fn v2(url: &str, bucket: &str) -> Destination {
        let api = Api::V2 { org: "ops".into(), bucket: bucket.into(), token_file: None };
        Destination { name: "main".into(), url: url.into(), api, flush_interval: DEFAULT_FLUSH_INTERVAL }
    }

    #[test]
    fn endpoints() {
        for (destination, endpoint) in [
            (v1("http://h:8086", "d", ""), "http://h:8086/write?db=d&precision=ns"),
            (v1("http://h/influx/", "a b&c", "r/1"), "http://h/influx/write?db=a+b%26c&precision=ns&rp=r%2F1"),
            (v2("https://h:8086", "b"), "https://h:8086/"),
            (v2("http://[::1]:8086/", "b"), "http://[::1]:8086/"),
        ] {
            assert_eq!(destination.endpoint().unwrap().as_str(), endpoint);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (destination, part) in [
            (v2("/3242/23", "b"), "`/3242/23` is not a URL"),
            (v2("", "b"), "is not a URL"),
            (v2("http://", "b"), "is not a URL"),
            (v2("h:8086", "b"), "scheme is `h`"),
            (v1("udp://h:8089", "b", ""), "scheme is `udp`"),
            (v2("http://h/influx", "b"), "has the path `/influx`"),
            (v2("http://h/api/v2/write", "b"), "leave the path out"),
            (v2("http://h", ""), "`bucket` is empty"),
            (v1("http://h", "", ""), "`database` is empty"),
            (v1("http://u:secret@h", "d", ""), "write username and passwordFile"),
            (v2("http://:secret@h", "b"), "write tokenFile"),
            (v1("http://h/?db=x", "d", ""), "ends with `?db=x`"),
            (v1("http://h/#x", "d", ""), "ends with `#x`"),
        ] {
            let error = destination.check().unwrap_err().to_string();
            assert!(error.starts_with("influx `main`: ") && error.contains(part), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
