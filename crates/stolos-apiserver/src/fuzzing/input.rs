//! Structured input from bytes: each decision takes one byte, and when there are none left every answer is the simplest.

use serde_json::{Map, Value, json};

/// Depth of generated values; deeper ones find nothing that this depth does not.
const MAX_DEPTH: usize = 3;

/// Bytes that decide what a generator makes.
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Returns a number below `n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n.max(1)
    }

    pub(super) fn flag(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    pub(super) fn pick<'b, T: ?Sized>(&mut self, choices: &[&'b T]) -> &'b T {
        choices[self.below(choices.len())]
    }

    /// Returns what is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Makes a JSON value from few names and scalars, so that two of them have much in common.
    pub(super) fn value(&mut self) -> Value {
        self.value_below(MAX_DEPTH)
    }

    fn value_below(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 5 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.flag()),
            2 => json!(self.below(4)),
            3 => json!(self.pick(&["a", "b", ""])),
            4 => json!(-1.5),
            5 => (0..self.below(4)).map(|_| self.value_below(depth - 1)).collect(),
            _ => Value::Object(self.fields(depth - 1)),
        }
    }

    fn fields(&mut self, depth: usize) -> Map<String, Value> {
        let n = self.below(4);
        let field = |_| {
            let name = self.pick(&["a", "b", "c", "", "a/b", "m~n", "0", "-"]).to_owned();
            (name, self.value_below(depth))
        };
        (0..n).map(field).collect()
    }
}

/// Reads JSON documents that stand one after the other; those that are missing or malformed are null.
pub(super) fn documents<const N: usize>(bytes: &[u8]) -> [Value; N] {
    let mut documents = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
    std::array::from_fn(|_| documents.next().and_then(Result::ok).unwrap_or(Value::Null))
}

/// Reads bytes as text; what is no UTF-8 becomes replacement characters.
pub(super) fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
