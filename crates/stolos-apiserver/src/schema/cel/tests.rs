use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    Authorization, Authorize, Check, Environment, ErrorKind, LazyFields, Map, ObjectType,
    PER_CALL_LIMIT, Type, Value as Cel, Verdict,
};

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

/// Reads a table of what kube-apiserver 1.34 answers.
fn table(name: &str) -> Value {
    let path = format!("{}/src/schema/cel/testdata/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Checks all cases of a table, and shows all that differ at once.
fn hold(table: &Value, answer: impl Fn(&Value) -> String, want: impl Fn(&Value) -> String) {
    let cases = table["cases"].as_array().unwrap();
    let differences: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let (got, want) = (answer(case), want(case));
            (got != want).then(|| format!("{}\n  want {want}\n  got  {got}", case["rule"]))
        })
        .collect();
    assert!(
        differences.is_empty(),
        "{} of {}:\n{}",
        differences.len(),
        cases.len(),
        differences.join("\n")
    );
}

#[test]
fn expressions_are_refused_as_kube_apiserver_refuses_them() {
    let table = table("refusals.json");
    let answer = |case: &Value| {
        let spec = json!({"type": "object", "properties": table["fields"],
            "x-kubernetes-validations": [{"rule": case["rule"], "message": "m"}]});
        let causes = structural::compile(&json!({"type": "object", "properties": {"spec": spec}}));
        let causes = causes.err().unwrap_or_default();
        let text = |message: &str| match message.split_once("OptionalOldSelf\":null}: ") {
            Some((_, text)) => text.to_owned(),
            None => message.to_owned(),
        };
        causes.iter().map(|cause| text(&cause.message)).collect::<Vec<_>>().join("\n")
    };
    let want = |case: &Value| {
        let wants = case["wants"].as_array().unwrap().iter().map(|want| want.as_str().unwrap());
        wants.collect::<Vec<_>>().join("\n")
    };
    hold(&table, answer, want);
}

#[test]
fn expressions_have_the_values_that_kube_apiserver_gives_them() {
    let table = table("verdicts.json");
    let answer = |case: &Value| {
        let spec = json!({"type": "object", "properties": table["fields"],
            "x-kubernetes-validations": [{"rule": case["rule"], "message": "#"}]});
        let schema = structural::compile(&json!({"type": "object", "properties": {"spec": spec}}));
        let schema = match schema {
            Ok(schema) => schema,
            Err(causes) => return format!("{causes:?}"),
        };
        let causes = validate(&schema, &json!({"spec": table["object"]}), None);
        match causes.as_slice() {
            [] => "true".to_owned(),
            [cause] => {
                let text = cause.message.replacen("Invalid value: \"object\": ", "", 1);
                let text = text.trim_end_matches('#');
                let text = text.split(": call arguments did not match").next().unwrap_or_default();
                let text = text.trim_end_matches(" evaluating rule: ").trim_matches('\'');
                if text.is_empty() { "false".to_owned() } else { text.to_owned() }
            }
            many => format!("{many:?}"),
        }
    };
    hold(&table, answer, |case| case["verdict"].as_str().unwrap().to_owned());
}

#[test]
fn updates_may_keep_what_kube_apiserver_lets_them_keep() {
    let table = table("ratchet.json");
    let schema =
        structural::compile(&json!({"type": "object", "properties": {"spec": table["spec"]}}))
            .unwrap();
    let old = json!({"spec": table["old"]});
    let answer = |case: &Value| {
        let mut new = old.clone();
        for (name, value) in case["change"].as_object().unwrap() {
            new["spec"][name] = value.clone();
        }
        new["spec"].as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let mut causes: Vec<String> = validate(&schema, &new, Some(&old))
            .iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect();
        causes.sort();
        causes.join("\n")
    };
    hold(&table, answer, |case| sorted(&case["wants"]));
}

