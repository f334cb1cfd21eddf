//! The functions that rules may call: those of the language, its string, list and math extensions, and Kubernetes' own.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use ::cel::common::ast::operators as op;
use ::cel::common::types::{DYN_TYPE, INT_TYPE, LIST_TYPE, STRING_TYPE, Type};
use ::cel::common::value::CowVal;
use ::cel::objects::Opaque;
use ::cel::{DeclarationError, Env, ExecutionError, Value, extensions};

use super::check::Kind;
use crate::schema::pattern;
use crate::schema::quantity::Quantity;

/// Names of types, which are values for `type(x) == string`.
pub(super) const TYPES: &[&str] = &[
    "bool",
    "bytes",
    "double",
    "dyn",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "type",
    "uint",
    "optional_type",
];

/// Returns the environment that all rules share.
pub(super) fn environment() -> Arc<Env> {
    static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
        let mut env = Env::stdlib();
        declare(&mut env).expect("no function is declared twice");
        Arc::new(env)
    });
    ENVIRONMENT.clone()
}

/// Reports whether a function exists; functions in a namespace are written with it.
pub(super) fn is_function(name: &str) -> bool {
    BOOL_FUNCTIONS.contains(&name)
        || INT_FUNCTIONS.contains(&name)
        || STRING_FUNCTIONS.contains(&name)
        || OTHER_FUNCTIONS.contains(&name)
}

#[rustfmt::skip]
const BOOL_FUNCTIONS: &[&str] = &[
    op::LOGICAL_AND, op::LOGICAL_OR, op::LOGICAL_NOT, op::EQUALS, op::NOT_EQUALS, op::GREATER, op::GREATER_EQUALS,
    op::LESS, op::LESS_EQUALS, op::IN, op::NOT_STRICTLY_FALSE, "contains", "endsWith", "startsWith", "matches",
    "hasValue", "isSorted", "isQuantity", "isInteger", "isGreaterThan", "isLessThan", "isURL", "isIP", "isCIDR",
    "sets.contains", "sets.equivalent", "sets.intersects", "math.isNaN", "math.isInf", "math.isFinite",
];
const INT_FUNCTIONS: &[&str] =
    &["size", "int", "indexOf", "lastIndexOf", "compareTo", "sign", "asInteger"];
#[rustfmt::skip]
const STRING_FUNCTIONS: &[&str] = &[
    "string", "charAt", "join", "lowerAscii", "upperAscii", "trim", "replace", "substring", "format",
    "strings.quote", "find", "getScheme", "getHost", "getHostname", "getPort", "getEscapedPath",
];
#[rustfmt::skip]
const OTHER_FUNCTIONS: &[&str] = &[
    op::CONDITIONAL, op::ADD, op::SUBSTRACT, op::MULTIPLY, op::DIVIDE, op::MODULO, op::NEGATE, op::INDEX,
    op::OPT_INDEX, op::OPT_SELECT, "double", "uint", "bytes", "dyn", "type", "split", "reverse", "slice", "flatten",
    "distinct", "sort", "@sortByAssociatedKeys", "lists.range", "value", "or", "orValue", "optional.of",
    "optional.none", "optional.ofNonZeroValue", "findAll", "sum", "min", "max", "quantity", "add", "sub",
    "asApproximateFloat", "url", "getQuery", "math.abs", "math.bitAnd", "math.bitNot", "math.bitOr", "math.bitXor",
    "math.bitShiftLeft", "math.bitShiftRight", "math.ceil", "math.floor", "math.round", "math.sign", "math.sqrt",
    "math.trunc", "math.@max", "math.@min",
];

/// Reports whether arguments of known types can be right.
pub(super) fn accepts(name: &str, is_member: bool, kinds: &[Kind]) -> bool {
    match (name, kinds) {
        (op::EQUALS | op::NOT_EQUALS, [left, right]) => comparable(left, right),
        (op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS, [left, right]) => {
            let ordered = |kind: &Kind| {
                !matches!(kind, Kind::Object(_) | Kind::Null | Kind::List(..) | Kind::Map(..))
            };
            ordered(left) && ordered(right) && comparable(left, right)
        }
        (op::LOGICAL_AND | op::LOGICAL_OR, [left, right]) => is_bool(left) && is_bool(right),
        (op::LOGICAL_NOT, [value]) | (op::CONDITIONAL, [value, ..]) => is_bool(value),
        ("contains" | "startsWith" | "endsWith" | "matches", [receiver, ..]) if is_member => {
            matches!(receiver, Kind::String | Kind::Dyn)
        }
        ("size", [value]) => {
            !matches!(value, Kind::Bool | Kind::Int | Kind::Double | Kind::Null | Kind::Object(_))
        }
        _ => true,
    }
}

