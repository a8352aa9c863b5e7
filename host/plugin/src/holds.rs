//! What holds for any bytes that lie in the plugins' directory, and for anything that a plugin says of itself.

use roundsman_model::name::{RESERVED_SERIES, is_series_name};

use super::describe::{Description, HOST_TAGS};
use super::load::{LoadError, inspect_bytes};

/// Tells whether the bytes are those of a component.
pub(crate) fn any_file(bytes: &[u8]) -> bool {
    match inspect_bytes(bytes) {
        Ok(()) => {
            assert!(bytes.starts_with(b"\0asm") && bytes.get(4..8) != Some(&[1, 0, 0, 0]));
            true
        }
        Err(error) => {
            match error {
                LoadError::Empty => assert!(bytes.is_empty()),
                LoadError::Elf | LoadError::MachineCode => assert!(bytes.starts_with(b"\x7fELF")),
                LoadError::CoreModule => assert!(bytes.starts_with(b"\0asm\x01\0\0\0")),
                LoadError::NotWasm => assert!(!bytes.starts_with(b"\0asm")),
                LoadError::Invalid(_) => assert!(bytes.starts_with(b"\0asm")),
                other => unreachable!("nothing is compiled or run: {other}"),
            }
            false
        }
    }
}

/// Tells whether a text is a description, with a schema that settings can be held against.
pub(crate) fn any_description(text: &str) -> bool {
    let Ok(description) = Description::parse(text) else { return false };
    let mut names = RESERVED_SERIES.to_vec();
    for series in &description.series {
        assert!(is_series_name(&series.name) && !names.contains(&series.name.as_str()), "{series:?}");
        names.push(&series.name);
        let mut inner = HOST_TAGS.to_vec();
        for name in series.tags.iter().map(|tag| &tag.name).chain(series.fields.iter().map(|field| &field.name)) {
            assert!(is_series_name(name) && !inner.contains(&name.as_str()), "{series:?}");
            inner.push(name);
        }
    }
    assert!(description.units().len() <= description.series.iter().map(|series| series.fields.len()).sum());
    let written = serde_json::to_string(&description).expect("it came from JSON");
    let again = Description::parse(&written).expect("what we write we read");
    assert_eq!((again.series, again.example), (description.series, description.example));
    let Ok(settings) = jsonschema::validator_for(&description.settings) else { return false };
    for instance in ["null", "{}", "[1, 1.5]", r#"{"a": {"a": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"}}"#] {
        let instance = serde_json::from_str(instance).expect("it is JSON");
        let valid = settings.is_valid(&instance);
        assert_eq!(settings.iter_errors(&instance).next().is_none(), valid, "{} {instance}", description.settings);
    }
    true
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    /// A plugin that does nothing.
    const PLUGIN: &[u8] = include_bytes!("../tests/corpus/loader/plugin.wasm");

    /// Each file, and each cut short anywhere. Some of a corpus is taken and some is not, or it shows little.
    fn try_each(name: &str, holds: impl Fn(&[u8]) -> bool) {
        let (mut taken, mut refused) = (0, 0);
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name)).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            // Shown only if something does not hold.
            eprintln!("{}", path.display());
            *(if holds(&bytes) { &mut taken } else { &mut refused }) += 1;
            for end in 0..bytes.len().min(600) {
                holds(&bytes[..end]);
            }
        }
        assert!(taken > 0 && refused > 0, "{name}: {taken} taken, {refused} refused");
    }

    #[test]
    fn files_of_the_corpus() {
        try_each("loader", any_file);
        assert!(any_file(PLUGIN));
    }

    #[test]
    fn descriptions_of_the_corpus() {
        try_each("describe", |bytes| any_description(&String::from_utf8_lossy(bytes)));
    }

    fn schema() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(vec![
            "true",
            "false",
            "{}",
            "[]",
            "0",
            "\"a\"",
            "{\"type\": \"string\"}",
            "{\"$ref\": \"#\"}",
            "{\"$ref\": \"#/x\"}",
            "{\"pattern\": \"(a|a)*$\"}",
            "{\"enum\": [1]}",
            "{\"minimum\": 1e308}",
            "{\"format\": \"x\"}",
        ])
        .prop_map(str::to_owned);
        leaf.prop_recursive(4, 16, 3, |inner| {
            let keys = "(allOf|anyOf|oneOf|not|if|then|else|properties|items|prefixItems|additionalProperties|\
                        patternProperties|propertyNames|contains|dependentSchemas|unevaluatedProperties|[$]defs|x)";
            let entry = (keys, prop::bool::ANY, inner);
            prop::collection::vec(entry, 0..3).prop_map(|entries| {
                let entries = entries.into_iter().map(|(key, list, inner)| {
                    if list { format!("\"{key}\": [{inner}]") } else { format!("\"{key}\": {inner}") }
                });
                format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
            })
        })
    }

    proptest! {
        #[test]
        fn bytes_that_are_nearly_a_component(changes in prop::collection::vec((0..PLUGIN.len(), any::<u8>()), 0..4), cut in 0..PLUGIN.len() * 8) {
            let mut bytes = PLUGIN.to_vec();
            changes.into_iter().for_each(|(at, byte)| bytes[at] = byte);
            bytes.truncate(cut.max(1));
            any_file(&bytes);
        }

        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), head in prop::sample::select(vec![&b""[..], b"\0asm\x0d\0\x01\0", b"\x7fELF"])) {
            any_file(&[head, &bytes].concat());
        }

        #[test]
        fn any_text(text in "\\PC{0,60}", series in "[a-c\"{}\\[\\]:, ]{0,40}", schema in schema()) {
            any_description(&text);
            any_description(&format!(r#"{{"version": "1", "summary": "s", "settings": {{}}, "series": [{{"name": {series}"#));
            any_description(&format!(r#"{{"version": "1", "summary": "s", "settings": {schema}}}"#));
        }
    }
}