/// Fields and messages of a table, in one order.
fn sorted(wants: &Value) -> String {
    let text = |part: &Value| part.as_str().unwrap_or_default().to_owned();
    let wants = wants.as_array().unwrap().iter();
    let mut wants: Vec<String> =
        wants.map(|want| format!("{}: {}", text(&want[0]), text(&want[1]))).collect();
    wants.sort();
    wants.join("\n")
}

#[test]
#[expect(clippy::print_stderr, reason = "says that the test had nothing to do")]
fn objects_of_the_reference_definitions_get_the_answers_of_kube_apiserver() {
    let mut above = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let root = above
        .find_map(|dir| Some(dir.join("shared/reference/crds")).filter(|folder| folder.is_dir()));
    let Some(root) = root else {
        eprintln!("skipped: no shared/reference/crds beside the workspace");
        return;
    };
    let cases: Vec<Value> = table("objects.json").as_array().unwrap().clone();
    let mut definitions = std::collections::BTreeMap::new();
    let named: Vec<Value> = cases
        .into_iter()
        .map(|mut case| {
            case["rule"] =
                json!(format!("{} {} {}", case["file"], case["version"], case["object"]));
            case
        })
        .collect();
    for case in &named {
        let file = case["file"].as_str().unwrap();
        definitions.entry(file.to_owned()).or_insert_with(|| {
            crate::schema::parse::yaml(&std::fs::read(root.join(file)).unwrap()).unwrap().0
        });
    }
    let answer = |case: &Value| {
        let crd = &definitions[case["file"].as_str().unwrap()];
        let versions = crd["spec"]["versions"].as_array().unwrap();
        let version = versions.iter().find(|version| version["name"] == case["version"]).unwrap();
        let schema = structural::compile(&version["schema"]["openAPIV3Schema"]).unwrap();
        let mut object = case["object"].clone();
        if version["subresources"]["status"].is_object() {
            object.as_object_mut().unwrap().remove("status");
        }
        crate::schema::prune(&schema, &mut object);
        crate::schema::default(&schema, &mut object);
        let mut causes: Vec<String> = validate(&schema, &object, None)
            .iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect();
        causes.sort();
        causes.join("\n")
    };
    hold(&json!({ "cases": named }), answer, |case| sorted(&case["wants"]));
}

/// Evaluates an expression over values of which nothing is known.
fn evaluate(source: &str, object: &Value) -> Result<String, String> {
    let environment = Environment::new().with("object", Type::Dyn);
    let program = environment.compile(source)?;
    let variables = [("object", Cel::of_json(object))];
    let (answer, _) = program.evaluate(&variables, PER_CALL_LIMIT);
    answer
        .map(|value| value.to_json().unwrap_or_default().to_string())
        .map_err(|why| why.to_string())
}

#[test]
fn expressions_over_dynamic_objects_read_what_is_there() {
    let object =
        json!({"metadata": {"labels": {"a/b": "c"}, "name": "x"}, "spec": {"replicas": 3}});
    for (source, want) in [
        ("object.spec.replicas > 2", Ok("true")),
        ("object.metadata.labels['a/b']", Ok("\"c\"")),
        ("object.metadata.?labels['a/b'].orValue('none')", Ok("\"c\"")),
        ("has(object.status) && object.status.ready", Ok("false")),
        ("object.status.ready", Err("no such key: status")),
        ("object.metadata.labels.map(k, k + '!')", Ok("[\"a/b!\"]")),
        (
            "{'name': object.metadata.name, 'n': object.spec.replicas + 1}",
            Ok("{\"n\":4,\"name\":\"x\"}"),
        ),
    ] {
        let want = want.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(evaluate(source, &object), want, "{source}");
    }
}

struct Admins;

impl Authorize for Admins {
    fn authorize(&self, check: &Check) -> Verdict {
        let allowed = check.namespace == "kube-system"
            && check.verb == "create"
            && (check.group.as_str(), check.resource.as_str()) == ("apps", "deployments");
        let error = (check.path.as_deref() == Some("/broken")).then(|| "out of order".to_owned());
        Verdict { allowed, reason: format!("{:?}", check.service_account), error }
    }
}

