//! Checks that every path through the body yields exactly once.
//!
//! The rule: every path either ends with an error, or passes the one yield once. A path ends with
//! an error by `?`, by returning an expression made from `Err(…)` (with or without the word
//! `return`), or by a macro such as `panic!` or `bail!`. The yield must stand in the function's own
//! code, outside loops, closures, blocks with their own control flow, and other macros, so that
//! nothing is left to find out at run time.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::visit::{self, Visit};
use syn::{
    BinOp, Block, Expr, ExprBreak, ExprIf, ExprMatch, ExprReturn, GenericArgument, Ident, Item,
    Label, Local, Macro, Pat, Stmt, TypeArray,
};

use crate::endings;
use crate::errors::{self, Errors, Place, Yield};
use crate::judge;
use crate::yields::{self, Hidden, Own, Yielded};

/// The results of the analysis that the expansion needs.
#[derive(Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each of them is a question that the expansion asks"
)]
pub(crate) struct Found {
    /// The names of the crate's macros that the function calls by their imports.
    pub(crate) imports: Vec<Ident>,
    /// `true` if rustc's errors about the body would only repeat ours.
    pub(crate) is_unreadable: bool,
    pub(crate) ends_with_a_value: bool,
    /// `true` if a `cancellable!` is in a closure or an `async` block, which may move the variables
    /// it names.
    pub(crate) has_nested_cancellable: bool,
    pub(crate) has_yield: bool,
    /// `true` if a path ends with an error before the yield, but rustc cannot tell: `Err(…)` at the
    /// end of a branch, or `Err(…)?`.
    pub(crate) has_untold_error: bool,
    /// `true` if the function has a `return`, or a macro that may contain a `return`.
    pub(crate) may_return: bool,
    /// `true` if a macro before the yield may return, as far as can be seen.
    pub(crate) may_return_before_the_yield: bool,
    pub(crate) may_return_after_the_yield: bool,
}

impl Found {
    fn add_imports(&mut self, names: impl IntoIterator<Item = Ident>) {
        for name in names {
            if !self.imports.contains(&name) {
                self.imports.push(name);
            }
        }
    }
}

/// Checks the body of the function `name`. `word` is how this function spells its yield.
pub(crate) fn check(
    body: &[Stmt],
    name: &Ident,
    suppresses: bool,
    word: &'static str,
    errors: &mut Errors,
) -> Found {
    let mut paths = Paths {
        errors,
        word,
        suppresses,
        returns_suppression: None,
        here: Position::default(),
        first: None,
        is_settled: false,
        hidden_keyword: None,
        inside: Inside::default(),
        targets: Vec::new(),
        early_exits: Vec::new(),
        found: Found::default(),
    };
    paths.walk_stmts(body, true);
    paths.finish(name)
}

/// Checks a body that is not parsed. Under the attribute, rustc has parsed the body, whose syntax
/// is then newer than this parser, or has reported why it could not. rustc has not parsed the
/// content of `contexts!`, so the error is reported here.
pub(crate) fn check_tokens(
    body: &TokenStream,
    error: &syn::Error,
    word: &'static str,
    errors: &mut Errors,
) -> Found {
    let hidden = Hidden::find(body);
    let is_unreadable = word == "yield";
    if is_unreadable {
        errors.push(error.clone());
    }
    let has_nested_cancellable = !hidden.cancellables.is_empty();
    let has_yield = !hidden.yields.is_empty();
    let yields = hidden.yields.into_iter().filter_map(|one| one.name);
    let cancellables = hidden.cancellables.into_iter();
    let mut found = Found {
        is_unreadable,
        has_nested_cancellable,
        ends_with_a_value: true,
        has_yield,
        // The body was not searched, so it may contain such an error.
        has_untold_error: true,
        may_return: judge::has_return(body.clone()),
        ..Found::default()
    };
    found.add_imports(yields.chain(cancellables.filter_map(|call| call.name)));
    found
}

