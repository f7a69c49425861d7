//! Tests the messages of the macros. For a wrong program in `ui-tests`, the messages and their
//! places must be those of its `.stderr`. For a right program, there must be no message.
//! (`ui-tests` takes a minute, and also contains the messages that rustc adds.) Further tests are
//! for cases that no program in `ui-tests` has.

use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItemFn, Item, Macro, Meta, TraitItemFn};

use crate::fuzz::rust_files;
use crate::input::is_named;

/// Programs whose messages have no place of their own, because they are at an attribute without
/// arguments, or after another macro.
const WITHOUT_A_PLACE: [&str; 2] = ["within/no-arguments.rs", "within/below-tokio-test.rs"];

/// The messages about a program's contexts, each with its place: `what\nhelp: how at line:column`.
#[derive(Default)]
struct Said(Vec<String>);

impl Said {
    /// Expands an item that is under an attribute of the crate: the first attribute expands the
    /// others.
    fn expand<T: ToTokens + Clone>(&mut self, item: &T, attrs: fn(&mut T) -> &mut Vec<Attribute>) {
        let mut item = item.clone();
        let attrs = attrs(&mut item);
        let is_ours =
            |attr: &Attribute| is_named(attr, "async_context") || is_named(attr, "within");
        // rustc removes an item under `#[cfg(any())]`.
        let is_absent = |attr: &Attribute| attr.to_token_stream().to_string().contains("cfg (any");
        let Some(at) = attrs.iter().position(is_ours) else {
            return;
        };
        if attrs.iter().any(is_absent) {
            return;
        }
        let attr = attrs.remove(at);
        let item = item.into_token_stream();
        let is_within = is_named(&attr, "within");
        let args = match attr.meta {
            Meta::List(list) => list.tokens,
            _ => TokenStream::new(),
        };
        self.find(if is_within {
            crate::within::within(args, &item)
        } else {
            crate::attribute(args, &item)
        });
    }

    fn find(&mut self, output: TokenStream) {
        let mut start = None;
        for token in output {
            match (token, start) {
                (TokenTree::Ident(name), _) if name == "compile_error" => {
                    start = Some(name.span().start());
                }
                (TokenTree::Group(group), Some(place)) => {
                    let message = syn::parse2::<syn::LitStr>(group.stream()).expect("a message");
                    let (message, column) = (message.value(), place.column + 1);
                    self.0.push(format!("{message} at {}:{column}", place.line));
                    start = None;
                }
                (TokenTree::Group(group), None) => self.find(group.stream()),
                _ => {}
            }
        }
    }
}

impl Visit<'_> for Said {
    fn visit_item(&mut self, item: &Item) {
        match item {
            Item::Fn(item) => self.expand(item, |it| &mut it.attrs),
            Item::Impl(item) => self.expand(item, |it| &mut it.attrs),
            Item::Mod(item) => self.expand(item, |it| &mut it.attrs),
            Item::Struct(item) => self.expand(item, |it| &mut it.attrs),
            Item::Trait(item) => self.expand(item, |it| &mut it.attrs),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item_fn(&mut self, function: &ImplItemFn) {
        self.expand(function, |it| &mut it.attrs);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &TraitItemFn) {
        self.expand(function, |it| &mut it.attrs);
        visit::visit_trait_item_fn(self, function);
    }

    fn visit_macro(&mut self, mac: &Macro) {
        if mac.path.is_ident("contexts") {
            self.find(crate::contexts::contexts(mac.tokens.clone()));
        }
    }
}

fn printed(stderr: &str) -> Vec<String> {
    let mut messages = Vec::new();
    let mut lines = stderr.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(what) = line.strip_prefix("error: ") else {
            continue;
        };
        let help = lines.next_if(|line| line.starts_with("       help: "));
        let place = lines.next().and_then(|line| line.split_once(".rs:"));
        if let Some((_, place)) = place {
            let help = help.map_or_else(String::new, |help| format!("\n{}", help.trim_start()));
            messages.push(format!("{what}{help} at {place}"));
        }
    }
    messages
}

/// Returns `true` for a message of this crate, not of rustc, of syn or of the runtime's `yield_!`.
fn is_ours(message: &str) -> bool {
    message.contains("\nhelp: ") && !message.contains("works only in the own code")
}

fn sorted(mut messages: Vec<String>) -> Vec<String> {
    messages.sort();
    messages
}