#[test]
fn rights_are_asked_of_the_authorizer_that_the_caller_passes() {
    let environment = Environment::new()
        .with("authorizer", Type::authorizer())
        .with("authorizer.requestResource", Type::resource_check());
    for (source, want) in [
        (
            "authorizer.group('apps').resource('deployments').namespace('kube-system').check('create').allowed()",
            "true",
        ),
        ("authorizer.group('apps').resource('deployments').check('create').allowed()", "false"),
        (
            "authorizer.serviceAccount('a', 'b').path('/healthz').check('get').reason()",
            "\"Some((\\\"a\\\", \\\"b\\\"))\"",
        ),
        ("authorizer.path('/broken').check('get').errored()", "true"),
        ("authorizer.path('/broken').check('get').error()", "\"out of order\""),
        ("authorizer.requestResource.check('create').allowed()", "true"),
        (
            "authorizer.requestResource.subresource('scale').name('x').check('get').allowed()",
            "false",
        ),
    ] {
        let program = environment.compile(source).unwrap();
        let check = Check {
            group: "apps".to_owned(),
            resource: "deployments".to_owned(),
            namespace: "kube-system".to_owned(),
            ..Check::default()
        };
        let variables = [
            ("authorizer", Authorization::authorizer(Arc::new(Admins))),
            ("authorizer.requestResource", Authorization::resource(Arc::new(Admins), check)),
        ];
        let (answer, cost) = program.evaluate(&variables, PER_CALL_LIMIT);
        assert_eq!(answer.unwrap().to_json().unwrap().to_string(), want, "{source}");
        assert!(cost > 350_000, "{source} cost {cost}");
    }
    let thrice = "[1, 2, 3].all(x, !authorizer.path('/x').check('get').allowed())";
    let program = environment.compile(thrice).unwrap();
    let variables = [("authorizer", Authorization::authorizer(Arc::new(Admins)))];
    let (answer, _) = program.evaluate(&variables, PER_CALL_LIMIT);
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::OverBudget);
}

struct Doubled;

impl<'a> LazyFields<'a> for Doubled {
    fn field(&self, name: &str) -> Result<Option<Cel<'a>>, super::Error> {
        match name {
            "known" => Ok(Some(Cel::Int(2))),
            "broken" => Err(super::Error::new("composited variable \"broken\" fails to evaluate")),
            _ => Ok(None),
        }
    }
}

#[test]
fn variables_are_computed_when_they_are_read() {
    let fields = [("known", Type::Int), ("broken", Type::Int)];
    let fields = fields.map(|(name, type_)| (name.to_owned(), type_));
    let variables_type = Type::Object(ObjectType::new("kubernetes.variables", fields));
    let environment = Environment::new().with("variables", variables_type);
    assert!(
        environment.compile("variables.nope == 1").unwrap_err().contains("undefined field 'nope'")
    );
    let evaluate = |source: &str| {
        let program = environment.compile(source).unwrap();
        let variables = [("variables", Cel::Map(Map::Lazy(Arc::new(Doubled))))];
        program.evaluate(&variables, PER_CALL_LIMIT).0.map(|value| value.to_json().unwrap())
    };
    assert_eq!(evaluate("variables.known + 1"), Ok(json!(3)));
    assert_eq!(evaluate("variables.known == 1 && variables.broken == 1"), Ok(json!(false)));
    assert!(evaluate("variables.broken").unwrap_err().to_string().contains("fails to evaluate"));
}

#[test]
fn an_evaluation_ends_when_it_has_cost_too_much() {
    let environment = Environment::new().with("object", Type::Dyn);
    let source = "object.all(x, object.all(y, object.all(z, x + y + z >= 0)))";
    let program = environment.compile(source).unwrap();
    let object = json!((0..200).collect::<Vec<u32>>());
    let variables = [("object", Cel::of_json(&object))];
    let (answer, cost) = program.evaluate(&variables, PER_CALL_LIMIT);
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OverBudget);
    assert_eq!(error.to_string(), "operation cancelled: actual cost limit exceeded");
    assert!(cost < PER_CALL_LIMIT * 2, "{cost}");
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