fn is_bool(kind: &Kind) -> bool {
    matches!(kind, Kind::Bool | Kind::Dyn)
}

fn comparable(left: &Kind, right: &Kind) -> bool {
    let open = |kind: &Kind| matches!(kind, Kind::Dyn | Kind::Null | Kind::Object(_));
    match (left, right) {
        (left, right) if open(left) || open(right) => true,
        (left, right) if left.is_number() && right.is_number() => true,
        (Kind::List(left, _), Kind::List(right, _)) | (Kind::Map(left, _), Kind::Map(right, _)) => {
            comparable(left, right)
        }
        (left, right) => left == right,
    }
}

/// Returns the type of a call's result as far as it is known.
pub(super) fn result_of(name: &str, kinds: &[Kind]) -> Kind {
    match (name, kinds) {
        (op::CONDITIONAL, [_, yes, no]) => yes.clone().join(no.clone()),
        (op::ADD, [left, right]) => left.clone().join(right.clone()),
        (op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO, [left, right]) => {
            left.clone().join(right.clone())
        }
        (op::NEGATE, [value]) => value.clone(),
        ("double", _) => Kind::Double,
        // Texts have no bound here; a long one is rare and splits into many only if made for it.
        ("split" | "findAll", _) => Kind::List(Box::new(Kind::String), 10_000),
        ("slice" | "distinct" | "sort", [list, ..]) => list.clone(),
        ("sign", _) => Kind::Dyn,
        _ if BOOL_FUNCTIONS.contains(&name) => Kind::Bool,
        _ if INT_FUNCTIONS.contains(&name) => Kind::Int,
        _ if STRING_FUNCTIONS.contains(&name) => Kind::String,
        _ => Kind::Dyn,
    }
}

type Answer = Result<Value, ExecutionError>;

/// Wraps a function over plain values for the interpreter.
macro_rules! function {
    ($function:expr) => {{
        fn call<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
            let args: Vec<Value> =
                args.iter().map(|arg| Value::try_from(arg.as_ref())).collect::<Result<_, _>>()?;
            let function: fn(&[Value]) -> Answer = $function;
            Ok(CowVal::Owned(function(&args)?.try_into()?))
        }
        call
    }};
}

fn declare(env: &mut Env) -> Result<(), DeclarationError> {
    env.add_extension(extensions::strings)?;
    env.add_extension(extensions::lists)?;
    env.add_extension(extensions::math)?;
    declare_quantities(env)?;
    declare_urls(env)?;
    declare_lists(env)?;
    env.add_member_overload(
        "find",
        "string.find(string)",
        STRING_TYPE,
        vec![STRING_TYPE],
        function!(find),
    )?;
    let find_all = function!(find_all);
    env.add_member_overload(
        "findAll",
        "string.findAll(string)",
        STRING_TYPE,
        vec![STRING_TYPE],
        find_all,
    )?;
    let with_limit = vec![STRING_TYPE, INT_TYPE];
    env.add_member_overload(
        "findAll",
        "string.findAll(string,int)",
        STRING_TYPE,
        with_limit,
        find_all,
    )?;
    let is_ip = function!(|args| Ok(text(&args[0])?.parse::<IpAddr>().is_ok().into()));
    env.add_overload("isIP", "isIP(string)", vec![STRING_TYPE], is_ip)?;
    let is_cidr = function!(|args| Ok(pattern::is_cidr(text(&args[0])?).into()));
    env.add_overload("isCIDR", "isCIDR(string)", vec![STRING_TYPE], is_cidr)
}

