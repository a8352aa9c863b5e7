//! Tests what the plugin says of itself: by the published schema, and the example by the plugin's own settings.

use load::Load;
use serde_json::{Value, from_str};

#[test]
fn fits_the_published_schema() {
    let description: Value = from_str(&roundsman_sdk::describe::<Load>()).unwrap();
    let schema: Value = from_str(roundsman_sdk::DESCRIBE_SCHEMA).unwrap();
    jsonschema::validate(&schema, &description).unwrap();
    jsonschema::meta::validate(&description["settings"]).unwrap();
}

#[test]
fn the_example_is_right() {
    let description: Value = from_str(&roundsman_sdk::describe::<Load>()).unwrap();
    let example: Value = serde_saphyr::from_str(description["example"].as_str().unwrap()).unwrap();
    let check = &example["checks"][0];
    assert_eq!(check["plugin"], "load");
    let settings = &check["settings"];
    jsonschema::validate(&description["settings"], settings).unwrap();
    roundsman_sdk::settings::<Load>(&settings.to_string()).unwrap();
}
