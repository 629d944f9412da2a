//! Walks the tree and writes.

use std::rc::Rc;

use serde_json::Value;

use super::parse::{Branch, Call, Expr, ExprKind, Node, Pipe, Tree};
use super::{Missing, TemplateError, funcs};

const MAX_TEMPLATE_DEPTH: usize = 100;
/// Of output, and of all that functions made on the way to it.
const MAX_OUTPUT_BYTES: usize = 64 << 20;
const MAX_STEPS: u64 = 2_000_000;

/// A value on its way through a template: borrowed while it is part of the data.
pub(super) type Val = Rc<Value>;

pub(super) fn execute(
    source: &str,
    tree: &Tree,
    data: &Value,
    missing: Missing,
) -> Result<String, TemplateError> {
    let root: Val = Rc::new(data.clone());
    let mut exec = Exec {
        source,
        tree,
        missing,
        out: String::new(),
        variables: vec![("$".to_owned(), root.clone())],
        root: root.clone(),
        depth: 0,
        steps: 0,
        made_bytes: 0,
        header: data.get(funcs::HEADER).is_some(),
    };
    exec.list(&tree.root, &root)?;
    Ok(exec.out)
}

/// Whether to go on after a node.
#[derive(PartialEq)]
enum Flow {
    Next,
    Break,
    Continue,
}

struct Exec<'a> {
    source: &'a str,
    tree: &'a Tree,
    missing: Missing,
    out: String,
    variables: Vec<(String, Val)>,
    root: Val,
    depth: usize,
    steps: u64,
    made_bytes: usize,
    /// The row of headers: Docker's own functions leave it as it is.
    header: bool,
}