fn declare_quantities(env: &mut Env) -> Result<(), DeclarationError> {
    let parse = function!(|args| {
        let text = text(&args[0])?;
        let parsed = Quantity::parse(text);
        parsed.map(wrap).ok_or_else(|| failed("quantity", format!("`{text}` is not a quantity")))
    });
    env.add_overload("quantity", "quantity(string)", vec![STRING_TYPE], parse)?;
    let check = function!(|args| Ok(Quantity::parse(text(&args[0])?).is_some().into()));
    env.add_overload("isQuantity", "isQuantity(string)", vec![STRING_TYPE], check)?;
    let mut member = |name: &str, args: Vec<Type>, function| {
        let id = format!("quantity.{name}({})", args.len());
        env.add_member_overload(name, &id, DYN_TYPE, args, function)
    };
    member(
        "isInteger",
        vec![],
        function!(|args| Ok(unwrap(&args[0])?.as_integer().is_some().into())),
    )?;
    member(
        "asApproximateFloat",
        vec![],
        function!(|args| Ok(unwrap(&args[0])?.as_float().into())),
    )?;
    member("sign", vec![], function!(|args| Ok(unwrap(&args[0])?.sign().into())))?;
    let as_integer = function!(|args| {
        let whole = unwrap(&args[0])?.as_integer();
        whole
            .map(Value::Int)
            .ok_or_else(|| failed("asInteger", "cannot convert value to integer".into()))
    });
    member("asInteger", vec![], as_integer)?;
    let one = || vec![DYN_TYPE];
    member("isGreaterThan", one(), function!(|args| Ok(compare(args)?.is_gt().into())))?;
    member("isLessThan", one(), function!(|args| Ok(compare(args)?.is_lt().into())))?;
    member("compareTo", one(), function!(|args| Ok(Value::Int(compare(args)? as i64))))?;
    member("add", one(), function!(|args| Ok(wrap(unwrap(&args[0])?.plus(unwrap(&args[1])?)))))?;
    member("sub", one(), function!(|args| Ok(wrap(unwrap(&args[0])?.minus(unwrap(&args[1])?)))))
}

fn declare_urls(env: &mut Env) -> Result<(), DeclarationError> {
    let parse = function!(|args| {
        let text = text(&args[0])?;
        let parsed =
            Url::parse(text).ok_or_else(|| failed("url", format!("`{text}` is not a URL")));
        Ok(Value::Opaque(Arc::new(parsed?)))
    });
    env.add_overload("url", "url(string)", vec![STRING_TYPE], parse)?;
    let check = function!(|args| Ok(Url::parse(text(&args[0])?).is_some().into()));
    env.add_overload("isURL", "isURL(string)", vec![STRING_TYPE], check)?;
    let mut member = |name: &str, function| {
        env.add_member_overload(name, &format!("url.{name}()"), DYN_TYPE, vec![], function)
    };
    member(
        "getScheme",
        function!(|args| Ok(url(&args[0])?.0.scheme_str().unwrap_or_default().into())),
    )?;
    let host = function!(|args| {
        Ok(url(&args[0])?.0.authority().map_or("", http::uri::Authority::as_str).into())
    });
    member("getHost", host)?;
    let hostname = function!(|args| {
        let host = url(&args[0])?.0.host().unwrap_or_default();
        Ok(host.trim_start_matches('[').trim_end_matches(']').into())
    });
    member("getHostname", hostname)?;
    let port = function!(|args| {
        Ok(url(&args[0])?.0.port().map_or_else(String::new, |port| port.as_str().to_owned()).into())
    });
    member("getPort", port)?;
    let path = function!(|args| {
        let path = url(&args[0])?.0.path();
        Ok(if path == "/" && !url(&args[0])?.1 { "".into() } else { path.into() })
    });
    member("getEscapedPath", path)?;
    member("getQuery", function!(|args| Ok(query(url(&args[0])?.0.query().unwrap_or_default()))))
}

fn declare_lists(env: &mut Env) -> Result<(), DeclarationError> {
    let mut member = |name: &str, args: Vec<Type>, function| {
        env.add_member_overload(name, &format!("list.{name}()"), LIST_TYPE, args, function)
    };
    let is_sorted = function!(|args| {
        Ok(list(&args[0])?
            .windows(2)
            .all(|pair| pair[0].partial_cmp(&pair[1]).is_some_and(Ordering::is_le))
            .into())
    });
    member("isSorted", vec![], is_sorted)?;
    member("sum", vec![], function!(|args| sum(list(&args[0])?)))?;
    member("min", vec![], function!(|args| extreme("min", list(&args[0])?, Ordering::Less)))?;
    member("max", vec![], function!(|args| extreme("max", list(&args[0])?, Ordering::Greater)))?;
    let index_of =
        function!(|args| { Ok(index(list(&args[0])?.iter().position(|item| *item == args[1]))) });
    member("indexOf", vec![DYN_TYPE], index_of)?;
    let last_index_of =
        function!(|args| { Ok(index(list(&args[0])?.iter().rposition(|item| *item == args[1]))) });
    member("lastIndexOf", vec![DYN_TYPE], last_index_of)?;
    let two = || vec![LIST_TYPE, LIST_TYPE];
    let contains = function!(|args| Ok(contains_all(list(&args[0])?, list(&args[1])?).into()));
    env.add_overload("sets.contains", "sets.contains(list,list)", two(), contains)?;
    let equivalent = function!(|args| {
        let (left, right) = (list(&args[0])?, list(&args[1])?);
        Ok((contains_all(left, right) && contains_all(right, left)).into())
    });
    env.add_overload("sets.equivalent", "sets.equivalent(list,list)", two(), equivalent)?;
    let intersects = function!(|args| {
        let right = list(&args[1])?;
        Ok(list(&args[0])?.iter().any(|item| right.contains(item)).into())
    });
    env.add_overload("sets.intersects", "sets.intersects(list,list)", two(), intersects)
}

