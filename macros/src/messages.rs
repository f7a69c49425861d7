//! What the macros say of the programs in `ui-tests`: of the wrong ones, what their `.stderr` has, at the
//! same places; of the right ones, nothing. `ui-tests` takes a minute, and also has what rustc adds.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItemFn, Item, Macro, Meta, TraitItemFn};

use crate::fuzz::rust_files;
use crate::input::is_named;

/// What is said there is said of no token: without arguments, and where another macro was before.
const WITHOUT_A_PLACE: [&str; 2] = ["within/no-arguments.rs", "within/below-tokio-test.rs"];

/// Each message with its place, as rustc prints it: `what\nhelp: how at line:column`.
type Messages = BTreeSet<String>;

/// The messages of a program's contexts.
#[derive(Default)]
struct Said(Messages);

impl Said {
    /// Expands what is under one of the crate's attributes: the first expands the others.
    fn expand<T: ToTokens + Clone>(&mut self, item: &T, attrs: fn(&mut T) -> &mut Vec<Attribute>) {
        let mut item = item.clone();
        let attrs = attrs(&mut item);
        let is_ours =
            |attr: &Attribute| is_named(attr, "async_context") || is_named(attr, "within");
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

    /// Finds each `compile_error! { "message" }`.
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
                    self.0
                        .insert(format!("{message} at {}:{column}", place.line));
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

/// The errors that rustc printed.
fn printed(stderr: &str) -> Messages {
    let mut messages = Messages::new();
    let mut lines = stderr.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(what) = line.strip_prefix("error: ") else {
            continue;
        };
        let help = lines.next_if(|line| line.starts_with("       help: "));
        let place = lines.next().and_then(|line| line.split_once(".rs:"));
        if let Some((_, place)) = place {
            let help = help.map_or_else(String::new, |help| format!("\n{}", help.trim_start()));
            messages.insert(format!("{what}{help} at {place}"));
        }
    }
    messages
}

/// Is it one of this crate's, and not of rustc, of syn or of the runtime's `yield_!`?
fn is_ours(message: &str) -> bool {
    message.contains("\nhelp: ") && !message.contains("works only directly in")
}

#[test]
fn the_macros_say_what_the_programs_in_ui_tests_expect() {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ui-tests");
    let mut wrong = 0;
    for path in rust_files(&programs) {
        let program = fs::read_to_string(&path).expect("a program");
        let stderr = fs::read_to_string(path.with_extension("stderr")).unwrap_or_default();
        let Ok(file) = syn::parse_file(&program) else {
            continue; // No Rust, on purpose.
        };
        if WITHOUT_A_PLACE.iter().any(|name| path.ends_with(name)) {
            continue;
        }
        let mut said = Said::default();
        said.visit_file(&file);
        let printed = printed(&stderr);
        let expected = printed
            .iter()
            .filter(|it| is_ours(it) || said.0.contains(*it));
        assert_eq!(said.0, expected.cloned().collect(), "{}", path.display());
        wrong += usize::from(!said.0.is_empty());
    }
    assert!(wrong > 80, "{wrong}");
}
