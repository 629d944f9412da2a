//! From words to a tree, by text/template's grammar.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::lex::{Kind, Token, lex};
use super::{TemplateError, funcs};

/// Blocks in blocks and parentheses in parentheses.
const MAX_DEPTH: usize = 64;

#[derive(Debug, Clone)]
pub(super) enum Node {
    Text(String),
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    Template { name: String, pipe: Option<Pipe>, at: usize },
    Break,
    Continue,
}

#[derive(Debug, Clone)]
pub(super) struct Branch {
    pub pipe: Pipe,
    pub then: Vec<Node>,
    pub otherwise: Vec<Node>,
}

#[derive(Debug, Clone)]
pub(super) struct Pipe {
    /// `$a, $b :=`.
    pub variables: Vec<String>,
    /// `=` and not `:=`.
    pub assigns: bool,
    pub commands: Vec<Call>,
}

#[derive(Debug, Clone)]
pub(super) struct Call {
    /// The first is what is called, if anything is.
    pub args: Vec<Expr>,
}

#[derive(Debug, Clone)]
pub(super) struct Expr {
    pub kind: ExprKind,
    /// Byte offsets into the template.
    pub start: usize,
    pub end: usize,
}

#[derive(Debug, Clone)]
pub(super) enum ExprKind {
    Dot,
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    Function(String),
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Chain(Box<Expr>, Vec<String>),
    Pipe(Box<Pipe>),
}

/// A template and those that it defines.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub root: Vec<Node>,
    pub defined: BTreeMap<String, Rc<Vec<Node>>>,
}

pub(super) fn parse(source: &str) -> Result<Tree, TemplateError> {
    let mut parser = Parser {
        source,
        tokens: lex(source)?,
        at: 0,
        depth: 0,
        ranges: 0,
        variables: vec!["$".to_owned()],
        defined: BTreeMap::new(),
    };
    let (root, end) = parser.list()?;
    match end {
        Close::Eof => Ok(Tree { root, defined: parser.defined }),
        Close::End => Err(parser.error("unexpected {{end}}")),
        Close::Else => Err(parser.error("unexpected {{else}}")),
    }
}

/// What a list of nodes ended with.
#[derive(Debug, PartialEq)]
enum Close {
    Eof,
    End,
    /// The words after `else` are still to come.
    Else,
}

