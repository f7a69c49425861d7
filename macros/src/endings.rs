//! Finds how a path through a function ends, as far as the syntax tells.

use syn::{Expr, Ident, Macro, Path, Stmt};

/// Returns `true` if a `#[cfg]` may remove the statement.
pub(crate) fn is_conditional(stmt: &Stmt) -> bool {
    let attrs = match stmt {
        Stmt::Local(local) => &local.attrs,
        Stmt::Macro(call) => &call.attrs,
        Stmt::Expr(Expr::Block(block), _) => &block.attrs,
        Stmt::Expr(Expr::If(branches), _) => &branches.attrs,
        Stmt::Expr(Expr::Match(branches), _) => &branches.attrs,
        Stmt::Expr(Expr::Return(exit), _) => &exit.attrs,
        Stmt::Expr(Expr::Yield(call), _) => &call.attrs,
        Stmt::Expr(Expr::Macro(call), _) => &call.attrs,
        Stmt::Expr(..) | Stmt::Item(_) => return false,
    };
    attrs.iter().any(|attr| attr.path().is_ident("cfg"))
}

/// The methods of `Result` that may make something else of an `Err`, even an `Ok`.
const REPLACING: [&str; 9] = [
    "or",
    "or_else",
    "ok",
    "err",
    "map_or",
    "map_or_else",
    "unwrap_or",
    "unwrap_or_else",
    "unwrap_or_default",
];

/// Returns `true` if the expression is made from `Err(…)`, or by snafu's `.fail()`.
pub(crate) fn is_error(expr: &Expr) -> bool {
    match expr {
        Expr::Paren(inner) => is_error(&inner.expr),
        Expr::Group(inner) => is_error(&inner.expr),
        Expr::Call(call) => last_names(&call.func).is_some_and(|(_, name)| name == "Err"),
        Expr::MethodCall(call) if is_error(&call.receiver) => {
            !REPLACING.iter().any(|method| call.method == method)
        }
        Expr::MethodCall(call) => {
            call.method == "fail" && call.args.is_empty() && is_of_a_type(&call.receiver)
        }
        _ => false,
    }
}

/// Returns `true` if the expression names a type, as in `NoAnswer`, `NoAnswer { after: 3 }` or
/// `error::NoAnswer::new(3)`. The contexts of snafu look so, and variables do not.
fn is_of_a_type(expr: &Expr) -> bool {
    let is_type = |path: &Path| {
        let mut names = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string());
        names.any(|name| name.starts_with(char::is_uppercase))
    };
    match expr {
        Expr::Paren(inner) => is_of_a_type(&inner.expr),
        Expr::Group(inner) => is_of_a_type(&inner.expr),
        Expr::Path(path) => is_type(&path.path),
        Expr::Struct(value) => is_type(&value.path),
        Expr::Call(call) => is_of_a_type(&call.func),
        _ => false,
    }
}

pub(crate) fn ends_the_process(expr: &Expr) -> bool {
    let Expr::Call(call) = expr else { return false };
    last_names(&call.func).is_some_and(|(module, name)| {
        module.is_some_and(|module| module == "process") && (name == "exit" || name == "abort")
    })
}

/// Returns `b` and `c` of the path `a::b::c`.
fn last_names(expr: &Expr) -> Option<(Option<&Ident>, &Ident)> {
    let Expr::Path(path) = expr else { return None };
    let mut names = path
        .path
        .segments
        .iter()
        .rev()
        .map(|segment| &segment.ident);
    let last = names.next()?;
    Some((names.next(), last))
}

pub(crate) fn is_leaving(mac: &Macro) -> bool {
    const LEAVING: [&str; 5] = ["panic", "unreachable", "todo", "unimplemented", "bail"];
    let name = mac.path.segments.last().map(|segment| &segment.ident);
    name.is_some_and(|name| LEAVING.iter().any(|leaving| name == leaving))
}

/// Returns the value inside the `Ok(…)` that the function ends with.
pub(crate) fn ok_value(expr: &Expr) -> Option<&Expr> {
    let Expr::Call(call) = expr else { return None };
    let (_, name) = last_names(&call.func)?;
    let value = call.args.first()?;
    (name == "Ok" && call.args.len() == 1).then_some(value)
}

pub(crate) fn is_unit(expr: &Expr) -> bool {
    matches!(expr, Expr::Tuple(tuple) if tuple.elems.is_empty())
}

/// Returns `true` for `Suppression::Suppress` and `Suppression::Propagate`.
pub(crate) fn is_suppression(expr: &Expr) -> bool {
    last_names(expr).is_some_and(|(module, _)| module.is_some_and(|module| module == "Suppression"))
}
