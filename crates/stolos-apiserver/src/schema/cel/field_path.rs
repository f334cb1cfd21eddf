//! Paths such as `.a['b.c']`, by which rules say which field they blame.

use crate::schema::SchemaRef;

/// Turns a path into a suffix of the value's path, if the schema has such a field.
pub(super) fn resolve(path: &str, schema: &SchemaRef) -> Result<String, String> {
    let mut rest = path;
    let mut node = schema.clone();
    let mut resolved = String::new();
    while !rest.is_empty() {
        let (name, after) = step(rest)?;
        if let Some(child) = node.properties.get(&name) {
            resolved.extend([".", &name]);
            node = child.clone();
        } else if let (Some(child), true) =
            (&node.additional_properties, node.properties.is_empty())
        {
            resolved.extend(["[", &name, "]"]);
            node = child.clone();
        } else {
            return Err("does not refer to a valid field".to_owned());
        }
        rest = after;
    }
    Ok(resolved)
}

/// Reads one step; returns the name and what follows.
fn step(path: &str) -> Result<(String, &str), String> {
    const END: &str = "unexpected end of JSON path";
    if let Some(plain) = path.strip_prefix('.') {
        if plain.is_empty() {
            return Err(END.to_owned());
        }
        let end = plain.find(['.', '[', ']']).unwrap_or(plain.len());
        return Ok((plain[..end].to_owned(), &plain[end..]));
    }
    let Some(bracket) = path.strip_prefix('[') else {
        let end = path.find(['.', '[', ']']).unwrap_or(path.len()).max(1);
        return Err(format!("expected [ or . but got: {}", &path[..end]));
    };
    if bracket.is_empty() {
        return Err(END.to_owned());
    }
    let Some(quoted) = bracket.strip_prefix('\'') else {
        let end = bracket.find(['.', '[', ']']).unwrap_or(bracket.len()).max(1);
        return Err(format!("expected single quoted string but got {}", &bracket[..end]));
    };
    let (name, after) = unquote(quoted).ok_or(END)?;
    match after.strip_prefix(']') {
        Some(after) => Ok((name, after)),
        None if after.is_empty() => Err(END.to_owned()),
        None => Err(format!(
            "expected ] but got {}",
            &after[..after.find(['.', '[']).unwrap_or(after.len())]
        )),
    }
}

/// Reads up to the closing quote.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' => return Some((name, &text[at + 1..])),
            '\\' => {
                let (_, escaped) = chars.next()?;
                name.push(match escaped {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    other => other,
                });
            }
            c => name.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::structural;

    #[test]
    fn paths_name_fields_and_entries_that_exist() {
        let schema = structural::compile(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "a.b": {"type": "string"}, "it's": {"type": "string"},
                "map": {"type": "object", "additionalProperties": {"type": "string"}}}}}}))
        .unwrap();
        for (path, want) in [
            (".spec", Ok(".spec")),
            (".spec['a.b']", Ok(".spec.a.b")),
            (".spec['it\\'s']", Ok(".spec.it's")),
            (".spec.map['k']", Ok(".spec.map[k]")),
            (".spec.nope", Err("does not refer to a valid field")),
            ("spec", Err("expected [ or . but got: spec")),
            (".spec[0]", Err("expected single quoted string but got 0")),
            (".", Err("unexpected end of JSON path")),
        ] {
            let want = want.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(resolve(path, &schema), want, "{path}");
        }
    }
}