struct Parser<'a> {
    source: &'a str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    /// How many `range` are open.
    ranges: usize,
    variables: Vec<String>,
    defined: BTreeMap<String, Rc<Vec<Node>>>,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn error(&self, message: impl Into<String>) -> TemplateError {
        let at = self.tokens.get(self.at.saturating_sub(1)).map_or(self.source.len(), |token| token.start);
        TemplateError::parse(self.source, at, message)
    }

    fn unexpected(&self, context: &str) -> TemplateError {
        match self.tokens.get(self.at) {
            None => self.error("unexpected EOF"),
            Some(token) => {
                let text = &self.source[token.start..token.end];
                let text = match &token.kind {
                    Kind::Identifier(word) if is_keyword(word) => format!("<{word}>"),
                    _ => format!("{text:?}"),
                };
                TemplateError::parse(self.source, token.start, format!("unexpected {text} in {context}"))
            }
        }
    }

    fn deeper(&mut self) -> Result<(), TemplateError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(self.error("max expression depth exceeded")) } else { Ok(()) }
    }

    fn right(&mut self, context: &str) -> Result<(), TemplateError> {
        if self.peek() == Some(&Kind::Right) {
            self.at += 1;
            return Ok(());
        }
        Err(self.unexpected(context))
    }

    fn list(&mut self) -> Result<(Vec<Node>, Close), TemplateError> {
        let mut nodes = Vec::new();
        loop {
            match self.next() {
                None => return Ok((nodes, Close::Eof)),
                Some(Token { kind: Kind::Text(text), .. }) => nodes.push(Node::Text(text)),
                Some(Token { kind: Kind::Left, .. }) => {
                    let keyword = match self.peek() {
                        Some(Kind::Identifier(word)) => word.clone(),
                        _ => String::new(),
                    };
                    if keyword == "end" {
                        self.at += 1;
                        self.right("end")?;
                        return Ok((nodes, Close::End));
                    }
                    if keyword == "else" {
                        self.at += 1;
                        return Ok((nodes, Close::Else));
                    }
                    if let Some(node) = self.action(&keyword)? {
                        nodes.push(node);
                    }
                }
                Some(_) => return Err(self.error("unexpected token in template")),
            }
        }
    }

    fn action(&mut self, keyword: &str) -> Result<Option<Node>, TemplateError> {
        match keyword {
            "if" => {
                self.at += 1;
                self.branch("if").map(|branch| Some(Node::If(branch)))
            }
            "with" => {
                self.at += 1;
                self.branch("with").map(|branch| Some(Node::With(branch)))
            }
            "range" => {
                self.at += 1;
                self.branch("range").map(|branch| Some(Node::Range(branch)))
            }
            "define" | "block" => {
                self.at += 1;
                self.define(keyword)
            }
            "template" => {
                self.at += 1;
                let at = self.tokens[self.at - 1].start;
                let name = self.string("template clause")?;
                let pipe = if self.peek() == Some(&Kind::Right) {
                    None
                } else {
                    Some(self.pipe("template clause")?)
                };
                self.right("template clause")?;
                Ok(Some(Node::Template { name, pipe, at }))
            }
            "break" | "continue" if self.tokens.get(self.at + 1).map(|t| &t.kind) == Some(&Kind::Right) => {
                self.at += 2;
                if self.ranges == 0 {
                    return Err(self.error(format!("{{{{{keyword}}}}} outside {{{{range}}}}")));
                }
                Ok(Some(if keyword == "break" { Node::Break } else { Node::Continue }))
            }
            _ => {
                let pipe = self.pipe("command")?;
                self.right("command")?;
                Ok(Some(Node::Action(pipe)))
            }
        }
    }

    fn branch(&mut self, keyword: &str) -> Result<Branch, TemplateError> {
        self.deeper()?;
        let scope = self.variables.len();
        let pipe = self.pipe(keyword)?;
        self.right(keyword)?;
        self.ranges += usize::from(keyword == "range");
        let (then, end) = self.list()?;
        self.ranges -= usize::from(keyword == "range");
        let otherwise = match end {
            Close::Eof => return Err(self.error("unexpected EOF")),
            Close::End => Vec::new(),
            Close::Else => self.otherwise(keyword)?,
        };
        self.variables.truncate(scope);
        self.depth -= 1;
        Ok(Branch { pipe, then, otherwise })
    }

    /// What follows `else`: `}}`, or ` if …}}`, or ` with …}}`.
    fn otherwise(&mut self, keyword: &str) -> Result<Vec<Node>, TemplateError> {
        match self.peek() {
            Some(Kind::Identifier(word)) if word == keyword && (word == "if" || word == "with") => {
                self.at += 1;
                // The chain's one {{end}} ends the inner branch.
                let branch = self.branch(keyword)?;
                Ok(vec![if keyword == "if" { Node::If(branch) } else { Node::With(branch) }])
            }
            _ => {
                self.right("else")?;
                match self.list()? {
                    (nodes, Close::End) => Ok(nodes),
                    (_, Close::Else) => Err(self.error("expected end; found {{else}}")),
                    (_, Close::Eof) => Err(self.error("unexpected EOF")),
                }
            }
        }
    }

    fn define(&mut self, keyword: &str) -> Result<Option<Node>, TemplateError> {
        self.deeper()?;
        let context = if keyword == "define" { "define clause" } else { "block clause" };
        let at = self.tokens[self.at - 1].start;
        let name = self.string(context)?;
        let pipe = if keyword == "block" { Some(self.pipe(context)?) } else { None };
        self.right(context)?;
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let ranges = std::mem::take(&mut self.ranges);
        let (nodes, end) = self.list()?;
        if end != Close::End {
            return Err(self.error("unexpected EOF"));
        }
        self.variables = outer;
        self.ranges = ranges;
        self.depth -= 1;
        self.defined.insert(name.clone(), Rc::new(nodes));
        Ok(pipe.map(|pipe| Node::Template { name, pipe: Some(pipe), at }))
    }

    fn string(&mut self, context: &str) -> Result<String, TemplateError> {
        match self.peek() {
            Some(Kind::Str(text)) => {
                let text = text.clone();
                self.at += 1;
                Ok(text)
            }
            _ => Err(self.unexpected(context)),
        }
    }

    fn pipe(&mut self, context: &str) -> Result<Pipe, TemplateError> {
        let (variables, assigns) = self.declaration(context)?;
        let mut commands: Vec<Call> = Vec::new();
        loop {
            let first = self.at;
            let args = self.operands()?;
            if args.is_empty() {
                return Err(match self.peek() {
                    Some(Kind::Right | Kind::RightParen | Kind::Pipe) => {
                        self.error(format!("missing value for {context}"))
                    }
                    _ => self.unexpected(context),
                });
            }
            // Only a function or a field can take what the pipe brings.
            let constant = matches!(
                args[0].kind,
                ExprKind::Bool(_)
                    | ExprKind::Dot
                    | ExprKind::Nil
                    | ExprKind::Int(_)
                    | ExprKind::Float(_)
                    | ExprKind::Str(_)
            );
            if !commands.is_empty() && constant {
                let stage = commands.len() + 1;
                let at = self.tokens[first].start;
                let message = format!("non executable command in pipeline stage {stage}");
                return Err(TemplateError::parse(self.source, at, message));
            }
            commands.push(Call { args });
            if self.peek() != Some(&Kind::Pipe) {
                break;
            }
            self.at += 1;
        }
        // A variable may be used from here on.
        if !assigns {
            self.variables.extend(variables.iter().cloned());
        }
        Ok(Pipe { variables, assigns, commands })
    }

    /// `$x :=`, `$i, $e :=`, `$x =`.
    fn declaration(&mut self, context: &str) -> Result<(Vec<String>, bool), TemplateError> {
        let kind = |offset: usize| self.tokens.get(self.at + offset).map(|token| &token.kind);
        let (names, mark) = match (kind(0), kind(1), kind(2), kind(3)) {
            (Some(Kind::Variable(a)), Some(Kind::Assign | Kind::Declare), ..) => (vec![a.clone()], 1),
            (
                Some(Kind::Variable(a)),
                Some(Kind::Comma),
                Some(Kind::Variable(b)),
                Some(Kind::Assign | Kind::Declare),
            ) => {
                if context != "range" {
                    return Err(self.error(format!("too many declarations in {context}")));
                }
                (vec![a.clone(), b.clone()], 3)
            }
            (Some(Kind::Variable(_)), Some(Kind::Comma), ..) if context == "range" => {
                return Err(self.error("range can only initialize variables"));
            }
            _ => return Ok((Vec::new(), false)),
        };
        let assigns = kind(mark) == Some(&Kind::Assign);
        if assigns && let Some(name) = names.iter().find(|name| !self.variables.contains(name)) {
            return Err(self.error(format!("undefined variable {name:?}")));
        }
        self.at += mark + 1;
        Ok((names, assigns))
    }

    fn operands(&mut self) -> Result<Vec<Expr>, TemplateError> {
        let mut args = Vec::new();
        while let Some(expr) = self.operand()? {
            args.push(expr);
            match self.tokens.get(self.at) {
                Some(token) if token.space_before => {}
                Some(Token { kind: Kind::Pipe | Kind::Right | Kind::RightParen, .. }) | None => {}
                Some(_) => return Err(self.unexpected("operand")),
            }
        }
        Ok(args)
    }

    fn operand(&mut self) -> Result<Option<Expr>, TemplateError> {
        let Some(token) = self.tokens.get(self.at).cloned() else { return Err(self.error("unexpected EOF")) };
        let start = token.start;
        self.at += 1;
        let kind = match token.kind {
            Kind::Dot => ExprKind::Dot,
            Kind::Str(text) => ExprKind::Str(text),
            Kind::Int(n) => ExprKind::Int(n),
            Kind::Float(n) => ExprKind::Float(n),
            Kind::Field(name) => ExprKind::Field(vec![name]),
            Kind::Variable(name) => {
                if !self.variables.contains(&name) {
                    return Err(self.error(format!("undefined variable {name:?}")));
                }
                ExprKind::Variable(name, Vec::new())
            }
            Kind::Identifier(word) => match word.as_str() {
                "true" => ExprKind::Bool(true),
                "false" => ExprKind::Bool(false),
                "nil" => ExprKind::Nil,
                word if is_keyword(word) => {
                    self.at -= 1;
                    return Err(self.unexpected("operand"));
                }
                word if funcs::is_known(word) => ExprKind::Function(word.to_owned()),
                word => return Err(self.error(format!("function {word:?} not defined"))),
            },
            Kind::LeftParen => {
                self.deeper()?;
                let pipe = self.pipe("parenthesized pipeline")?;
                if self.peek() != Some(&Kind::RightParen) {
                    return Err(self.unexpected("parenthesized pipeline"));
                }
                self.at += 1;
                self.depth -= 1;
                ExprKind::Pipe(Box::new(pipe))
            }
            _ => {
                self.at -= 1;
                return Ok(None);
            }
        };
        let mut expr = Expr { kind, start, end: self.tokens[self.at - 1].end };
        // `.A.B`, `$x.A`, `(…).A`: fields with nothing between.
        let mut names = Vec::new();
        while let Some(Token { kind: Kind::Field(name), space_before: false, end, .. }) =
            self.tokens.get(self.at)
        {
            names.push(name.clone());
            expr.end = *end;
            self.at += 1;
        }
        if names.is_empty() {
            return Ok(Some(expr));
        }
        expr.kind = match expr.kind {
            ExprKind::Field(mut first) => {
                first.append(&mut names);
                ExprKind::Field(first)
            }
            ExprKind::Variable(name, _) => ExprKind::Variable(name, names),
            kind @ (ExprKind::Pipe(_) | ExprKind::Function(_)) => {
                ExprKind::Chain(Box::new(Expr { kind, start, end: expr.end }), names)
            }
            _ => {
                self.at -= 1;
                return Err(self.unexpected("operand"));
            }
        };
        Ok(Some(expr))
    }
}

fn is_keyword(word: &str) -> bool {
    matches!(
        word,
        "if" | "with" | "range" | "define" | "block" | "template" | "else" | "end" | "break" | "continue"
    )
}
