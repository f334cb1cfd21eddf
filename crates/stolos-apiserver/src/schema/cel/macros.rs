//! Macros: calls that stand for loops, conditions and tests. They are those of kube-apiserver 1.34.

use ::cel::common::ast::{
    CallExpr, ComprehensionExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr, operators as op,
};
use ::cel::parser::{Macro, MacroExprHelper};
use ::cel::{Env, ParseError};

/// Returns the environment that knows the macros, and nothing else.
pub(super) fn environment() -> Env {
    // The standard macros of the crate know `existsOne`, which kube-apiserver's do not.
    let mut env = Env::default();
    let two_variables = |name: &'static str, expand: Expand| Macro::receiver(name, 3, expand);
    let with_filter = |name: &'static str, expand: Expand| Macro::receiver(name, 4, expand);
    let opt = |name: &'static str, expand: Expand| Macro::receiver(name, 2, expand);
    for added in [
        Macro::global("has", 1, has),
        opt("all", all),
        opt("exists", exists),
        opt("exists_one", exists_one),
        opt("map", map),
        two_variables("map", map),
        opt("filter", filter),
        opt("optMap", opt_map),
        opt("optFlatMap", opt_flat_map),
        two_variables("all", all),
        two_variables("exists", exists),
        two_variables("exists_one", exists_one),
        two_variables("existsOne", exists_one),
        two_variables("transformList", transform_list),
        with_filter("transformList", transform_list),
        two_variables("transformMap", transform_map),
        with_filter("transformMap", transform_map),
        two_variables("transformMapEntry", transform_map_entry),
        with_filter("transformMapEntry", transform_map_entry),
    ] {
        env.add_macro(added).expect("no macro is added twice");
    }
    env
}

type Helper<'a> = MacroExprHelper<'a>;
type Expansion = Result<Option<IdedExpr>, ParseError>;
type Expand = fn(&mut Helper<'_>, &mut Option<IdedExpr>, &mut Vec<IdedExpr>) -> Expansion;

/// Variable that gathers the result of a loop.
const RESULT: &str = "@result";

fn name(helper: &Helper<'_>, expression: &IdedExpr, why: &str) -> Result<String, ParseError> {
    match &expression.expr {
        Expr::Ident(name) => Ok(name.clone()),
        _ => Err(helper.new_error(expression.id, why)),
    }
}

fn ident(helper: &mut Helper<'_>, name: &str) -> IdedExpr {
    helper.next_expr(Expr::Ident(name.to_owned()))
}

fn call(helper: &mut Helper<'_>, name: &str, args: Vec<IdedExpr>) -> IdedExpr {
    helper.next_expr(Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args }))
}

fn member(helper: &mut Helper<'_>, target: IdedExpr, name: &str) -> IdedExpr {
    let target = Some(Box::new(target));
    helper.next_expr(Expr::Call(CallExpr { func_name: name.to_owned(), target, args: Vec::new() }))
}

fn boolean(helper: &mut Helper<'_>, value: bool) -> IdedExpr {
    helper.next_expr(Expr::Literal(LiteralValue::Boolean(value.into())))
}

/// A value under a name: a loop over nothing whose gathered value is the named one.
fn named(helper: &mut Helper<'_>, name: &str, value: IdedExpr, result: IdedExpr) -> IdedExpr {
    let loop_ = ComprehensionExpr {
        iter_range: helper.next_expr(Expr::List(ListExpr::default())),
        iter_var: "#unused".to_owned(),
        iter_var2: None,
        accu_var: name.to_owned(),
        accu_init: value,
        loop_cond: boolean(helper, false),
        loop_step: ident(helper, name),
        result,
    };
    helper.next_expr(Expr::Comprehension(Box::new(loop_)))
}

fn opt_map(
    helper: &mut Helper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
) -> Expansion {
    opt(helper, target, args, true)
}

fn opt_flat_map(
    helper: &mut Helper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
) -> Expansion {
    opt(helper, target, args, false)
}