pub(crate) fn ends_with_a_value(body: &[Stmt]) -> bool {
    let name = Ident::new("body", Span::call_site());
    check(body, &name, false, "yield_!", &mut Errors::default()).ends_with_a_value
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Position {
    has_yielded: bool,
    /// `true` if the path has ended, so that the code that follows is unreachable.
    has_left: bool,
}

/// The surroundings of the current code.
#[derive(Clone, Copy, Default)]
struct Inside {
    /// The innermost place that a yield must not be in.
    place: Option<Place>,
    /// `true` in code with its own control flow, which is only searched for yields that are not
    /// allowed there.
    is_foreign: bool,
    is_nested_function: bool,
}

/// The target of a `break`.
struct Target {
    label: Option<Ident>,
    is_loop: bool,
    /// The positions of the paths that came from a `break`.
    arrivals: Vec<Position>,
}

struct Paths<'e> {
    errors: &'e mut Errors,
    word: &'static str,
    suppresses: bool,
    /// `true` if the last return was an `Ok(Suppression::…)`, `false` if it was an `Ok(())`.
    returns_suppression: Option<bool>,
    here: Position,
    first: Option<Yield>,
    /// `true` once an error about the place of a yield was reported. Errors about paths would only
    /// repeat that error.
    is_settled: bool,
    /// A keyword `yield` in another macro. It counts as ours if there is no other yield.
    hidden_keyword: Option<Yield>,
    inside: Inside,
    targets: Vec<Target>,
    /// The ways out of the function before the yield that are not errors. They only matter if there
    /// is a yield.
    early_exits: Vec<TokenStream>,
    found: Found,
}

