//! Expressions over variables of any sort.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::schema::cel::{
    Authorization, Authorize, Check, Environment, Error, ErrorKind, LazyFields, Map, ObjectType,
    PER_CALL_LIMIT, Type, Value as Cel, Verdict,
};

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
            "{'name': object.metadata.name, 'n': dyn(object.spec.replicas + 1)}",
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
    fn field(&self, name: &str) -> Result<Option<Cel<'a>>, Error> {
        match name {
            "known" => Ok(Some(Cel::Int(2))),
            "broken" => Err(Error::new("composited variable \"broken\" fails to evaluate")),
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
fn texts_that_nest_too_deep_are_refused_and_exhaust_nothing() {
    let environment = Environment::new().with("x", Type::Int);
    for source in [
        format!("{}x{}", "(".repeat(5000), ")".repeat(5000)),
        format!("x{}", "+x".repeat(3000)),
        format!("x{}", ".y".repeat(3000)),
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
        let indexed: Vec<i64> = (0..).zip(&items).map(|(i, x): (i64, &i64)| i + x).collect();
        let source = "object.transformList(i, x, i + x)";
        prop_assert_eq!(evaluate(source, &object), Ok(json!(indexed).to_string()));
        let sorted = items.is_sorted();
        prop_assert_eq!(evaluate("object.isSorted()", &object), Ok(sorted.to_string()));
    }
}
