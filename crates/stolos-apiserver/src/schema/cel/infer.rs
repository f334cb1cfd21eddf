//! Which types fit which, with types that are found out while checking. The rules are those of the checker of cel-go.

use std::sync::Arc;

use super::types::Type;

/// What is known of the types that are found out.
#[derive(Clone, Debug, Default)]
pub(super) struct Inference {
    found: Vec<Option<Type>>,
}

impl Inference {
    /// Returns a type that is to be found out.
    pub(super) fn fresh(&mut self) -> Type {
        self.found.push(None);
        Type::Param(self.found.len() - 1)
    }

    /// Makes the parameters of a declaration types of their own, to be found out.
    pub(super) fn instantiate(&mut self, params: usize, types: &mut [Type]) {
        let fresh: Vec<Type> = (0..params).map(|_| self.fresh()).collect();
        for type_ in types {
            *type_ = replace(type_, &|param| fresh.get(param).cloned());
        }
    }

    /// Reports whether a type fits another, and remembers what that says about types to be found out.
    pub(super) fn fits(&mut self, type_: &Type, wanted: &Type) -> bool {
        self.all_fit(std::slice::from_ref(type_), std::slice::from_ref(wanted))
    }

    /// As [`Inference::fits`], for several at once: nothing is remembered unless all fit.
    pub(super) fn all_fit(&mut self, types: &[Type], wanted: &[Type]) -> bool {
        if types.len() != wanted.len() {
            return false;
        }
        let mut attempt = self.clone();
        let fit = types.iter().zip(wanted).all(|(type_, wanted)| attempt.assign(type_, wanted));
        if fit {
            *self = attempt;
        }
        fit
    }

    /// Fills in what was found out.
    pub(super) fn resolve(&self, type_: &Type) -> Type {
        replace(type_, &|param| {
            let found = self.found.get(param)?.as_ref()?;
            Some(self.resolve(found))
        })
    }

    /// As [`Inference::resolve`]; what was not found out is dynamic.
    pub(super) fn settle(&self, type_: &Type) -> Type {
        replace(&self.resolve(type_), &|_| Some(Type::Dyn))
    }

    fn assign(&mut self, left: &Type, right: &Type) -> bool {
        if let Type::Param(param) = right {
            match self.substitute(left, *param) {
                Some(fits) => return fits,
                None if !matches!(left, Type::Param(_)) => return false,
                None => {}
            }
        }
        if let Type::Param(param) = left {
            return self.substitute(right, *param).unwrap_or(false);
        }
        if left.is_dyn() || right.is_dyn() {
            return true;
        }
        match (left, right) {
            (Type::Null, other) | (other, Type::Null) => is_nullable(other),
            (Type::Opaque(left), Type::Opaque(right)) => left == right,
            (Type::List(left), Type::List(right))
            | (Type::Optional(left), Type::Optional(right)) => self.assign(left, right),
            (Type::Map(key, value), Type::Map(other_key, other_value)) => {
                self.assign(key, other_key) && self.assign(value, other_value)
            }
            (Type::Object(left), Type::Object(right)) => left == right,
            (Type::TypeOf(_), Type::TypeOf(_)) => true,
            _ => std::mem::discriminant(left) == std::mem::discriminant(right),
        }
    }

    /// Reports whether a type may stand for one that is to be found out; none if that would contain itself.
    fn substitute(&mut self, type_: &Type, param: usize) -> Option<bool> {
        if *type_ == Type::Param(param) {
            return Some(true);
        }
        match self.found.get(param).cloned().flatten() {
            Some(known) => {
                if known == *type_ {
                    return Some(true);
                }
                if !self.assign(type_, &known) {
                    return Some(false);
                }
                let general = more_general(type_, &known);
                if !self.contains(&general, param) {
                    self.found[param] = Some(general);
                }
                Some(true)
            }
            None if self.contains(type_, param) => None,
            None => {
                self.found[param] = Some(type_.clone());
                Some(true)
            }
        }
    }

    fn contains(&self, type_: &Type, param: usize) -> bool {
        match type_ {
            Type::Param(other) => {
                *other == param
                    || self
                        .found
                        .get(*other)
                        .and_then(Option::as_ref)
                        .is_some_and(|found| self.contains(found, param))
            }
            other => other.parts().into_iter().any(|part| self.contains(part, param)),
        }
    }
}

fn is_nullable(type_: &Type) -> bool {
    matches!(
        type_,
        Type::Null
            | Type::Object(_)
            | Type::Duration
            | Type::Timestamp
            | Type::Opaque(_)
            | Type::Optional(_)
    )
}

/// Returns the one that says less.
pub(super) fn more_general(left: &Type, right: &Type) -> Type {
    if says_no_more(left, right) { left.clone() } else { right.clone() }
}

fn says_no_more(left: &Type, right: &Type) -> bool {
    match (left, right) {
        (Type::Dyn | Type::Error | Type::Param(_), _) => true,
        (_, Type::Dyn | Type::Error | Type::Param(_)) => false,
        _ if std::mem::discriminant(left) != std::mem::discriminant(right) => false,
        _ => left
            .parts()
            .into_iter()
            .zip(right.parts())
            .all(|(left, right)| says_no_more(left, right)),
    }
}

fn replace(type_: &Type, find: &dyn Fn(usize) -> Option<Type>) -> Type {
    match type_ {
        Type::Param(param) => find(*param).unwrap_or_else(|| type_.clone()),
        Type::List(element) => Type::List(Arc::new(replace(element, find))),
        Type::Optional(value) => Type::Optional(Arc::new(replace(value, find))),
        Type::TypeOf(type_) => Type::TypeOf(Arc::new(replace(type_, find))),
        Type::Map(key, value) => {
            Type::Map(Arc::new(replace(key, find)), Arc::new(replace(value, find)))
        }
        other => other.clone(),
    }
}
