//! A validator for the parts of JSON Schema that the schemas here use.

use serde_json::Value;

/// Checks a value. `root` is the schema that references lead into.
pub fn validate(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{value} does not meet {what} of {schema}"));
    for (keyword, wanted) in schema.as_object().unwrap() {
        let number = |it: &Value| it.as_f64().unwrap();
        let size = |it: &Value| it.as_u64().unwrap() as usize;
        let meets = match keyword.as_str() {
            "$defs" => true,
            "$ref" => {
                let path = wanted.as_str().unwrap().strip_prefix('#').unwrap();
                validate(root, root.pointer(path).unwrap(), value)?;
                true
            }
            "type" => match wanted.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "null" => value.is_null(),
                "number" => value.is_number(),
                "integer" => value.as_f64().is_some_and(|it| it.fract() == 0.0),
                other => panic!("type {other}"),
            },
            "enum" => wanted.as_array().unwrap().contains(value),
            "const" => wanted == value,
            "minimum" => number(value) >= number(wanted),
            "maximum" => number(value) <= number(wanted),
            "maxLength" => value.as_str().unwrap().chars().count() <= size(wanted),
            "pattern" => {
                let pattern = regex::Regex::new(wanted.as_str().unwrap()).unwrap();
                pattern.is_match(value.as_str().unwrap())
            }
            "minItems" => value.as_array().unwrap().len() >= size(wanted),
            "maxItems" => value.as_array().unwrap().len() <= size(wanted),
            "items" => {
                for item in value.as_array().unwrap() {
                    validate(root, wanted, item)?;
                }
                true
            }
            "required" => {
                let keys = wanted.as_array().unwrap().iter();
                keys.into_iter()
                    .all(|key| value.get(key.as_str().unwrap()).is_some())
            }
            "properties" => {
                for (key, item) in value.as_object().unwrap() {
                    if let Some(schema) = wanted.get(key) {
                        validate(root, schema, item)?;
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = schema["properties"].as_object().unwrap();
                let mut keys = value.as_object().unwrap().keys();
                wanted == &Value::Bool(false) && keys.all(|key| known.contains_key(key))
            }
            "anyOf" => {
                let mut options = wanted.as_array().unwrap().iter();
                options.any(|option| validate(root, option, value).is_ok())
            }
            other => panic!("keyword {other}"),
        };
        if !meets {
            return wrong(keyword);
        }
    }
    Ok(())
}
