//! Holds JSON against the schemas in docs/: those words of JSON Schema that they use, and no others.

use serde_json::Value;

/// What `status --json` prints.
pub(super) const STATUS: &str = include_str!("../../../docs/status.schema.json");
/// What `/status` of a daemon answers.
pub(super) const DAEMON: &str = include_str!("../../../docs/daemon-status.schema.json");

/// Says what of `json` is not as the schema describes it.
pub(super) fn check(schema: &str, json: &str) -> Result<(), String> {
    let schema: Value = serde_json::from_str(schema).unwrap();
    let json = serde_json::from_str(json).map_err(|error| format!("{error}: {json}"))?;
    matches(&schema, &schema, &json, "$")
}

fn matches(root: &Value, schema: &Value, json: &Value, at: &str) -> Result<(), String> {
    const KNOWN: [&str; 13] = [
        "$schema",
        "$defs",
        "$ref",
        "title",
        "description",
        "type",
        "enum",
        "oneOf",
        "items",
        "properties",
        "required",
        "additionalProperties",
        "const",
    ];
    let object = schema.as_object().unwrap();
    assert!(object.keys().all(|word| KNOWN.contains(&word.as_str())), "not understood: {object:?}");
    if let Some(name) = schema["$ref"].as_str() {
        return matches(root, root.pointer(name.strip_prefix('#').unwrap()).unwrap(), json, at);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let tried: Vec<_> = choices.iter().map(|choice| matches(root, choice, json, at)).collect();
        return match tried.iter().filter(|tried| tried.is_ok()).count() {
            1 => Ok(()),
            _ => Err(format!("{at} is none, or more than one, of them: {tried:?}")),
        };
    }
    if let Some(values) = schema["enum"].as_array()
        && !values.contains(json)
    {
        return Err(format!("{at} is {json}"));
    }
    let types = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        Value::Array(some) => some.iter().map(|name| name.as_str().unwrap()).collect(),
        _ => Vec::new(),
    };
    let is = |name: &&str| match *name {
        "object" => json.is_object(),
        "array" => json.is_array(),
        "string" => json.is_string(),
        "boolean" => json.is_boolean(),
        "null" => json.is_null(),
        "integer" => json.is_u64() || json.is_i64(),
        "number" => json.is_number(),
        other => panic!("no type {other}"),
    };
    if !types.is_empty() && !types.iter().any(is) {
        return Err(format!("{at} is {json}, not of type {types:?}"));
    }
    for (index, item) in json.as_array().into_iter().flatten().enumerate() {
        matches(root, &schema["items"], item, &format!("{at}[{index}]"))?;
    }
    let (Some(fields), Some(properties)) = (json.as_object(), schema["properties"].as_object()) else {
        return Ok(());
    };
    for (name, value) in fields {
        let described = properties.get(name).ok_or_else(|| format!("{at}.{name} is not described"))?;
        matches(root, described, value, &format!("{at}.{name}"))?;
    }
    let required = schema["required"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap());
    match required.into_iter().find(|name| !fields.contains_key(*name)) {
        Some(missing) => Err(format!("{at}.{missing} is missing")),
        None => Ok(()),
    }
}

#[test]
fn fields_that_are_missing_unknown_or_of_another_type_are_found() {
    let right = r#"{"pipeline":"p","publisher":null,"snapshots":[],"source":{"error":"away"},
        "targets":[{"name":"postgres","ok":{"pass":1,"pass_taken_at":null,"state":"consistent","rows_behind":0,
        "seconds_behind":0.5}}]}"#;
    assert_eq!(check(STATUS, right), Ok(()));
    for (from, to, says) in [
        (r#""publisher":null,"#, "", "$.publisher is missing"),
        (r#""publisher":null"#, r#""publisher":null,"colour":1"#, "$.colour is not described"),
        (r#""pipeline":"p""#, r#""pipeline":1"#, "$.pipeline is 1"),
        (r#""consistent""#, r#""fine""#, "state is \\\"fine\\\""),
        (r#""rows_behind":0"#, r#""rows_behind":0.5"#, "rows_behind is 0.5"),
        (r#""error":"away""#, r#""error":"away","ok":{}"#, "$.source is none"),
    ] {
        assert!(right.contains(from));
        let error = check(STATUS, &right.replace(from, to)).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}
