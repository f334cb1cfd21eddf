//! Which names a definition gets: those that no other definition of its group has.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// The names of a definition, asked for or accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) plural: String,
    pub(super) singular: String,
    pub(super) short_names: Vec<String>,
    pub(super) kind: String,
    pub(super) list_kind: String,
    pub(super) categories: Vec<String>,
}

/// Why names were not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conflict {
    /// Reason of the condition, such as `PluralConflict`.
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Names {
    /// Reads `spec.names` or `status.acceptedNames`.
    pub(super) fn parse(names: &Value) -> Self {
        let text = |field: &str| names[field].as_str().unwrap_or_default().to_owned();
        let list = |field: &str| {
            let items = names[field].as_array().into_iter().flatten();
            items.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Self {
            plural: text("plural"),
            singular: text("singular"),
            short_names: list("shortNames"),
            kind: text("kind"),
            list_kind: text("listKind"),
            categories: list("categories"),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let mut json = Map::new();
        // Both are required, even while nothing is accepted.
        json.insert("plural".to_owned(), json!(self.plural));
        json.insert("kind".to_owned(), json!(self.kind));
        for (field, text) in [("singular", &self.singular), ("listKind", &self.list_kind)] {
            if !text.is_empty() {
                json.insert(field.to_owned(), json!(text));
            }
        }
        for (field, list) in [("shortNames", &self.short_names), ("categories", &self.categories)] {
            if !list.is_empty() {
                json.insert(field.to_owned(), json!(list));
            }
        }
        Value::Object(json)
    }

    fn resources(&self) -> impl Iterator<Item = &str> {
        let short = self.short_names.iter().map(String::as_str);
        [self.plural.as_str(), self.singular.as_str()]
            .into_iter()
            .chain(short)
            .filter(|name| !name.is_empty())
    }

    fn kinds(&self) -> impl Iterator<Item = &str> {
        [self.kind.as_str(), self.list_kind.as_str()].into_iter().filter(|name| !name.is_empty())
    }
}

/// Decides which of the requested names are accepted, given those accepted so far and those that others in the group
/// have. A name once accepted stays with its definition.
pub(super) fn accept<'a>(
    requested: &Names,
    accepted: &Names,
    others: impl IntoIterator<Item = &'a Names> + Clone,
) -> (Names, Option<Conflict>) {
    let used: BTreeSet<&str> = others.clone().into_iter().flat_map(Names::resources).collect();
    let used_kinds: BTreeSet<&str> = others.into_iter().flat_map(Names::kinds).collect();
    let mut names = accepted.clone();
    let mut conflicts = Vec::new();
    let mut take = |slot: &mut String, wanted: &String, used: &BTreeSet<&str>, reason| {
        if slot == wanted || !used.contains(wanted.as_str()) {
            wanted.clone_into(slot);
        } else {
            conflicts.push(Conflict { reason, message: format!("\"{wanted}\" is already in use") });
        }
    };
    take(&mut names.plural, &requested.plural, &used, "PluralConflict");
    take(&mut names.singular, &requested.singular, &used, "SingularConflict");
    take(&mut names.kind, &requested.kind, &used_kinds, "KindConflict");
    take(&mut names.list_kind, &requested.list_kind, &used_kinds, "ListKindConflict");
    let is_free =
        |name: &&String| accepted.short_names.contains(name) || !used.contains(name.as_str());
    match requested.short_names.iter().find(|name| !is_free(name)) {
        None => names.short_names.clone_from(&requested.short_names),
        Some(taken) => {
            conflicts.push(Conflict {
                reason: "ShortNamesConflict",
                message: format!("\"{taken}\" is already in use"),
            });
        }
    }
    names.categories.clone_from(&requested.categories);
    (names, conflicts.into_iter().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(plural: &str, kind: &str, short: &[&str]) -> Names {
        Names {
            plural: plural.to_owned(),
            singular: kind.to_lowercase(),
            short_names: short.iter().map(|&name| name.to_owned()).collect(),
            kind: kind.to_owned(),
            list_kind: format!("{kind}List"),
            categories: Vec::new(),
        }
    }

    #[test]
    fn free_names_are_accepted() {
        let requested = names("widgets", "Widget", &["wd"]);
        let other = names("gadgets", "Gadget", &["gd"]);
        assert_eq!(accept(&requested, &Names::default(), [&other]), (requested.clone(), None));
    }

    #[test]
    fn taken_names_are_refused_one_by_one() {
        let other = names("gadgets", "Gadget", &["gd"]);
        for (requested, reason) in [
            (names("gadgets", "Widget", &[]), "PluralConflict"),
            (names("gd", "Widget", &[]), "PluralConflict"),
            (names("widgets", "Gadget", &[]), "SingularConflict"),
            (Names { singular: "w".into(), ..names("widgets", "Gadget", &[]) }, "KindConflict"),
            (
                Names { list_kind: "GadgetList".into(), ..names("widgets", "Widget", &[]) },
                "ListKindConflict",
            ),
            (names("widgets", "Widget", &["wd", "gadgets"]), "ShortNamesConflict"),
        ] {
            let (accepted, conflict) = accept(&requested, &Names::default(), [&other]);
            assert_eq!(conflict.expect(reason).reason, reason);
            assert_ne!(accepted, requested);
        }
    }

    #[test]
    fn accepted_names_are_kept_against_later_ones() {
        let mine = names("widgets", "Widget", &["wd"]);
        let other = names("widgets", "Widget", &["wd"]);
        assert_eq!(accept(&mine, &mine, [&other]), (mine.clone(), None));
        let changed = names("widgets", "Widget", &["gd"]);
        let rival = names("gadgets", "Gadget", &["gd"]);
        let (accepted, conflict) = accept(&changed, &mine, [&rival]);
        assert_eq!((accepted, conflict.unwrap().reason), (mine, "ShortNamesConflict"));
    }

    #[test]
    fn json_round_trips() {
        let mine = Names { categories: vec!["all".into()], ..names("widgets", "Widget", &["wd"]) };
        assert_eq!(Names::parse(&mine.to_json()), mine);
        assert_eq!(Names::default().to_json(), json!({"plural": "", "kind": ""}));
    }
}