impl Paths<'_> {
    fn finish(mut self, name: &Ident) -> Found {
        self.found.ends_with_a_value = !self.here.has_left;
        self.found.has_yield = self.first.is_some();
        let runs_off = !self.here.has_left && !self.here.has_yielded;
        let word = self.word;
        if let (None, false, Some(hidden)) = (&self.first, self.is_settled, &self.hidden_keyword) {
            let error = errors::yield_inside(hidden, Place::Macro);
            self.errors.push(error);
            self.is_settled = true;
            self.found.is_unreadable = true;
        }
        match &self.first {
            None if self.is_settled => {}
            None if runs_off || !self.early_exits.is_empty() => {
                self.errors.push(if self.found.may_return_before_the_yield {
                    // rustc gives the keyword another meaning, and would report an error.
                    self.found.is_unreadable |= word == "yield";
                    errors::no_yield_outside_of_macros(name, word)
                } else {
                    errors::no_yield(name, word)
                });
            }
            // Every path fails, as with `todo!()`.
            None => {}
            Some(one) => {
                if runs_off && !self.is_settled {
                    self.errors.push(errors::yield_on_one_branch(one));
                }
                for exit in &self.early_exits {
                    self.errors
                        .push(errors::leaves_before_the_yield(exit, one.word));
                }
            }
        }
        self.found
    }

    fn meet(&mut self, one: Yield) {
        let error = match (&self.first, self.inside.place) {
            (_, Some(place)) => Some(errors::yield_inside(&one, place)),
            (Some(_), None) if self.here.has_yielded => Some(errors::second_yield(&one)),
            (Some(_), None) => Some(errors::yield_in_two_branches(&one)),
            (None, None) if self.here.has_left => Some(errors::unreachable_yield(&one)),
            (None, None) => None,
        };
        if let Some(error) = error {
            self.errors.push(error);
            self.is_settled = true;
            // In the fallback, another expression replaces the yield. In a constant, or where code
            // is unreachable, rustc would report that expression.
            let is_const = matches!(self.inside.place, Some(Place::Const));
            self.found.is_unreadable |= is_const || self.here.has_left;
        }
        if !self.inside.is_foreign {
            self.here.has_yielded = true;
            self.first.get_or_insert(one);
        }
    }

    fn meet_cancellable(&mut self, call: impl ToTokens) {
        if self.inside.is_nested_function {
            self.errors.push(errors::cancellable_in_a_function(call));
        } else if self.here.has_yielded {
            let error = errors::cancellable_after_the_yield(call, self.word);
            self.errors.push(error);
        }
        self.found.has_nested_cancellable |= self.inside.is_foreign;
    }

    fn walk_stmts(&mut self, stmts: &[Stmt], is_tail: bool) {
        let Some((last, before)) = stmts.split_last() else {
            return;
        };
        for stmt in before {
            self.walk_stmt(stmt);
        }
        match last {
            Stmt::Expr(expr, None) => self.walk(expr, is_tail),
            stmt => self.walk_stmt(stmt),
        }
    }

    fn walk_stmt(&mut self, stmt: &Stmt) {
        let before = self.here;
        self.visit_stmt(stmt);
        if endings::is_conditional(stmt) {
            self.here = self.join([before, self.here]);
        }
    }

    /// Walks the expression. `is_tail` is `true` if the function returns the value of this
    /// expression.
    fn walk(&mut self, expr: &Expr, is_tail: bool) {
        match expr {
            Expr::Paren(inner) => self.walk(&inner.expr, is_tail),
            Expr::Group(inner) => self.walk(&inner.expr, is_tail),
            Expr::Block(block) => self.walk_block(&block.block, block.label.as_ref(), is_tail),
            Expr::Unsafe(block) => self.walk_block(&block.block, None, is_tail),
            Expr::If(branches) => self.walk_if(branches, is_tail),
            Expr::Match(branches) => self.walk_match(branches, is_tail),
            Expr::Loop(inner) => {
                self.walk_loop(inner.label.as_ref(), false, |paths| {
                    paths.visit_block(&inner.body);
                });
            }
            Expr::While(inner) => {
                self.walk_loop(inner.label.as_ref(), true, |paths| {
                    paths.visit_expr(&inner.cond);
                    paths.visit_block(&inner.body);
                });
            }
            Expr::ForLoop(inner) => {
                self.visit_expr(&inner.expr);
                self.walk_loop(inner.label.as_ref(), true, |paths| {
                    paths.visit_block(&inner.body);
                });
            }
            Expr::Binary(binary) if matches!(binary.op, BinOp::And(_) | BinOp::Or(_)) => {
                self.visit_expr(&binary.left);
                self.walk_branches([None, Some(&*binary.right)], false);
            }
            Expr::Closure(closure) => {
                self.search(Place::Closure, |paths| paths.visit_expr(&closure.body));
            }
            Expr::Async(block) => {
                self.search(Place::AsyncBlock, |paths| paths.visit_block(&block.block));
            }
            Expr::Const(block) => {
                self.search(Place::Const, |paths| paths.visit_block(&block.block));
            }
            Expr::Repeat(array) => {
                self.visit_expr(&array.expr);
                self.search(Place::Const, |paths| paths.visit_expr(&array.len));
            }
            Expr::TryBlock(block) => {
                self.search(Place::TryBlock, |paths| paths.visit_block(&block.block));
            }
            Expr::Return(exit) => self.walk_return(exit),
            Expr::Break(exit) => self.walk_break(exit),
            Expr::Continue(_) => self.here.has_left = true,
            Expr::Yield(call) => {
                visit::visit_expr_yield(self, call);
                self.meet(Yield::from_keyword(call.yield_token));
            }
            Expr::Verbatim(tokens) => self.search_tokens(tokens),
            Expr::Try(inner) => {
                self.visit_expr(&inner.expr);
                if endings::is_error(&inner.expr) {
                    self.leave_untold();
                }
            }
            _ => {
                visit::visit_expr(self, expr);
                if is_tail {
                    self.check_verdict(expr);
                }
                if is_tail && endings::is_error(expr) {
                    self.leave_untold();
                }
                if endings::ends_the_process(expr) {
                    self.here.has_left = true;
                }
            }
        }
    }

    /// Ends the path with an error. For rustc, the path goes on.
    fn leave_untold(&mut self) {
        self.found.has_untold_error |= !self.here.has_yielded;
        self.here.has_left = true;
    }

    /// Checks that a returned `Ok(…)` fits the attribute's `suppress`, if its syntax tells.
    fn check_verdict(&mut self, result: &Expr) {
        let Some(value) = endings::ok_value(result) else {
            return;
        };
        if self.inside.is_foreign || !self.here.has_yielded || self.here.has_left {
            return;
        }
        let suppresses = if endings::is_unit(value) {
            false
        } else if endings::is_suppression(value) {
            true
        } else {
            return;
        };
        match self.returns_suppression.replace(suppresses) {
            // rustc would add that the two types differ.
            Some(other) if other != suppresses => self.found.is_unreadable = true,
            // Reported before.
            Some(_) => return,
            None => {}
        }
        match (self.suppresses, suppresses) {
            (true, false) => self.errors.push(errors::no_suppression(value)),
            (false, true) => self.errors.push(errors::unexpected_suppression(value)),
            (true, true) | (false, false) => {}
        }
    }

    fn walk_block(&mut self, block: &Block, label: Option<&Label>, is_tail: bool) {
        let Some(label) = label else {
            self.walk_stmts(&block.stmts, is_tail);
            return;
        };
        self.targets.push(Target {
            label: Some(label.name.ident.clone()),
            is_loop: false,
            arrivals: Vec::new(),
        });
        self.walk_stmts(&block.stmts, is_tail);
        let arrivals = self.targets.pop().map_or_else(Vec::new, |it| it.arrivals);
        self.here = self.join(arrivals.into_iter().chain([self.here]));
    }

    fn walk_if(&mut self, branches: &ExprIf, is_tail: bool) {
        self.visit_expr(&branches.cond);
        let before = self.here;
        self.walk_block(&branches.then_branch, None, is_tail);
        let then = std::mem::replace(&mut self.here, before);
        if let Some((_, otherwise)) = &branches.else_branch {
            self.walk(otherwise, is_tail);
        }
        self.here = self.join([then, self.here]);
    }

    fn walk_match(&mut self, branches: &ExprMatch, is_tail: bool) {
        self.visit_expr(&branches.expr);
        for arm in &branches.arms {
            if let Pat::Guard(pat) = &arm.pat {
                self.walk_branches([None, Some(&*pat.guard)], false);
            }
        }
        self.walk_branches(branches.arms.iter().map(|arm| Some(&*arm.body)), is_tail);
    }

    /// Walks branches of which one is taken. `None` is a branch that does nothing.
    fn walk_branches<'a>(
        &mut self,
        branches: impl IntoIterator<Item = Option<&'a Expr>>,
        is_tail: bool,
    ) {
        let before = self.here;
        let mut after = Vec::new();
        for branch in branches {
            self.here = before;
            if let Some(branch) = branch {
                self.walk(branch, is_tail);
            }
            after.push(self.here);
        }
        if !after.is_empty() {
            self.here = self.join(after);
        }
    }

    fn join(&mut self, paths: impl IntoIterator<Item = Position>) -> Position {
        let mut live = paths.into_iter().filter(|path| !path.has_left).peekable();
        let Some(&first) = live.peek() else {
            // The current position is the end of the last path.
            return self.here;
        };
        let has_yielded = live.by_ref().fold((false, true), |(any, all), path| {
            (any || path.has_yielded, all && path.has_yielded)
        });
        match (has_yielded, &self.first) {
            ((true, false), Some(one)) if !self.is_settled => {
                self.errors.push(errors::yield_on_one_branch(one));
                self.is_settled = true;
            }
            _ => {}
        }
        Position {
            has_yielded: has_yielded.0,
            ..first
        }
    }

    fn walk_loop(&mut self, label: Option<&Label>, may_skip: bool, inside: impl FnOnce(&mut Self)) {
        let before = self.here;
        let around = self.inside;
        self.inside.place = Some(Place::Loop);
        self.targets.push(Target {
            label: label.map(|label| label.name.ident.clone()),
            is_loop: true,
            arrivals: Vec::new(),
        });
        inside(self);
        let mut arrivals = self.targets.pop().map_or_else(Vec::new, |it| it.arrivals);
        self.inside = around;
        if may_skip {
            arrivals.push(before);
        }
        self.here.has_left = true;
        self.here = self.join(arrivals);
    }

    fn walk_return(&mut self, exit: &ExprReturn) {
        if let Some(value) = &exit.expr {
            self.walk(value, true);
        }
        self.found.may_return |= !self.inside.is_foreign;
        if !self.inside.is_foreign && !self.here.has_yielded && !self.here.has_left {
            self.early_exits.push(exit.to_token_stream());
            // rustc would only add that the type is wrong.
            self.found.is_unreadable |= exit.expr.is_none();
        }
        self.here.has_left = true;
    }

    fn walk_break(&mut self, exit: &ExprBreak) {
        if let Some(value) = &exit.expr {
            self.visit_expr(value);
        }
        let target = self.targets.iter_mut().rev().find(|target| {
            exit.label.as_ref().map_or(target.is_loop, |label| {
                target.label.as_ref() == Some(&label.ident)
            })
        });
        if let Some(target) = target {
            target.arrivals.push(self.here);
        }
        self.here.has_left = true;
    }

    /// Searches code that has its own control flow.
    fn search(&mut self, place: Place, inside: impl FnOnce(&mut Self)) {
        let around = self.inside;
        self.inside = Inside {
            place: Some(place),
            is_foreign: true,
            is_nested_function: around.is_nested_function || matches!(place, Place::Function),
        };
        let here = self.here;
        let targets = std::mem::take(&mut self.targets);
        inside(self);
        self.inside = around;
        self.here = here;
        self.targets = targets;
    }

    fn search_tokens(&mut self, tokens: &TokenStream) {
        let hidden = Hidden::find(tokens);
        if self.word == "yield" {
            self.hidden_keyword = self.hidden_keyword.take().or(hidden.keyword);
        }
        for one in hidden.yields {
            self.errors.push(errors::yield_inside(&one, Place::Macro));
            self.is_settled = true;
        }
        for call in hidden.cancellables {
            self.found.add_imports(call.name);
            self.meet_cancellable(call.tokens);
            self.found.has_nested_cancellable = true;
        }
    }

    fn walk_function(&mut self, attrs: &[syn::Attribute], inside: impl FnOnce(&mut Self)) {
        if !yields::is_context(attrs) {
            self.search(Place::Function, inside);
        }
    }
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_expr(&mut self, expr: &'ast Expr) {
        self.walk(expr, false);
    }

    fn visit_block(&mut self, block: &'ast Block) {
        self.walk_stmts(&block.stmts, false);
    }

    fn visit_local(&mut self, local: &'ast Local) {
        self.visit_pat(&local.pat);
        let Some(init) = &local.init else { return };
        self.visit_expr(&init.expr);
        if let Some((_, otherwise)) = &init.diverge {
            let here = self.here;
            let around = self.inside;
            self.inside.place = Some(Place::LetElse);
            self.visit_expr(otherwise);
            self.inside = around;
            self.here = here;
        }
    }

    fn visit_macro(&mut self, mac: &'ast Macro) {
        let own = Own::of(&mac.path);
        if own.is_some() && !mac.path.is_ident("r#yield") {
            self.found.add_imports(mac.path.get_ident().cloned());
        }
        match own {
            Some(Own::Yield) => {
                if mac.path.is_ident("r#yield") {
                    self.errors.push(errors::raw_yield(&mac.path));
                }
                match Yielded::of(mac) {
                    Ok(yielded) => {
                        self.walk(&yielded.value, false);
                        if let Some(beside) = &yielded.beside {
                            self.walk(beside, false);
                        }
                    }
                    Err(error) => self.errors.push(error),
                }
                self.meet(Yield::from_macro(mac));
            }
            Some(Own::Cancellable) => {
                match yields::cancellable_future(mac) {
                    Ok(future) => self.walk(&future, false),
                    Err(error) => self.errors.push(error),
                }
                let (path, bang) = (&mac.path, &mac.bang_token);
                self.meet_cancellable(quote!(#path #bang));
            }
            Some(Own::Contexts) => {}
            None => {
                self.search_tokens(&mac.tokens);
                if !self.inside.is_foreign && judge::may_return(mac) {
                    self.found.may_return = true;
                    if self.here.has_yielded {
                        self.found.may_return_after_the_yield = true;
                    } else {
                        self.found.may_return_before_the_yield = true;
                    }
                }
                if endings::is_leaving(mac) {
                    self.here.has_left = true;
                }
            }
        }
    }

    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            // A macro that is defined here is probably also used here.
            Item::Macro(item) => self.search_tokens(&item.mac.tokens),
            Item::Fn(function) if yields::is_context(&function.attrs) => {}
            Item::Const(_) | Item::Static(_) => {
                self.search(Place::Const, |paths| visit::visit_item(paths, item));
            }
            item => self.search(Place::Function, |paths| visit::visit_item(paths, item)),
        }
    }

    fn visit_type_array(&mut self, array: &'ast TypeArray) {
        self.search(Place::Const, |paths| paths.visit_expr(&array.len));
    }

    fn visit_generic_argument(&mut self, argument: &'ast GenericArgument) {
        match argument {
            GenericArgument::Const(value) => {
                self.search(Place::Const, |paths| paths.visit_expr(value));
            }
            argument => visit::visit_generic_argument(self, argument),
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.walk_function(&function.attrs, |paths| paths.visit_block(&function.block));
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.walk_function(&function.attrs, |paths| {
            if let Some(block) = &function.default {
                paths.visit_block(block);
            }
        });
    }
}
