//! Tables of what kube-apiserver 1.34 answers.

use serde_json::{Value, json};

use crate::schema::{structural, validate};

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
