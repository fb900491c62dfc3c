//! JSON values as YAML 1.2: block style, and every string that could be read as something else in double quotes, where
//! JSON's escapes are YAML's too (YAML 1.2 §1.3).

use serde_json::Value;

/// One document.
pub(super) fn document(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Writes a value where a line begins at `indent`.
fn block(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Array(items) if !items.is_empty() => {
            for (nth, item) in items.iter().enumerate() {
                pad(if nth == 0 { 0 } else { indent }, text);
                text.push_str("- ");
                block(item, indent + 2, text);
                end_line(text);
            }
        }
        Value::Object(fields) if !fields.is_empty() => {
            for (nth, (key, value)) in fields.iter().enumerate() {
                pad(if nth == 0 { 0 } else { indent }, text);
                text.push_str(&scalar(key));
                text.push(':');
                if is_block(value) {
                    text.push('\n');
                    pad(indent + 2, text);
                    block(value, indent + 2, text);
                } else {
                    text.push(' ');
                    block(value, indent + 2, text);
                }
                end_line(text);
            }
        }
        Value::String(string) => text.push_str(&scalar(string)),
        other => text.push_str(&other.to_string()),
    }
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => false,
    }
}

fn pad(by: usize, text: &mut String) {
    text.extend(std::iter::repeat_n(' ', by));
}

fn end_line(text: &mut String) {
    if !text.ends_with('\n') {
        text.push('\n');
    }
}

/// A string, bare only if nothing but a string can be meant.
fn scalar(string: &str) -> String {
    let begins = string.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '@' | '+');
    let word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let taken = word.iter().any(|word| string.eq_ignore_ascii_case(word));
    if begins && string.chars().all(plain) && !taken {
        string.to_owned()
    } else {
        Value::String(string.to_owned()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_style_and_quotes_where_they_matter() {
        let value = serde_json::json!([
            {"name": "www", "dns_names": ["a.test", "*.b"], "current": {"ordinal": 1, "serial": "0123"}, "tags": {}},
            {"name": "no", "at": "2026-11-24T08:00:00Z", "text": "a: b\n#", "none": null, "yes": true, "list": [[1, 2], []]},
        ]);
        assert_eq!(
            document(&value),
            r##"- name: www
  dns_names:
    - a.test
    - "*.b"
  current:
    ordinal: 1
    serial: "0123"
  tags: {}
- name: "no"
  at: "2026-11-24T08:00:00Z"
  text: "a: b\n#"
  none: null
  "yes": true
  list:
    - - 1
      - 2
    - []
"##
        );
        assert_eq!(document(&serde_json::json!([])), "[]\n");
        assert_eq!(document(&serde_json::json!("1e3")), "\"1e3\"\n");
    }
}