fn opt(
    helper: &mut Helper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
    wraps: bool,
) -> Expansion {
    let function = if wraps { "optMap" } else { "optFlatMap" };
    let name =
        name(helper, &args[0], &format!("{function}() variable name must be a simple identifier"))?;
    let (Some(target), Some(result)) = (target.take(), args.pop()) else { return Ok(None) };
    let test = member(helper, target.clone(), "hasValue");
    let value = member(helper, target, "value");
    let mapped = named(helper, &name, value, result);
    let mapped = if wraps { call(helper, "optional.of", vec![mapped]) } else { mapped };
    let none = call(helper, "optional.none", Vec::new());
    Ok(Some(call(helper, op::CONDITIONAL, vec![test, mapped, none])))
}

/// What differs between loops.
struct Fold {
    initial: IdedExpr,
    condition: IdedExpr,
    step: IdedExpr,
    result: IdedExpr,
}

/// One or two variables.
type Names = (String, Option<String>);

/// Reads the variables of a loop, of which its last argument is none.
fn names(helper: &Helper<'_>, args: &[IdedExpr]) -> Result<Names, ParseError> {
    let first = name(helper, &args[0], "argument must be a simple name")?;
    if args.len() < 3 {
        return Ok((first, None));
    }
    let second = name(helper, &args[1], "argument must be a simple name")?;
    if first == second {
        let why = format!("duplicate variable name: {first}");
        return Err(helper.new_error(args[1].id, why));
    }
    Ok((first, Some(second)))
}

fn has(helper: &mut Helper<'_>, _: &mut Option<IdedExpr>, args: &mut Vec<IdedExpr>) -> Expansion {
    let Some(argument) = args.pop() else { return Ok(None) };
    match argument.expr {
        Expr::Select(mut select) => {
            select.test = true;
            Ok(Some(helper.next_expr(Expr::Select(select))))
        }
        _ => Err(helper.new_error(argument.id, "invalid argument to has() macro")),
    }
}

/// `map(x, transform)` and `map(x, filter, transform)`.
fn map(
    helper: &mut Helper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
) -> Expansion {
    let names = (name(helper, &args[0], "argument is not an identifier")?, None);
    let Some(transform) = args.pop() else { return Ok(None) };
    let filter = if args.len() > 1 { args.pop() } else { None };
    Ok(gather(helper, target, names, filter, transform))
}

fn filter(
    helper: &mut Helper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
) -> Expansion {
    let variable = name(helper, &args[0], "argument is not an identifier")?;
    let filter = args.pop();
    let kept = ident(helper, &variable);
    Ok(gather(helper, target, (variable, None), filter, kept))
}

fn fold(
    helper: &mut Helper<'_>,
    target: &mut Option<IdedExpr>,
    (first, second): Names,
    fold: Fold,
) -> Option<IdedExpr> {
    let range = target.take()?;
    let loop_ = ComprehensionExpr {
        iter_range: range,
        iter_var: first,
        iter_var2: second,
        accu_var: RESULT.to_owned(),
        accu_init: fold.initial,
        loop_cond: fold.condition,
        loop_step: fold.step,
        result: fold.result,
    };
    Some(helper.next_expr(Expr::Comprehension(Box::new(loop_))))
}

fn all(
    helper: &mut Helper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
) -> Expansion {
    let names = names(helper, args)?;
    let Some(predicate) = args.pop() else { return Ok(None) };
    let gathered = ident(helper, RESULT);
    let condition = call(helper, op::NOT_STRICTLY_FALSE, vec![gathered]);
    let gathered = ident(helper, RESULT);
    let step = call(helper, op::LOGICAL_AND, vec![gathered, predicate]);
    let parts =
        Fold { initial: boolean(helper, true), condition, step, result: ident(helper, RESULT) };
    Ok(fold(helper, target, names, parts))
}

fn exists(
    helper: &mut Helper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
) -> Expansion {
    let names = names(helper, args)?;
    let Some(predicate) = args.pop() else { return Ok(None) };
    let gathered = ident(helper, RESULT);
    let not = call(helper, op::LOGICAL_NOT, vec![gathered]);
    let condition = call(helper, op::NOT_STRICTLY_FALSE, vec![not]);
    let gathered = ident(helper, RESULT);
    let step = call(helper, op::LOGICAL_OR, vec![gathered, predicate]);
    let parts =
        Fold { initial: boolean(helper, false), condition, step, result: ident(helper, RESULT) };
    Ok(fold(helper, target, names, parts))
}

