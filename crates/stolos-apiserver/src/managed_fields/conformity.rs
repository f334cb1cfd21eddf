//! Whether a configuration that is applied fits the schema: fields are known, items of lists are told apart.
//!
//! Live objects may hold an item twice, so only what is applied is checked.

use std::fmt::Write as _;

use serde_json::Value;

use super::claim::Keyed;
use super::element;
use super::view::{Field, Shape, View};

/// Most errors that are named.
const MAX_ERRORS: usize = 100;

/// Returns what does not fit, each with its place, such as `.spec.foo: field not declared in schema`.
pub(super) fn errors(view: View<'_>, config: &Value) -> Vec<String> {
    let mut checker = Checker::default();
    checker.value(view, config);
    checker.errors
}

#[derive(Default)]
struct Checker {
    path: String,
    errors: Vec<String>,
}

impl Checker {
    fn value(&mut self, view: View<'_>, value: &Value) {
        match value {
            Value::Object(fields) => {
                for (name, child) in fields {
                    self.within(format_args!(".{name}"), |checker| {
                        checker.field(view, name, child)
                    });
                }
            }
            Value::Array(items) => match view.shape(value) {
                Shape::List(list_type) => match Keyed::of(list_type, items) {
                    Ok(keyed) => self.items(view, items, &keyed),
                    Err(why) => self.error(&why),
                },
                Shape::Leaf | Shape::Map => {
                    for (index, item) in items.iter().enumerate() {
                        let step = format_args!("[{index}]");
                        self.within(step, |checker| checker.value(view.item(), item));
                    }
                }
            },
            _ => {}
        }
    }

    fn field(&mut self, view: View<'_>, name: &str, child: &Value) {
        match view.field(name) {
            Field::Owned { view, .. } if child.is_array() || child.is_object() => {
                self.value(view, child);
            }
            Field::Unknown => self.error("field not declared in schema"),
            Field::Owned { .. } | Field::Server | Field::Reset => {}
        }
    }

    fn items(&mut self, view: View<'_>, items: &[Value], keyed: &[Keyed]) {
        for group in keyed.chunk_by(Keyed::same) {
            let step = element::display(&group[0].element);
            if group.len() > 1 {
                self.error(&format!("duplicate entries for key {step}"));
            }
            for item in group {
                self.within(format_args!("{step}"), |checker| {
                    checker.value(view.item(), &items[item.position]);
                });
            }
        }
    }

    fn error(&mut self, why: &str) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(format!("{}: {why}", self.path));
        }
    }

    fn within(&mut self, step: std::fmt::Arguments<'_>, visit: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        let _ = self.path.write_fmt(step);
        visit(self);
        self.path.truncate(length);
    }
}
