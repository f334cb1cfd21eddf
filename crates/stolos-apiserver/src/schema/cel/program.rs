//! Compiled expressions.

use std::fmt;
use std::sync::Arc;

use super::check;
use super::error::Error;
use super::eval::{self, Variables};
use super::node::{self, Node, Op};
use super::source::{self, Issue};
use super::types::Type;
use super::value::Value;

/// Most levels of an expression; deeper ones could exhaust the stack of a thread.
const MAX_DEPTH: usize = 250;
/// Most operators and brackets of a text, each of which may add a level.
const MAX_OPERATORS: usize = 4_000;
/// Stack to compile on; the parser takes less than 32 KiB for a level, and memory that it does not touch costs nothing.
const STACK: usize = 128 << 20;

/// The variables that expressions may use, with their types.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: Vec<(Arc<str>, Type)>,
}

impl Environment {
    /// Returns an environment without variables.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a variable. Names may be qualified, such as `authorizer.requestResource`.
    #[must_use]
    pub fn with(mut self, name: &str, type_: Type) -> Self {
        self.variables.push((name.into(), type_));
        self
    }

    /// Compiles an expression.
    ///
    /// # Errors
    /// Returns all that is wrong with it, each with its place, as cel-go prints it: `ERROR: <input>:1:5: undefined field…`.
    pub fn compile(&self, source: &str) -> Result<Program, String> {
        let root = self.check(source).map_err(|issues| source::display(source, &issues))?;
        let mut names: Vec<Arc<str>> = Vec::new();
        root.walk(&mut |node| {
            if let Op::Variable(name) = &node.op
                && !names.contains(name)
            {
                names.push(name.clone());
            }
        });
        Ok(Program { source: source.into(), root, names })
    }

    fn check(&self, source: &str) -> Result<Node, Vec<Issue>> {
        let operators = source.bytes().filter(|byte| b"+-*/%.[({!<>=?:".contains(byte)).count();
        if operators > MAX_OPERATORS {
            return Err(vec![too_deep()]);
        }
        std::thread::scope(|scope| {
            let builder = std::thread::Builder::new().stack_size(STACK);
            let compiled = builder.spawn_scoped(scope, || self.check_here(source));
            match compiled.map(std::thread::ScopedJoinHandle::join) {
                Ok(Ok(compiled)) => compiled,
                Ok(Err(_)) | Err(_) => Err(vec![too_deep()]),
            }
        })
    }

    fn check_here(&self, source: &str) -> Result<Node, Vec<Issue>> {
        let parsed = source::parse(source)?;
        let root = check::check(source, &parsed, &self.variables)?;
        super::literals::check(source, &parsed, &root)?;
        if node::depth(&root) > MAX_DEPTH { Err(vec![too_deep()]) } else { Ok(root) }
    }
}

fn too_deep() -> Issue {
    Issue { line: 1, column: 0, text: format!("expression recursion limit exceeded: {MAX_DEPTH}") }
}

/// A compiled expression.
pub struct Program {
    source: Arc<str>,
    pub(super) root: Node,
    names: Vec<Arc<str>>,
}

impl Program {
    /// Returns the expression as written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Returns the type of the result.
    #[must_use]
    pub fn result_type(&self) -> &Type {
        &self.root.type_
    }

    /// Reports whether the expression reads a variable.
    #[must_use]
    pub fn uses(&self, variable: &str) -> bool {
        self.names.iter().any(|name| **name == *variable)
    }

    /// Tries what can be evaluated without variables.
    ///
    /// # Errors
    /// Fails when the conversion of a literal fails; kube-apiserver reports that as `instantiation failed`.
    pub fn instantiate(&self) -> Result<(), String> {
        super::literals::convert(&self.root)
    }

    /// Evaluates the expression. It fails once it has cost more than `limit`. Returns the cost as well.
    pub fn evaluate<'a>(
        &self,
        variables: &dyn Variables<'a>,
        limit: u64,
    ) -> (Result<Value<'a>, Error>, u64) {
        eval::evaluate(&self.root, variables, limit)
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Program").field(&self.source).finish()
    }
}
