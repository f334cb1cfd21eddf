//! Rules of schemas.

mod expressions;
mod tables;

use serde_json::{Value, json};

use crate::schema::{SchemaRef, structural, validate};

fn compile(schema: &Value) -> Result<SchemaRef, Vec<String>> {
    structural::compile(&json!({"type": "object", "properties": {"spec": schema}})).map_err(
        |causes| causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect(),
    )
}

fn rules(rules: &Value) -> Value {
    json!({"type": "object", "x-kubernetes-validations": rules, "properties": {
        "n": {"type": "integer"},
        "s": {"type": "string"},
        "t": {"type": "string", "format": "byte"},
        "f": {"type": "number"},
        "x": {"x-kubernetes-int-or-string": true},
        "namespace": {"type": "string"},
        "a-b": {"type": "integer"},
        "hidden": {"x-kubernetes-preserve-unknown-fields": true},
        "list": {"type": "array", "maxItems": 10, "items": {"type": "object", "properties": {
            "name": {"type": "string", "maxLength": 20}, "value": {"type": "string", "maxLength": 20}}}},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
    }})
}

fn messages(schema: &SchemaRef, spec: &Value, old: Option<&Value>) -> Vec<String> {
    let old = old.map(|old| json!({ "spec": old }));
    let causes = validate(schema, &json!({ "spec": spec }), old.as_ref());
    causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

#[test]
fn rules_hold_or_fail_on_values() {
    for (rule, good, bad) in [
        ("self.n > 1", json!({"n": 2}), json!({"n": 1})),
        ("!has(self.s) || self.s.startsWith('a')", json!({}), json!({"s": "b"})),
        (
            "type(self.x) == string ? self.x.matches('^[0-9]+%$') : self.x >= 0",
            json!({"x": "5%"}),
            json!({"x": -1}),
        ),
        (
            "self.x == null || type(self.x) != int || self.x >= 1",
            json!({"x": "a"}),
            json!({"x": 0}),
        ),
        (
            "self.__namespace__ != 'kube-system'",
            json!({"namespace": "a"}),
            json!({"namespace": "kube-system"}),
        ),
        ("self.a__dash__b == 1", json!({"a-b": 1}), json!({"a-b": 2})),
        (
            "self.list.all(e, has(e.value))",
            json!({"list": [{"value": "a"}]}),
            json!({"list": [{"name": "a"}]}),
        ),
        (
            "self.list.all(x, self.list.exists_one(y, x.name == y.name))",
            json!({"list": [{"name": "a"}, {"name": "b"}]}),
            json!({"list": [{"name": "a"}, {"name": "a"}]}),
        ),
        (
            "size(self.list.filter(x, x.name == 'a' && has(x.value))) <= 1",
            json!({"list": [{"name": "a"}]}),
            json!({"list": [{"name": "a", "value": "b"}, {"name": "a", "value": "b"}]}),
        ),
        (
            "[has(self.n), has(self.s)].filter(x, x == true).size() == 1",
            json!({"n": 1}),
            json!({"n": 1, "s": "a"}),
        ),
        (
            "!('bad' in self.map) && self.map.all(k, self.map[k] > 0)",
            json!({"map": {"a": 1}}),
            json!({"map": {"bad": 1}}),
        ),
        ("!(self.s in ['Ready', 'Available'])", json!({"s": "x"}), json!({"s": "Ready"})),
        ("self.f < 1.5", json!({"f": 1}), json!({"f": 2})),
        ("size(self.t) == 2", json!({"t": "aGk="}), json!({"t": "aGlq"})),
    ] {
        let schema = compile(&rules(&json!([{"rule": rule, "message": "no"}]))).unwrap();
        assert_eq!(messages(&schema, &good, None), [] as [&str; 0], "{rule}");
        assert_eq!(
            messages(&schema, &bad, None),
            ["spec: Invalid value: \"object\": no"],
            "{rule}"
        );
    }
}

#[test]
fn transition_rules_compare_with_the_old_value() {
    let schema = compile(&rules(&json!([{"rule": "self.n >= oldSelf.n"}]))).unwrap();
    assert!(messages(&schema, &json!({"n": 1}), None).is_empty());
    assert!(messages(&schema, &json!({"n": 2}), Some(&json!({"n": 1}))).is_empty());
    assert_eq!(
        messages(&schema, &json!({"n": 1}), Some(&json!({"n": 2}))),
        ["spec: Invalid value: \"object\": failed rule: self.n >= oldSelf.n"]
    );
    let optional = json!([{"rule": "oldSelf.hasValue() ? self.n >= oldSelf.value().n : self.n == 0",
        "optionalOldSelf": true, "message": "start at 0"}]);
    let schema = compile(&rules(&optional)).unwrap();
    assert!(messages(&schema, &json!({"n": 0}), None).is_empty());
    assert_eq!(messages(&schema, &json!({"n": 1}), None).len(), 1);
    assert!(messages(&schema, &json!({"n": 5}), Some(&json!({"n": 3}))).is_empty());
    assert_eq!(messages(&schema, &json!({"n": 1}), Some(&json!({"n": 3}))).len(), 1);
}

#[test]
fn message_reason_and_path_are_those_of_the_rule() {
    let schema = compile(&rules(&json!([
        {"rule": "self.n < 3", "messageExpression": "'n is ' + string(self.n)", "message": "unused",
            "reason": "FieldValueForbidden", "fieldPath": ".n"},
        {"rule": "self.n < 4", "messageExpression": "self.s", "message": "fallback"},
        {"rule": "self.s == 'a'"},
    ])))
    .unwrap();
    assert_eq!(
        messages(&schema, &json!({"n": 5}), None),
        [
            "spec.n: Forbidden: n is 5",
            "spec: Invalid value: \"object\": fallback",
            "spec: Invalid value: \"object\": no such key: s evaluating rule: self.s == 'a'",
        ]
    );
}

#[test]
fn an_unchanged_value_may_keep_breaking_a_rule_but_not_a_transition() {
    let schema = compile(&rules(&json!([{"rule": "self.n < 3"}]))).unwrap();
    assert!(messages(&schema, &json!({"n": 5}), Some(&json!({"n": 5}))).is_empty());
    assert_eq!(messages(&schema, &json!({"n": 6}), Some(&json!({"n": 5}))).len(), 1);
}

#[test]
fn rules_that_cannot_work_fail_the_definition() {
    for (rule, want) in [
        ("self.nope > 1", "undefined field 'nope'"),
        ("self.list.all(x, x.nope == 'a')", "undefined field 'nope'"),
        ("self.hidden == 1", "undefined field 'hidden'"),
        ("self.n >", "Syntax error"),
        ("nonsense(self.n)", "undeclared reference to 'nonsense'"),
        ("other.n == 1", "undeclared reference to 'other'"),
        ("self.n", "cel expression must evaluate to a bool"),
        ("self.n == 'a'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("self.n.startsWith('a')", "found no matching overload for 'startsWith'"),
        ("self.s.n == 1", "type 'string' does not support field selection"),
        ("self.n.all(x, true)", "cannot be range of a comprehension"),
        ("", "rule is not specified"),
    ] {
        let errors = compile(&rules(&json!([{ "rule": rule }]))).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(
            errors[0]
                .starts_with("openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: "),
            "{errors:?}"
        );
        assert!(errors[0].contains(want), "{errors:?}");
    }
    let errors =
        compile(&rules(&json!([{"rule": "true", "messageExpression": "self.n"}]))).unwrap_err();
    assert!(errors[0].contains("must evaluate to a string"), "{errors:?}");
    let errors = compile(&rules(&json!([{"rule": "true", "fieldPath": ".nope"}]))).unwrap_err();
    assert!(errors[0].contains("must be a valid path"), "{errors:?}");
}

#[test]
fn rules_that_could_take_too_long_fail_the_definition() {
    let list = |bound: Value| {
        let mut list = json!({"type": "array", "items": {"type": "string", "maxLength": 10}, "x-kubernetes-validations": [
            {"rule": "self.all(x, self.all(y, self.all(z, x == y || y == z)))"}]});
        if bound.is_number() {
            list["maxItems"] = bound;
        }
        compile(&list)
    };
    assert!(list(json!(20)).is_ok());
    for bound in [json!(2000), json!(null)] {
        let errors = list(bound).unwrap_err();
        assert!(errors[0].contains("estimated rule cost exceeds budget"), "{errors:?}");
    }
    let everywhere = json!({"type": "array", "items": {"type": "array", "maxItems": 1000,
        "items": {"type": "string"}, "x-kubernetes-validations": [{"rule": "self.all(x, x != '')"}]}});
    assert!(compile(&everywhere).is_err());
    let keys = json!({"type": "object", "maxProperties": 4096, "additionalProperties": {"type": "string", "maxLength": 63},
        "x-kubernetes-validations": [{"rule": "self.all(key, !key.contains('*') && key.matches('^[a-z]+$'))"}]});
    assert!(compile(&keys).is_ok());
}

#[test]
fn old_values_are_out_of_reach_in_lists_without_keys() {
    let schema = json!({"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 10,
        "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}});
    let errors = compile(&schema).unwrap_err();
    assert!(errors[0].contains("uncorrelatable portion"), "{errors:?}");
}

#[test]
fn the_names_of_the_object_are_all_that_rules_see_of_metadata() {
    let with_rule = |rule: &str| {
        structural::compile(&json!({"type": "object", "x-kubernetes-validations": [
            {"rule": rule, "message": "too long"}], "properties": {"spec": {"type": "object"}}}))
    };
    let schema = with_rule("size(self.metadata.name) < 5").unwrap();
    let value = |name: &str| json!({"metadata": {"name": name}, "spec": {}});
    assert_eq!(validate(&schema, &value("abcd"), None), []);
    assert_eq!(validate(&schema, &value("abcde"), None).len(), 1);
    assert!(with_rule("has(self.metadata.labels)").is_err());
}

#[test]
fn rules_that_cost_too_much_at_run_time_say_so() {
    let schema = structural::compile(&json!({"type": "object", "properties": {"spec": {
        "type": "array", "maxItems": 600, "items": {"type": "integer"},
        "x-kubernetes-validations": [{"rule": "self.all(x, self.all(y, x + y >= 0))"}]}}}))
    .unwrap();
    let list = |n: u32| json!({"spec": (0..n).collect::<Vec<u32>>()});
    assert_eq!(validate(&schema, &list(100), None), []);
    let causes = validate(&schema, &list(600), None);
    assert_eq!(causes.len(), 1);
    assert_eq!(
        causes[0].message,
        "Invalid value: \"array\": 'operation cancelled: actual cost limit exceeded': no further validation rules will \
         be run due to call cost exceeds limit for rule: self.all(x, self.all(y, x + y >= 0))"
    );
}
