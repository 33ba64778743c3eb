//! Schemas in a line, and texts as HTML. Pure.

use serde_json::Value;

/// A schema as people write types: `{name: string, tags?: [string]}`.
pub(super) fn notation(schema: &Value) -> String {
    if let Some(place) = schema["$ref"].as_str() {
        let name = escaped(place.rsplit('/').next().unwrap_or_default());
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    for choices in ["oneOf", "anyOf"] {
        if let Some(choices) = schema[choices].as_array() {
            return choices.iter().map(notation).collect::<Vec<_>>().join(" | ");
        }
    }
    if let Some(constant) = schema.get("const") {
        return format!("<code>{}</code>", escaped(&constant.to_string()));
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|value| format!("<code>{}</code>", escaped(&value.to_string()))).collect::<Vec<_>>().join(" | ");
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => return "any".to_owned(),
    };
    types.iter().map(|of| typed(of, schema)).collect::<Vec<_>>().join(" | ")
}

fn typed(name: &str, schema: &Value) -> String {
    match name {
        "array" => format!("[{}]", notation(&schema["items"])),
        "object" => object(schema),
        "integer" | "number" => {
            let bound = |name: &str, mark: &str| schema.get(name).map(|bound| format!(" {mark} {bound}")).unwrap_or_default();
            let is_whole_range = schema["minimum"] == i64::MIN;
            if is_whole_range { name.to_owned() } else { format!("{name}{}{}", bound("minimum", "≥"), bound("maximum", "≤")) }
        }
        "string" => {
            let format = schema["format"].as_str().or(schema["contentEncoding"].as_str());
            let format = format.map(|format| format!(" ({})", escaped(format))).unwrap_or_default();
            let pattern = schema["pattern"].as_str().map(|pattern| format!(" <code>{}</code>", escaped(pattern))).unwrap_or_default();
            format!("string{format}{pattern}")
        }
        other => escaped(other),
    }
}

fn object(schema: &Value) -> String {
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let member = |(name, of): (&String, &Value)| {
        let mark = if required.contains(&name.as_str()) { "" } else { "?" };
        format!("{}{mark}: {}", escaped(name), notation(of))
    };
    let mut members: Vec<_> = schema["properties"].as_object().into_iter().flatten().map(member).collect();
    match &schema["additionalProperties"] {
        Value::Null | Value::Bool(false) => {}
        Value::Bool(true) => members.push("…".to_owned()),
        of => members.push(format!("…: {}", notation(of))),
    }
    format!("{{{}}}", members.join(", "))
}

/// A text with names in backticks.
pub(super) fn prose(text: &str) -> String {
    let part = |(at, part): (usize, &str)| if at % 2 == 1 { format!("<code>{}</code>", escaped(part)) } else { escaped(part) };
    text.split('`').enumerate().map(part).collect()
}

pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_schema_is_written_in_a_line() {
        for (schema, line) in [
            (json!({"type": "integer", "minimum": 1}), "integer ≥ 1"),
            (json!({"type": ["string", "null"], "format": "date-time"}), "string (date-time) | null"),
            (json!({"type": "array", "items": {"$ref": "#/components/schemas/File"}}), "[<a href=\"#schema-File\">File</a>]"),
            (json!({"enum": ["a", null]}), "<code>&quot;a&quot;</code> | <code>null</code>"),
            (
                json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}, "b": {"type": "boolean"}}}),
                "{a: string, b?: boolean}",
            ),
            (json!({"type": "object", "additionalProperties": {"const": 1}}), "{…: <code>1</code>}"),
            (json!({}), "any"),
        ] {
            assert_eq!(notation(&schema), line);
        }
    }

    #[test]
    fn nothing_of_a_text_is_taken_for_markup() {
        assert_eq!(prose("a `<b>` & \"c\""), "a <code>&lt;b&gt;</code> &amp; &quot;c&quot;");
    }
}
