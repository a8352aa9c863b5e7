//! Tag sets on a line: which keys are taken, what happens to those that collide, sorted and bounded.

use std::borrow::Cow;

use roundsman_model::name::is_series_name;

use crate::escape;

/// Most tags of one line. With the longest key and value, escaped, a line's key stays below the 65,535 bytes that
/// 1.x and 2.x allow.
pub(crate) const MAX_TAGS: usize = 64;

/// Keys of tags that only the host sets, whether or not a row carries them.
const HOST_TAGS: [&str; 6] = ["check", "cluster", "host", "peer", "plugin", "target"];

/// Fields of the host's measurements, and `time`, which every server refuses as a tag or field.
const HOST_FIELDS: [&str; 19] = [
    "attempt",
    "blame",
    "code",
    "duration_ms",
    "finding",
    "from",
    "interval_s",
    "lag_ms",
    "latency_ms",
    "quiet",
    "since",
    "state",
    "status",
    "subject",
    "summary",
    "suspect",
    "time",
    "to",
    "up",
];

/// The tags of a row, made safe once and used for every line of the row.
///
/// The rule for words that are taken, here and in `encode`: such a word gets a prefix that says what it was. A row's
/// tag named like a field of the host becomes `label_…`; a plugin's series named like a measurement of the host
/// `series_…`, its tag named like one of the host or the row `tag_…`, its field named like a tag `field_…`. What is not
/// a safe name, or is taken even so, is left out. The first of two equal keys counts.
#[derive(Debug)]
pub(crate) struct RowTags<'a> {
    pairs: Vec<Tag<'a>>,
    /// `,key=value` of all pairs.
    text: Vec<u8>,
}

type Tag<'a> = (Cow<'a, str>, &'a str);

impl<'a> RowTags<'a> {
    pub(crate) fn new(tags: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let named = |(key, value)| Some((free_name(key, "label_", |key| HOST_FIELDS.contains(&key))?, value));
        let pairs = tidy(tags.into_iter().filter_map(named).collect());
        let mut text = Vec::with_capacity(256);
        write(&pairs, &mut text);
        Self { pairs, text }
    }

    /// Writes the row's tags alone.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.text);
    }

    /// Writes the row's tags and a point's own among them.
    pub(crate) fn write_with<'b>(
        &'b self,
        own: impl Iterator<Item = (&'b str, &'b str)>,
        out: &mut Vec<u8>,
    ) -> OwnKeys {
        let taken = |key: &str| key == "time" || HOST_TAGS.contains(&key) || self.has(key);
        let mut all: Vec<Tag<'b>> = self.pairs.iter().map(|(key, value)| (Cow::Borrowed(&**key), *value)).collect();
        let own = own.filter_map(|(key, value)| Some((free_name(key, "tag_", taken)?, value)));
        all.extend(own.take(MAX_TAGS - self.pairs.len()));
        let all = tidy(all);
        write(&all, out);
        OwnKeys(all.into_iter().map(|(key, _)| key.into_owned()).filter(|key| !self.has(key)).collect())
    }

    /// Whether a field may not have this name, because a tag of the line or of the host has it.
    pub(crate) fn takes(&self, own: &OwnKeys, field: &str) -> bool {
        field == "time" || HOST_TAGS.contains(&field) || self.has(field) || own.0.iter().any(|key| key == field)
    }

    fn has(&self, key: &str) -> bool {
        self.pairs.binary_search_by(|(has, _)| (**has).cmp(key)).is_ok()
    }
}

/// The keys that a point added to the row's.
#[derive(Debug, Default)]
pub(crate) struct OwnKeys(Vec<String>);

/// The name itself, with the prefix when it is taken, or nothing when it is not safe or taken in both forms.
pub(crate) fn free_name<'a>(name: &'a str, prefix: &str, taken: impl Fn(&str) -> bool) -> Option<Cow<'a, str>> {
    if !is_series_name(name) {
        return None;
    }
    if !taken(name) {
        return Some(Cow::Borrowed(name));
    }
    let prefixed = format!("{prefix}{name}");
    (!taken(&prefixed)).then_some(Cow::Owned(prefixed))
}

/// Sorted by key, the first of equal keys only, no empty values, no more than a line may carry.
fn tidy(mut tags: Vec<Tag<'_>>) -> Vec<Tag<'_>> {
    tags.retain(|(_, value)| !value.is_empty());
    // A stable sort: the first of equal keys stays first, and the row's tags come before a point's.
    if !tags.is_sorted_by(|a, b| a.0 < b.0) {
        tags.sort_by(|a, b| a.0.cmp(&b.0));
        tags.dedup_by(|later, first| later.0 == first.0);
    }
    tags.truncate(MAX_TAGS);
    tags
}

fn write(tags: &[Tag<'_>], out: &mut Vec<u8>) {
    for (key, value) in tags {
        out.push(b',');
        out.extend_from_slice(key.as_bytes());
        out.push(b'=');
        escape::tag_value(value, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(row: &[(&str, &str)], own: &[(&str, &str)]) -> String {
        let mut out = Vec::new();
        RowTags::new(row.iter().copied()).write_with(own.iter().copied(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rules() {
        let row = [("check", "c"), ("host", "n")];
        for (row, own, text) in [
            (&row[..], &[][..], ",check=c,host=n"),
            (&row, &[("aa", "1"), ("zz", "2")], ",aa=1,check=c,host=n,zz=2"),
            // Host tags cannot be overridden, also where the row does not carry them.
            (&row, &[("host", "evil"), ("target", "evil")], ",check=c,host=n,tag_host=evil,tag_target=evil"),
            (&row, &[("tag_host", "a"), ("host", "b")], ",check=c,host=n,tag_host=a"),
            (&row, &[("time", "1"), ("Bad", "2"), ("_x", "3"), ("", "4"), ("a=b", "5")], ",check=c,host=n,tag_time=1"),
            (&row, &[("a", "")], ",check=c,host=n"),
            (&row, &[("b", "1"), ("a", "2"), ("b", "3")], ",a=2,b=1,check=c,host=n"),
            // A label named like a field of the host.
            (&[("status", "x"), ("team", "w"), ("time", "y")], &[], ",label_status=x,label_time=y,team=w"),
            (&[("a", ""), ("b", "1"), ("b", "2"), ("Ü", "3")], &[], ",b=1"),
            (&[], &[], ""),
        ] {
            assert_eq!(line(row, own), text, "{row:?} {own:?}");
        }
    }

    #[test]
    fn a_line_carries_a_bounded_number_of_tags() {
        let keys: Vec<String> = (0..200).map(|i| format!("k{i:03}")).collect();
        let own: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "v")).collect();
        let line = line(&[("zhost", "n")], &own);
        assert_eq!(line.matches(',').count(), MAX_TAGS);
        assert!(line.ends_with(",zhost=n"), "a point's own tags push out none of the row's: {line}");
    }
}