fn failed(function: &str, message: String) -> ExecutionError {
    ExecutionError::function_error(function, message)
}

fn unexpected(value: &Value, want: &str) -> ExecutionError {
    ExecutionError::UnexpectedType { got: value.type_of().to_string(), want: want.to_owned() }
}

fn text(value: &Value) -> Result<&str, ExecutionError> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(unexpected(other, "string")),
    }
}

fn list(value: &Value) -> Result<&[Value], ExecutionError> {
    match value {
        Value::List(items) => Ok(items),
        other => Err(unexpected(other, "list")),
    }
}

fn index(found: Option<usize>) -> Value {
    Value::Int(found.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1))
}

fn contains_all(outer: &[Value], inner: &[Value]) -> bool {
    inner.iter().all(|item| outer.contains(item))
}

fn sum(items: &[Value]) -> Answer {
    let mut total = Value::Int(0);
    for (at, item) in items.iter().enumerate() {
        total = match (&total, item) {
            (_, Value::Int(_) | Value::Float(_)) if at == 0 => item.clone(),
            (Value::Int(left), Value::Int(right)) => {
                let sum = left.checked_add(*right);
                Value::Int(sum.ok_or_else(|| failed("sum", "integer overflow".into()))?)
            }
            (Value::Float(left), Value::Float(right)) => Value::Float(left + right),
            _ => return Err(unexpected(item, "number")),
        };
    }
    Ok(total)
}

fn extreme(name: &str, items: &[Value], wanted: Ordering) -> Answer {
    let mut items = items.iter();
    let first = items.next().ok_or_else(|| failed(name, format!("{name} called on empty list")))?;
    let better = |best, item: &Value| {
        if item.partial_cmp(&best) == Some(wanted) { item.clone() } else { best }
    };
    Ok(items.fold(first.clone(), better))
}

fn find(args: &[Value]) -> Answer {
    let regex = pattern::compile(text(&args[1])?).map_err(|why| failed("find", why))?;
    Ok(regex.find(text(&args[0])?).map_or("", |found| found.as_str()).into())
}

fn find_all(args: &[Value]) -> Answer {
    let regex = pattern::compile(text(&args[1])?).map_err(|why| failed("findAll", why))?;
    let most = match args.get(2) {
        Some(Value::Int(most)) => usize::try_from(*most).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    let found = regex.find_iter(text(&args[0])?).take(most);
    Ok(Value::List(Arc::new(found.map(|found| found.as_str().into()).collect())))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct QuantityValue(Quantity);

impl Opaque for QuantityValue {
    fn runtime_type_name(&self) -> &'static str {
        "kubernetes.Quantity"
    }
}

fn wrap(quantity: Quantity) -> Value {
    Value::Opaque(Arc::new(QuantityValue(quantity)))
}

fn unwrap(value: &Value) -> Result<Quantity, ExecutionError> {
    match value {
        Value::Int(whole) => Ok(Quantity::from_integer(*whole)),
        Value::Opaque(opaque) => {
            let quantity = opaque.downcast_ref::<QuantityValue>().map(|quantity| quantity.0);
            quantity.ok_or_else(|| unexpected(value, "kubernetes.Quantity"))
        }
        other => Err(unexpected(other, "kubernetes.Quantity")),
    }
}

fn compare(args: &[Value]) -> Result<Ordering, ExecutionError> {
    Ok(unwrap(&args[0])?.cmp(&unwrap(&args[1])?))
}

/// A URL, and whether it was written with a path.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Url(http::Uri, bool);

impl Opaque for Url {
    fn runtime_type_name(&self) -> &'static str {
        "kubernetes.URL"
    }
}