#[test]
fn texts_that_nest_too_deep_are_refused_and_exhaust_nothing() {
    let environment = Environment::new().with("x", Type::Int);
    for source in [
        format!("{}x{}", "(".repeat(5000), ")".repeat(5000)),
        format!("x{}", "+x".repeat(3000)),
        format!("x{}", ".y".repeat(3000)),
        format!("{}true", "!".repeat(3000)),
        format!("{}x{}", "[".repeat(2000), "]".repeat(2000)),
        "x+".repeat(50_000),
    ] {
        assert!(environment.compile(&source).is_err(), "{}", &source[..20]);
    }
    let deep = format!("x{} == 0", "+x".repeat(200));
    let program = environment.compile(&deep).unwrap();
    assert!(program.evaluate(&[("x", Cel::Int(0))], PER_CALL_LIMIT).0.is_ok());
}

proptest! {
    #[test]
    fn numbers_behave_as_checked_integers(a: i64, b: i64) {
        let object = json!({"a": a, "b": b});
        let want = |value: Option<i64>, why: &str| value.map(|v| v.to_string()).ok_or(why.to_owned());
        for (source, value) in [
            ("object.a + object.b", want(a.checked_add(b), "integer overflow")),
            ("object.a - object.b", want(a.checked_sub(b), "integer overflow")),
            ("object.a * object.b", want(a.checked_mul(b), "integer overflow")),
            ("object.a < object.b", Ok((a < b).to_string())),
            ("object.a == object.b", Ok((a == b).to_string())),
        ] {
            prop_assert_eq!(evaluate(source, &object), value);
        }
    }

    #[test]
    fn either_side_of_and_and_or_decides_alone(
        left in prop::sample::select(vec!["true", "false", "object.absent", "1 / 0 == 1"]),
        right in prop::sample::select(vec!["true", "false", "object.absent", "1 / 0 == 1"]),
    ) {
        let object = json!({});
        for operator in ["&&", "||"] {
            let forth = evaluate(&format!("{left} {operator} {right}"), &object);
            let back = evaluate(&format!("{right} {operator} {left}"), &object);
            prop_assert_eq!(forth.as_ref().ok(), back.as_ref().ok());
            let negated = if operator == "&&" { "||" } else { "&&" };
            let law = evaluate(&format!("!(!({left}) {negated} !({right}))"), &object);
            prop_assert_eq!(forth.ok(), law.ok());
        }
    }

    #[test]
    fn texts_of_any_sort_are_compiled_or_refused(
        source in r#"([a-c.(){}\[\],?:+*/%!<>=&|"' 0-9]|self|object|has|all|map|in|true|null|é){0,40}"#
    ) {
        let _ = evaluate(&source, &json!({"a": [1, "x", {"b": null}]}));
    }

    #[test]
    fn lists_are_filtered_and_mapped_as_iterators_do(items in prop::collection::vec(-50i64..50, 0..20)) {
        let object = json!(items);
        let filtered: Vec<i64> = items.iter().copied().filter(|x| x % 2 == 0).map(|x| x * 3).collect();
        let source = "object.filter(x, x % 2 == 0).map(x, x * 3)";
        prop_assert_eq!(evaluate(source, &object), Ok(json!(filtered).to_string()));
        let indexed: Vec<i64> = items.iter().enumerate().map(|(i, x)| i as i64 + x).collect();
        let source = "object.transformList(i, x, i + x)";
        prop_assert_eq!(evaluate(source, &object), Ok(json!(indexed).to_string()));
        let sorted = items.is_sorted();
        prop_assert_eq!(evaluate("object.isSorted()", &object), Ok(sorted.to_string()));
    }
}