fn exists_one(
    helper: &mut Helper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
) -> Expansion {
    let names = names(helper, args)?;
    let Some(predicate) = args.pop() else { return Ok(None) };
    let number = |helper: &mut Helper<'_>, value: i64| {
        helper.next_expr(Expr::Literal(LiteralValue::Int(value.into())))
    };
    let (gathered, one) = (ident(helper, RESULT), number(helper, 1));
    let more = call(helper, op::ADD, vec![gathered, one]);
    let same = ident(helper, RESULT);
    let step = call(helper, op::CONDITIONAL, vec![predicate, more, same]);
    let (gathered, one) = (ident(helper, RESULT), number(helper, 1));
    let result = call(helper, op::EQUALS, vec![gathered, one]);
    let parts = Fold { initial: number(helper, 0), condition: boolean(helper, true), step, result };
    Ok(fold(helper, target, names, parts))
}

/// Keeps what was gathered where the filter, if there is one, does not hold.
fn filtered(helper: &mut Helper<'_>, filter: Option<IdedExpr>, step: IdedExpr) -> IdedExpr {
    match filter {
        None => step,
        Some(filter) => {
            let same = ident(helper, RESULT);
            call(helper, op::CONDITIONAL, vec![filter, step, same])
        }
    }
}

fn transform_list(
    helper: &mut Helper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
) -> Expansion {
    let names = names(helper, args)?;
    let (filter, Some(transform)) = filter_and_transform(args) else { return Ok(None) };
    Ok(gather(helper, target, names, filter, transform))
}

/// Gathers a list.
fn gather(
    helper: &mut Helper<'_>,
    target: &mut Option<IdedExpr>,
    names: Names,
    filter: Option<IdedExpr>,
    transform: IdedExpr,
) -> Option<IdedExpr> {
    let gathered = ident(helper, RESULT);
    let added = helper.next_expr(Expr::List(ListExpr::new(vec![transform])));
    let step = call(helper, op::ADD, vec![gathered, added]);
    let step = filtered(helper, filter, step);
    let initial = helper.next_expr(Expr::List(ListExpr::default()));
    let condition = boolean(helper, true);
    let parts = Fold { initial, condition, step, result: ident(helper, RESULT) };
    fold(helper, target, names, parts)
}

fn transform_map(
    helper: &mut Helper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
) -> Expansion {
    let names = names(helper, args)?;
    let (filter, Some(transform)) = filter_and_transform(args) else { return Ok(None) };
    let (gathered, key) = (ident(helper, RESULT), ident(helper, &names.0));
    let step = call(helper, "cel.@mapInsert", vec![gathered, key, transform]);
    Ok(map_fold(helper, target, names, filter, step))
}

fn transform_map_entry(
    helper: &mut Helper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
) -> Expansion {
    let names = names(helper, args)?;
    let (filter, Some(transform)) = filter_and_transform(args) else { return Ok(None) };
    let gathered = ident(helper, RESULT);
    let step = call(helper, "cel.@mapInsert", vec![gathered, transform]);
    Ok(map_fold(helper, target, names, filter, step))
}

fn map_fold(
    helper: &mut Helper<'_>,
    target: &mut Option<IdedExpr>,
    names: Names,
    filter: Option<IdedExpr>,
    step: IdedExpr,
) -> Option<IdedExpr> {
    let step = filtered(helper, filter, step);
    let initial = helper.next_expr(Expr::Map(MapExpr::default()));
    let parts =
        Fold { initial, condition: boolean(helper, true), step, result: ident(helper, RESULT) };
    fold(helper, target, names, parts)
}

fn filter_and_transform(args: &mut Vec<IdedExpr>) -> (Option<IdedExpr>, Option<IdedExpr>) {
    let transform = args.pop();
    (if args.len() > 2 { args.pop() } else { None }, transform)
}