#[test]
fn the_macros_say_what_the_programs_in_ui_tests_expect() {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ui-tests");
    let mut wrong = 0;
    for path in rust_files(&programs) {
        let program = fs::read_to_string(&path).expect("a program");
        let stderr = fs::read_to_string(path.with_extension("stderr")).unwrap_or_default();
        let Ok(file) = syn::parse_file(&program) else {
            continue; // Not Rust, on purpose.
        };
        if WITHOUT_A_PLACE.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        let mut said = Said::default();
        said.visit_file(&file);
        wrong += usize::from(!said.0.is_empty());
        let mut expected = printed(&stderr);
        expected.retain(|message| is_ours(message) || said.0.contains(message));
        assert_eq!(sorted(said.0), sorted(expected), "{}", path.display());
    }
    assert!(wrong > 80, "the wrong programs are there");
}

// Cases that no program in `ui-tests` has.

/// Returns the messages, without their places and the help.
fn wrong(output: TokenStream) -> Vec<String> {
    let mut said = Said::default();
    said.find(output);
    let what = |message: String| message.split('\n').next().unwrap_or_default().to_owned();
    said.0.into_iter().map(what).collect()
}

fn wrong_in(args: TokenStream, body: &TokenStream) -> Vec<String> {
    let function = quote!(async fn context(id: u32) -> Result<u32, String> { #body });
    wrong(crate::attribute(args, &function))
}

/// Returns the group that a `macro_rules!` makes of its `$expr` or `$ty`.
fn fragment(tokens: TokenStream) -> Group {
    Group::new(Delimiter::None, tokens)
}

#[test]
fn a_path_ends_with_an_error_however_that_is_written() {
    let branches = quote! {
        match id {
            0 => Err(error),
            id => {
                yield_!(id);
                Ok(())
            }
        }
    };
    let error = fragment(quote!(Err(error)));
    let fragment = fragment(branches.clone());
    for body in [
        quote!((#branches)),
        quote!(#fragment),
        quote!(unsafe { #branches }),
        quote!(if id > 0 { yield_!(id); } else { #error? } Ok(())),
        quote!(if id > 0 { yield_!(id); } else { (Err(error))? } Ok(())),
        quote!(process::abort()),
        quote!(std::process::exit(1)),
        quote!(loop {
            continue;
            break;
        }),
    ] {
        assert_eq!(wrong_in(quote!(), &body), [""; 0], "{body}");
    }
}

#[test]
fn operands_always_run_but_for_the_second_of_and_and_or() {
    let plus = quote!(let sum = id + yield_!(id).0; Ok(()));
    assert_eq!(wrong_in(quote!(), &plus), [""; 0]);
}

#[test]
fn other_functions_of_process_come_back() {
    assert_eq!(
        wrong_in(quote!(), &quote!(process::id())),
        ["an async context yields exactly once, but this one has no `yield_!`"]
    );
}

#[test]
fn a_yield_in_a_place_of_its_own_is_said_to_be_there() {
    for (body, place) in [
        (quote!(try { yield_!(id); };), "a `try` block"),
        (quote!(become other(yield_!(id));), "another macro"),
        (quote!(size_of::<[u32; yield_!(1).0]>();), "a constant"),
        (quote!(let _: [u32; yield_!(1).0] = [];), "a constant"),
        (quote!(array::<{ yield_!(1).0 }>();), "a constant"),
        (
            quote!(
                trait Nested {
                    async fn nested() {
                        yield_!(1);
                    }
                    fn without_body();
                }
            ),
            "a nested function",
        ),
    ] {
        let wrong = wrong_in(quote!(), &body);
        let said = format!("`yield_!` cannot be inside {place}, because");
        assert!(
            wrong.len() == 1 && wrong[0].starts_with(&said),
            "{body}: {wrong:?}"
        );
    }
}

#[test]
fn a_yield_on_one_branch_is_all_that_is_wrong_after_it() {
    let body = quote! {
        if id == 0 {
            drop(id);
        } else {
            yield_!(id);
        }
        return Ok(());
    };
    assert_eq!(
        wrong_in(quote!(), &body),
        ["this `yield_!` does not run on every path"]
    );
}

#[test]
fn a_missing_suppression_is_said_once_and_of_what_exits_alone() {
    const MISSING: &str = "under `suppress`, an exit says by a `Suppression` whether it suppresses";
    const EARLY: &str = "before its `yield_!`, an async context can only be left with an error";
    for (body, expected) in [
        (quote!(yield_!(id); Ok(())), vec![MISSING]),
        (
            quote!(yield_!(id); if id > 0 { return Ok(()); } Ok(())),
            vec![MISSING],
        ),
        (quote!(yield_!(id); Some(())), vec![]),
        (quote!(yield_!(id); finish(())), vec![]),
        (
            quote!(yield_!(id); let exit = || return Ok(()); exit()),
            vec![],
        ),
        (
            quote!(yield_!(id); return Ok(Suppression::Propagate); Ok(())),
            vec![],
        ),
        (
            quote!(if id > 0 { return Ok(()); } yield_!(id); exit()),
            vec![EARLY],
        ),
    ] {
        assert_eq!(wrong_in(quote!(suppress), &body), expected, "{body}");
    }
}

#[test]
fn what_may_be_unit_is_no_suppression() {
    let body = quote!(yield_!(id); let done = (); Ok(done));
    assert_eq!(wrong_in(quote!(), &body), [""; 0]);
}

#[test]
fn other_words_in_a_macro_are_no_keyword() {
    let output = crate::contexts::contexts(quote! {
        async fn context(id: u32) -> Result<u32, String> {
            println!("{}", id);
            Ok(())
        }
    });
    assert_eq!(
        wrong(output),
        ["an async context yields exactly once, but this one has no `yield`"]
    );
}

#[test]
fn within_knows_the_types_that_are_no_result() {
    let alias = fragment(quote!(io::Result<u32>));
    let number = fragment(quote!(u32));
    for (ty, is_wrong) in [
        (quote!((io::Result<u32>)), false),
        (quote!(#alias), false),
        (quote!((u32)), true),
        (quote!(#number), true),
    ] {
        let function = quote!(async fn user() -> #ty { value() });
        let wrong = wrong(crate::within::within(quote!(context()), &function));
        let expected =
            "a function under `#[within]` returns a `Result`, because its context may fail";
        assert_eq!(wrong, vec![expected; usize::from(is_wrong)], "{ty}");
    }
}

#[test]
fn a_yield_takes_an_expression_and_one() {
    for (body, expected) in [
        (quote!(yield_!(id+)), "`yield_!` takes an expression, but"),
        (
            quote!(yield_!(id, id, id)),
            "`yield_!` takes a value, and a future that runs beside the body",
        ),
    ] {
        let wrong = wrong_in(quote!(), &quote!(#body; Ok(())));
        assert!(
            wrong.len() == 1 && wrong[0].starts_with(expected),
            "{wrong:?}"
        );
    }
}

#[test]
fn suppress_takes_no_value_however_it_is_given() {
    for args in [
        quote!(suppress(true)),
        quote!(suppress = true),
        quote!(suppress =),
    ] {
        let wrong = wrong_in(args, &quote!(yield_!(id); exit()));
        assert_eq!(wrong, ["`suppress` takes no value"]);
    }
}

#[test]
fn what_is_no_function_is_called_by_its_name() {
    for (item, name) in [
        ("impl Type {}", "an `impl` block"),
        ("trait Trait {}", "a trait"),
        ("mod module {}", "a module"),
        ("struct Struct;", "a struct"),
        ("enum Enum {}", "an enum"),
        ("static STATIC: () = ();", "a static"),
        ("const CONST: () = ();", "a constant"),
        ("type Alias = ();", "a type alias"),
        ("use module;", "a `use`"),
        ("call!();", "a macro"),
    ] {
        let item: TokenStream = item.parse().expect("tokens");
        let said = format!("`#[async_context]` is for an `async fn`, but this is {name}");
        assert_eq!(wrong(crate::attribute(quote!(), &item)), [said]);
        let said = format!("`contexts!` is for an `async fn`, but this is {name}");
        assert_eq!(wrong(crate::contexts::contexts(item)), [said]);
    }
}

#[test]
fn no_line_of_a_message_is_longer_than_a_hundred_characters() {
    let source = include_str!("errors.rs");
    let words = source
        .replace("{word}", "yield_!")
        .replace("{place}", "the `else` of a `let`");
    let long = words
        .lines()
        .filter(|line| line.trim_start().starts_with(['"', 'f']))
        .filter_map(|line| line.split('"').nth(1))
        .find(|message| message.chars().count() > 100);
    assert_eq!(long, None);
}