impl Url {
    /// Parses an absolute URL or an absolute path.
    fn parse(text: &str) -> Option<Self> {
        let uri: http::Uri = text.parse().ok()?;
        if uri.scheme().is_none() && !text.starts_with('/') {
            return None;
        }
        let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        Some(Self(uri, rest.contains('/')))
    }
}

fn url(value: &Value) -> Result<&Url, ExecutionError> {
    let Value::Opaque(opaque) = value else { return Err(unexpected(value, "kubernetes.URL")) };
    opaque.downcast_ref::<Url>().ok_or_else(|| unexpected(value, "kubernetes.URL"))
}

fn query(text: &str) -> Value {
    let mut fields: HashMap<String, Vec<Value>> = HashMap::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        fields.entry(name.to_owned()).or_default().push(value.into());
    }
    fields.into()
}

#[cfg(test)]
mod tests {
    use ::cel::Context;

    use super::*;

    fn holds(source: &str) -> Result<bool, String> {
        let program = environment().compile(source).map_err(|error| error.to_string())?;
        match program.execute(&Context::with_env(environment())) {
            Ok(Value::Bool(answer)) => Ok(answer),
            Ok(other) => Err(format!("{other:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn kubernetes_functions_answer_as_documented() {
        for source in [
            "quantity('1Gi').isGreaterThan(quantity('1G'))",
            "quantity('50k').asInteger() == 50000",
            "quantity('1.5').isInteger() == false",
            "quantity('1').add(quantity('500m')).compareTo(quantity('1500m')) == 0",
            "quantity('50k').sub(20000) == quantity('30k')",
            "isQuantity('1.5Gi') && !isQuantity('1.5GiB')",
            "quantity('-1').sign() == -1",
            "isURL('https://example.com:80/a?b=c') && !isURL('example')",
            "url('https://example.com:80/a?b=c').getHost() == 'example.com:80'",
            "url('https://[::1]:80/a').getHostname() == '::1'",
            "url('https://example.com:80/a?b=c&b=d').getQuery() == {'b': ['c', 'd']}",
            "url('https://example.com').getEscapedPath() == ''",
            "url('https://example.com:80/').getPort() == '80'",
            "'abc 123'.find('[0-9]+') == '123'",
            "'1 2 3'.findAll('[0-9]', 2) == ['1', '2']",
            "[1, 2, 3].isSorted() && ![2, 1].isSorted()",
            "[1, 2, 3].sum() == 6 && [0.5, 0.5].sum() == 1.0",
            "[3, 1].min() == 1 && [3, 1].max() == 3",
            "['a', 'b', 'a'].indexOf('a') == 0 && ['a', 'b', 'a'].lastIndexOf('a') == 2",
            "'abc'.indexOf('c') == 2",
            "sets.contains([1, 2], [2]) && sets.equivalent([1, 2], [2, 1, 1]) && !sets.intersects([1], [2])",
            "isIP('10.0.0.1') && isCIDR('10.0.0.0/8') && !isIP('x')",
            "'%s-%d'.format(['a', 1]) == 'a-1'",
            "'a,b'.split(',') == ['a', 'b'] && 'AB'.lowerAscii() == 'ab'",
            "type('a') == string && type(1) == int && type([]) == list",
            "[1, 2].exists_one(x, x == 1) && [1, 2].map(x, x + 1) == [2, 3]",
            "math.greatest(1, 2) == 2",
        ] {
            assert_eq!(holds(source), Ok(true), "{source}");
        }
    }

    #[test]
    fn every_function_that_the_checker_knows_exists() {
        let named = [BOOL_FUNCTIONS, INT_FUNCTIONS, STRING_FUNCTIONS, OTHER_FUNCTIONS].concat();
        for name in named.into_iter().filter(|name| !name.contains(['_', '@', '!'])) {
            // No function takes these arguments, but an unknown one fails in another way.
            let calls = [format!("{name}(1, 2, 3, 4, 5)"), format!("b''.{name}(1, 2, 3, 4, 5)")];
            let unknown =
                |source: &String| holds(source).is_err_and(|why| why.contains("ndeclared"));
            assert!(!calls.iter().all(unknown), "{name}");
        }
    }

    #[test]
    fn failures_are_errors() {
        for source in ["quantity('x')", "url('x')", "[].min()", "'a'.find('(')"] {
            assert!(holds(&format!("type({source}) == string")).is_err(), "{source}");
        }
    }
}