impl Exec<'_> {
    fn error(&self, expr: &Expr, message: impl Into<String>) -> TemplateError {
        TemplateError::exec(self.source, expr.start, expr.end, message)
    }

    fn step(&mut self, at: usize) -> Result<(), TemplateError> {
        self.steps += 1;
        if self.steps > MAX_STEPS || self.out.len() + self.made_bytes > MAX_OUTPUT_BYTES {
            return Err(TemplateError::exec(self.source, at, at, "template does or writes too much"));
        }
        Ok(())
    }

    fn list(&mut self, nodes: &[Node], dot: &Val) -> Result<Flow, TemplateError> {
        for node in nodes {
            let flow = self.node(node, dot)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &Node, dot: &Val) -> Result<Flow, TemplateError> {
        match node {
            Node::Text(text) => {
                self.step(0)?;
                self.out.push_str(text);
            }
            Node::Action(pipe) => {
                let value = self.pipe(pipe, dot)?;
                if pipe.variables.is_empty() {
                    self.out.push_str(&funcs::show(&value));
                }
            }
            Node::If(branch) | Node::With(branch) => {
                return self.either(branch, matches!(node, Node::With(_)), dot);
            }
            Node::Range(branch) => return self.range(branch, dot),
            Node::Template { name, pipe, at } => self.template(name, pipe.as_ref(), *at, dot)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn either(&mut self, branch: &Branch, with: bool, dot: &Val) -> Result<Flow, TemplateError> {
        let scope = self.variables.len();
        let value = self.pipe(&branch.pipe, dot)?;
        let flow = if funcs::truth(&value) {
            self.list(&branch.then, if with { &value } else { dot })
        } else {
            self.list(&branch.otherwise, dot)
        };
        self.variables.truncate(scope);
        flow
    }

    fn range(&mut self, branch: &Branch, dot: &Val) -> Result<Flow, TemplateError> {
        let scope = self.variables.len();
        let value = self.pipe_value(&branch.pipe, dot)?;
        let pairs: Box<dyn Iterator<Item = (Value, Value)>> = match &*value {
            Value::Array(items) => {
                Box::new(items.iter().cloned().enumerate().map(|(i, item)| (Value::from(i), item)))
            }
            Value::Object(map) => {
                let mut keys: Vec<&String> =
                    map.keys().filter(|key| !key.starts_with(funcs::HIDDEN)).collect();
                keys.sort();
                Box::new(keys.into_iter().map(|key| (Value::from(key.as_str()), map[key].clone())))
            }
            Value::Number(n) if n.is_i64() || n.is_u64() => {
                let count = n.as_u64().unwrap_or(0);
                Box::new((0..count).map(|i| (Value::from(i), Value::from(i))))
            }
            Value::Null => Box::new(std::iter::empty()),
            other => {
                let message = format!("range can't iterate over {}", funcs::show(other));
                return Err(self.pipe_error(&branch.pipe, message));
            }
        };
        let mut any = false;
        for (key, item) in pairs {
            any = true;
            self.step(0)?;
            let item: Val = Rc::new(item);
            match &branch.pipe.variables[..] {
                [] => {}
                [element] => self.bind(element, item.clone(), branch.pipe.assigns),
                [index, element, ..] => {
                    self.bind(index, Rc::new(key), branch.pipe.assigns);
                    self.bind(element, item.clone(), branch.pipe.assigns);
                }
            }
            let flow = self.list(&branch.then, &item)?;
            self.variables.truncate(scope);
            if flow == Flow::Break {
                break;
            }
        }
        let flow = if any { Ok(Flow::Next) } else { self.list(&branch.otherwise, dot) };
        self.variables.truncate(scope);
        flow
    }

    fn template(
        &mut self,
        name: &str,
        pipe: Option<&Pipe>,
        at: usize,
        dot: &Val,
    ) -> Result<(), TemplateError> {
        let fail = |message: String| TemplateError::exec(self.source, at, at, message);
        let Some(nodes) = self.tree.defined.get(name).cloned() else {
            return Err(fail(format!("template {name:?} not defined")));
        };
        if self.depth >= MAX_TEMPLATE_DEPTH {
            return Err(fail(format!("exceeded maximum template depth ({MAX_TEMPLATE_DEPTH})")));
        }
        self.step(at)?;
        let data = match pipe {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Rc::new(Value::Null),
        };
        let outer = std::mem::replace(&mut self.variables, vec![("$".to_owned(), data.clone())]);
        self.depth += 1;
        self.list(&nodes, &data)?;
        self.depth -= 1;
        self.variables = outer;
        Ok(())
    }

    fn bind(&mut self, name: &str, value: Val, assigns: bool) {
        if assigns {
            if let Some(slot) = self.variables.iter_mut().rev().find(|(known, _)| known == name) {
                slot.1 = value;
            }
        } else {
            self.variables.push((name.to_owned(), value));
        }
    }

    /// The value, and its variable if it has one.
    fn pipe(&mut self, pipe: &Pipe, dot: &Val) -> Result<Val, TemplateError> {
        let value = self.pipe_value(pipe, dot)?;
        if let [name] = &pipe.variables[..] {
            self.bind(name, value.clone(), pipe.assigns);
        }
        Ok(value)
    }

    fn pipe_value(&mut self, pipe: &Pipe, dot: &Val) -> Result<Val, TemplateError> {
        let mut last = None;
        for call in &pipe.commands {
            last = Some(self.call(call, dot, last)?);
        }
        Ok(last.unwrap_or_default())
    }

    fn pipe_error(&self, pipe: &Pipe, message: String) -> TemplateError {
        match pipe.commands.first().and_then(|call| call.args.first()) {
            Some(expr) => self.error(expr, message),
            None => TemplateError::exec(self.source, 0, 0, message),
        }
    }

    /// One command of a pipeline; `last` is what the one before it gave.
    fn call(&mut self, call: &Call, dot: &Val, last: Option<Val>) -> Result<Val, TemplateError> {
        let (first, rest) = (&call.args[0], &call.args[1..]);
        self.step(first.start)?;
        if let ExprKind::Function(name) = &first.kind {
            return self.function(name, first, rest, dot, last);
        }
        let value = self.operand(first, dot)?;
        if rest.is_empty() && last.is_none() {
            return Ok(value);
        }
        // A field that is a lookup: `.Label "name"`.
        if let ExprKind::Field(names) = &first.kind
            && let Value::Object(map) = &*value
            && let [argument] = rest
            && names.last().is_some_and(|name| self.hidden(dot, names.len(), name))
        {
            let key = self.operand(argument, dot)?;
            if self.header {
                let name = key.as_str().unwrap_or_default().rsplit('.').next().unwrap_or_default();
                return Ok(Rc::new(name.replace(['-', '_'], " ").into()));
            }
            return Ok(Rc::new(
                key.as_str().and_then(|key| map.get(key)).cloned().unwrap_or_else(|| "".into()),
            ));
        }
        let text = &self.source[first.start..first.end];
        Err(self.error(
            first,
            match first.kind {
                ExprKind::Field(_) | ExprKind::Chain(..) | ExprKind::Variable(..) => {
                    format!("{} is not a method but has arguments", text.trim_start_matches('.'))
                }
                _ => format!("can't give argument to non-function {text}"),
            },
        ))
    }

    fn hidden(&self, dot: &Val, fields: usize, name: &str) -> bool {
        fields == 1 && dot.get(format!("{}{name}", funcs::HIDDEN)).is_some()
    }

    fn function(
        &mut self,
        name: &str,
        first: &Expr,
        rest: &[Expr],
        dot: &Val,
        last: Option<Val>,
    ) -> Result<Val, TemplateError> {
        // `and` and `or` stop at the first argument that decides.
        if name == "and" || name == "or" {
            let mut value = None;
            for expr in rest {
                let next = self.operand(expr, dot)?;
                let decided = funcs::truth(&next) == (name == "or");
                value = Some(next);
                if decided {
                    return Ok(value.unwrap_or_default());
                }
            }
            return last.or(value).ok_or_else(|| {
                self.error(first, format!("wrong number of args for {name}: want at least 1 got 0"))
            });
        }
        let mut args = Vec::with_capacity(rest.len() + 1);
        for expr in rest {
            args.push(self.operand(expr, dot)?);
        }
        args.extend(last);
        if self.header && funcs::is_dockers(name) && !args.is_empty() {
            return Ok(args.swap_remove(0));
        }
        let value = funcs::call(name, &args).map_err(|error| {
            let message = match error {
                funcs::Error::Count(message) => message,
                funcs::Error::Call(message) => format!("error calling {name}: {message}"),
            };
            self.error(first, message)
        })?;
        self.made_bytes += value.as_str().map_or(0, str::len);
        Ok(Rc::new(value))
    }

    fn operand(&mut self, expr: &Expr, dot: &Val) -> Result<Val, TemplateError> {
        self.step(expr.start)?;
        match &expr.kind {
            ExprKind::Dot => Ok(dot.clone()),
            ExprKind::Nil => Ok(Rc::new(Value::Null)),
            ExprKind::Bool(value) => Ok(Rc::new(Value::from(*value))),
            ExprKind::Int(value) => Ok(Rc::new(Value::from(*value))),
            ExprKind::Float(value) => Ok(Rc::new(Value::from(*value))),
            ExprKind::Str(text) => Ok(Rc::new(Value::from(text.as_str()))),
            ExprKind::Function(name) => self.function(name, expr, &[], dot, None),
            ExprKind::Pipe(pipe) => self.pipe(pipe, dot),
            ExprKind::Field(names) => self.fields(expr, dot.clone(), names),
            ExprKind::Chain(inner, names) => {
                let value = self.operand(inner, dot)?;
                self.fields(expr, value, names)
            }
            ExprKind::Variable(name, names) => {
                let value = self.variables.iter().rev().find(|(known, _)| known == name);
                let value = value.map(|(_, value)| value.clone()).unwrap_or_default();
                self.fields(expr, value, names)
            }
        }
    }

    fn fields(&self, expr: &Expr, mut value: Val, names: &[String]) -> Result<Val, TemplateError> {
        for name in names {
            value = self.field(expr, &value, name)?;
        }
        Ok(value)
    }

    fn field(&self, expr: &Expr, value: &Val, name: &str) -> Result<Val, TemplateError> {
        match &**value {
            Value::Object(map) => {
                if let Some(found) = map.get(name).or_else(|| map.get(&format!("{}{name}", funcs::HIDDEN))) {
                    return Ok(Rc::new(found.clone()));
                }
                let row = Rc::ptr_eq(value, &self.root);
                match self.missing {
                    Missing::Field(of) if row => {
                        Err(self.error(expr, format!("can't evaluate field {name} in type {of}")))
                    }
                    // Labels and the like are maps in Docker's types, where a missing key is no error.
                    _ if funcs::is_plain_map(map) => Ok(Rc::new(Value::Null)),
                    _ => Err(self.error(expr, format!("map has no entry for key {name:?}"))),
                }
            }
            Value::Null => Err(self.error(expr, format!("nil data; no entry for key {name:?}"))),
            other => {
                Err(self
                    .error(expr, format!("can't evaluate field {name} in type {}", funcs::go_type(other))))
            }
        }
    }
}
