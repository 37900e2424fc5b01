//! `tollgate schema`: a JSON Schema (draft 2020-12) that is written from the table of keys.

use serde_json::{Map, Value, json};

use crate::limits::CONFIG_BARE_DURATION_MIN;

use super::kind::{Fallback, Key, Kind, Table};
use super::top::{ROOT, SERVICE_LIST, TOP};

/// Returns the schema as JSON.
pub fn write() -> String {
    let mut tables = Map::new();
    let variable = json!({
        "description": "Text from the environment: ${NAME} or ${NAME:-default}.",
        "type": "string",
        "pattern": "\\$\\{"
    });
    tables.insert("variable".to_owned(), variable);
    ROOT.tables(&mut |table| {
        let name = name(table);
        if !tables.contains_key(&name) {
            tables.insert(name, object(table));
        }
    });
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of tollgate",
        "anyOf": [reference(&TOP), value(&SERVICE_LIST)],
        "$defs": tables,
    });
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}

/// Returns the name of a table in the schema.
fn name(table: &Table) -> String {
    match table.name {
        "" => "file".to_owned(),
        name => name.replace("[]", "").replace('.', "-"),
    }
}

fn reference(table: &Table) -> Value {
    json!({ "$ref": format!("#/$defs/{}", name(table)) })
}

fn object(table: &'static Table) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for key in table.keys {
        if matches!(key.default, Fallback::Required) {
            required.push(key.name);
        }
        properties.insert(key.name.to_owned(), property(key, table));
    }
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "patternProperties": { "^//": {} },
        "additionalProperties": false,
    })
}

fn property(key: &'static Key, table: &Table) -> Value {
    let mut schema = match key.name {
        // The type decides about the table.
        "type" => json!({ "const": table.name }),
        _ => value(&key.kind),
    };
    if let Some(members) = schema.as_object_mut() {
        members.insert("description".to_owned(), key.about.into());
        let default = key.default_json();
        if let Some(default) = default.and_then(|text| serde_json::from_str(&text).ok()) {
            members.insert("default".to_owned(), default);
        }
    }
    schema
}

/// Returns the schema of a value.
fn value(kind: &'static Kind) -> Value {
    let variable = || json!({ "$ref": "#/$defs/variable" });
    match kind {
        Kind::Flag => json!({ "anyOf": [{ "type": "boolean" }, variable()] }),
        Kind::Off => json!({ "anyOf": [{ "const": false }, variable()] }),
        Kind::Null => json!({ "type": "null" }),
        Kind::Whole(least, most) => json!({
            "anyOf": [{ "type": "integer", "minimum": least, "maximum": most }, variable()]
        }),
        Kind::Size(least, most) => json!({
            "anyOf": [
                { "type": "integer", "minimum": least, "maximum": most },
                { "type": "string", "pattern": "^[0-9]+(KB|MB|GB)$" },
                variable()
            ]
        }),
        Kind::Duration(least) => {
            let least = match least.as_millis() {
                0 => json!({ "const": 0 }),
                _ => json!(false),
            };
            json!({
                "anyOf": [
                    { "type": "string", "pattern": "^[0-9]+(ms|s|m|h)$" },
                    { "type": "integer", "minimum": CONFIG_BARE_DURATION_MIN },
                    least,
                    variable()
                ]
            })
        }
        Kind::Word(words) => json!({ "anyOf": [{ "enum": words }, variable()] }),
        Kind::Text(_) | Kind::Secret(_) => json!({ "type": "string" }),
        Kind::List(_, items) => json!({ "type": "array", "items": value(items) }),
        Kind::Object(table) => reference(table),
        Kind::Map(_, values) => json!({
            "type": "object",
            "patternProperties": { "^//": {} },
            "additionalProperties": value(values)
        }),
        Kind::Variants(_, tables) => {
            let tables = tables.iter().map(|table| reference(table));
            json!({ "anyOf": tables.collect::<Vec<_>>() })
        }
        Kind::Any(_, kinds) => {
            json!({ "anyOf": kinds.iter().map(value).collect::<Vec<_>>() })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_key_of_the_table_is_a_property_and_the_reverse() {
        let schema: Value = serde_json::from_str(&write()).expect("JSON");
        let tables = schema["$defs"].as_object().expect("tables");
        let mut known = BTreeSet::new();
        ROOT.tables(&mut |table| {
            known.extend(
                table
                    .keys
                    .iter()
                    .map(|key| (name(table), key.name.to_owned())),
            );
        });
        let mut written = BTreeSet::new();
        for (table, schema) in tables {
            let properties = schema["properties"].as_object();
            let names = properties.into_iter().flat_map(Map::keys);
            written.extend(names.map(|key| (table.clone(), key.clone())));
        }
        assert_eq!(written, known);
        let route = &tables["services"]["properties"]["route"];
        assert_eq!(route["type"], "string");
        assert_eq!(tables["services"]["required"], json!(["route"]));
        assert_eq!(tables["jwt"]["properties"]["type"]["const"], "jwt");
        assert_eq!(
            tables["file"]["properties"]["watch"]["default"],
            json!(false)
        );
    }

    #[test]
    fn each_reference_leads_to_a_table() {
        let text = write();
        let schema: Value = serde_json::from_str(&text).expect("JSON");
        for (_, behind) in text
            .match_indices("\"#/$defs/")
            .filter_map(|(at, sign)| text.split_at_checked(at + sign.len()))
        {
            let name = behind.split('"').next().expect("a name");
            assert!(schema["$defs"][name].is_object(), "{name}");
        }
    }
}
