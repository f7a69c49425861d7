//! Tests that the macros never panic, and that their output is Rust, whatever the input is.
//!
//! The inputs are random tokens, and functions of the corpus and of the programs in `ui-tests` in
//! which some tokens are removed, doubled, swapped or replaced.
//! `PROPTEST_CASES=100000 cargo test --release -p async-context-manager-macros fuzz` tries more
//! inputs than the usual run.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Group, Ident, Literal, Punct, Spacing, Span, TokenStream, TokenTree};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use quote::{ToTokens, quote};
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItemFn, ItemFn, TraitItemFn};

use crate::input::{Body, Input};

/// The parts of the corpus that serve as inputs of the macros.
#[derive(Default)]
struct Corpus {
    functions: Vec<TokenStream>,
    args: Vec<TokenStream>,
    /// The content of `contexts!`.
    items: Vec<TokenStream>,
}

impl Corpus {
    fn read() -> Self {
        let mut corpus = Self::default();
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ui-tests");
        for file in rust_files(&tests) {
            let text = fs::read_to_string(&file).expect("a file of the corpus");
            // Some programs are not Rust on purpose.
            if let Ok(file) = syn::parse_file(&text) {
                corpus.visit_file(&file);
            }
        }
        assert!(corpus.functions.len() > 150, "the corpus is there");
        assert!(corpus.items.len() > 10, "so is that of `contexts!`");
        corpus
    }

    fn add(&mut self, attrs: &[Attribute], function: &impl ToTokens) {
        let is_ours = |attr: &&Attribute| {
            let last = attr.path().segments.last();
            last.is_some_and(|last| last.ident == "async_context" || last.ident == "within")
        };
        let ours: Vec<_> = attrs.iter().filter(is_ours).collect();
        for attr in &ours {
            if let syn::Meta::List(list) = &attr.meta {
                self.args.push(list.tokens.clone());
            }
        }
        if !ours.is_empty() {
            self.functions.push(function.to_token_stream());
        }
    }
}

impl Visit<'_> for Corpus {
    fn visit_item_fn(&mut self, function: &ItemFn) {
        self.add(&function.attrs, function);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &ImplItemFn) {
        self.add(&function.attrs, function);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &TraitItemFn) {
        self.add(&function.attrs, function);
    }

    fn visit_macro(&mut self, mac: &syn::Macro) {
        if mac.path.is_ident("contexts") {
            self.items.push(mac.tokens.clone());
        }
    }
}

pub(crate) fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder of the corpus");
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// A change of a token somewhere in the tree. The index of the token is counted through all groups.
#[derive(Debug, Clone)]
enum Change {
    Delete(Index),
    Double(Index),
    Swap(Index),
    Replace(Index, TokenTree),
    Insert(Index, TokenTree),
    /// Removes a group's delimiters, or adds delimiters to a token.
    Regroup(Index, Delimiter),
}

impl Change {
    fn index(&self) -> &Index {
        match self {
            Self::Delete(at)
            | Self::Double(at)
            | Self::Swap(at)
            | Self::Replace(at, _)
            | Self::Insert(at, _)
            | Self::Regroup(at, _) => at,
        }
    }

    fn apply(&self, tokens: TokenStream) -> TokenStream {
        let count = count(&tokens);
        if count == 0 {
            return tokens;
        }
        self.apply_at(tokens, &mut self.index().index(count))
    }

    fn apply_at(&self, tokens: TokenStream, left: &mut usize) -> TokenStream {
        let mut output: Vec<TokenTree> = Vec::new();
        let mut rest = tokens.into_iter();
        while let Some(token) = rest.next() {
            let is_here = *left == 0;
            *left = left.wrapping_sub(1);
            if is_here {
                match self {
                    Self::Delete(_) => {}
                    Self::Double(_) => output.extend([token.clone(), token]),
                    Self::Swap(_) => output.extend(rest.next().into_iter().chain([token])),
                    Self::Replace(_, other) => output.push(other.clone()),
                    Self::Insert(_, other) => output.extend([other.clone(), token]),
                    Self::Regroup(_, delimiter) => output.extend(match token {
                        TokenTree::Group(group) => group.stream(),
                        token => TokenTree::from(Group::new(*delimiter, token.into())).into(),
                    }),
                }
            } else if let TokenTree::Group(group) = token {
                let inside = self.apply_at(group.stream(), left);
                output.push(Group::new(group.delimiter(), inside).into());
            } else {
                output.push(token);
            }
        }
        output.into_iter().collect()
    }
}

fn count(tokens: &TokenStream) -> usize {
    let counted = tokens.clone().into_iter().map(|token| match token {
        TokenTree::Group(group) => 1 + count(&group.stream()),
        _ => 1,
    });
    counted.sum()
}

fn leaf() -> impl Strategy<Value = TokenTree> {
    const WORDS: [&str; 44] = [
        "async",
        "fn",
        "yield_",
        "yield",
        "cancellable",
        "contexts",
        "return",
        "Ok",
        "Err",
        "Result",
        "Suppression",
        "let",
        "mut",
        "ref",
        "self",
        "Self",
        "if",
        "else",
        "match",
        "loop",
        "while",
        "for",
        "in",
        "break",
        "continue",
        "move",
        "const",
        "static",
        "unsafe",
        "extern",
        "pub",
        "crate",
        "where",
        "impl",
        "dyn",
        "struct",
        "await",
        "async_context",
        "within",
        "suppress",
        "x",
        "T",
        "_",
        "u32",
    ];
    const MARKS: [char; 19] = [
        '!', '?', ';', ',', '.', ':', '=', '>', '<', '&', '|', '*', '-', '+', '#', '@', '$', '/',
        '^',
    ];
    prop_oneof![
        6 => proptest::sample::select(&WORDS[..]).prop_map(|word| Ident::new(word, Span::call_site()).into()),
        1 => Just(Ident::new_raw("yield", Span::call_site()).into()),
        5 => (proptest::sample::select(&MARKS[..]), any::<bool>()).prop_map(|(mark, is_joint)| {
            let spacing = if is_joint { Spacing::Joint } else { Spacing::Alone };
            Punct::new(mark, spacing).into()
        }),
        1 => Just(Literal::u32_unsuffixed(1).into()),
        1 => Just(Literal::string("text").into()),
    ]
}

fn delimiter() -> impl Strategy<Value = Delimiter> {
    proptest::sample::select(vec![
        Delimiter::Parenthesis,
        Delimiter::Brace,
        Delimiter::Bracket,
        Delimiter::None,
    ])
}

fn token() -> impl Strategy<Value = TokenTree> {
    leaf().prop_recursive(4, 64, 8, |inner| {
        (delimiter(), proptest::collection::vec(inner, 0..8)).prop_map(|(delimiter, tokens)| {
            Group::new(delimiter, tokens.into_iter().collect()).into()
        })
    })
}

fn tokens() -> impl Strategy<Value = TokenStream> {
    proptest::collection::vec(token(), 0..24).prop_map(|tokens| tokens.into_iter().collect())
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        2 => any::<Index>().prop_map(Change::Delete),
        1 => any::<Index>().prop_map(Change::Double),
        1 => any::<Index>().prop_map(Change::Swap),
        2 => (any::<Index>(), token()).prop_map(|(at, other)| Change::Replace(at, other)),
        2 => (any::<Index>(), token()).prop_map(|(at, other)| Change::Insert(at, other)),
        1 => (any::<Index>(), delimiter()).prop_map(|(at, to)| Change::Regroup(at, to)),
    ]
}

fn changed(originals: Vec<TokenStream>) -> impl Strategy<Value = TokenStream> {
    let changes = proptest::collection::vec(change(), 0..6);
    (any::<Index>(), changes).prop_map(move |(which, changes)| {
        let original = which.get(&originals).clone();
        changes.iter().fold(original, |it, change| change.apply(it))
    })
}

fn args(corpus: &Corpus) -> impl Strategy<Value = TokenStream> {
    prop_oneof![
        4 => Just(TokenStream::new()),
        2 => changed(corpus.args.clone()),
        1 => tokens(),
    ]
}

fn functions(corpus: &Corpus) -> impl Strategy<Value = TokenStream> {
    prop_oneof![
        8 => changed(corpus.functions.clone()),
        // A complete signature with a random body.
        2 => tokens().prop_map(|body| quote!(async fn context(id: u32) -> Result<u32, String> { #body })),
        1 => tokens(),
    ]
}

/// Runs the test with the same seed in each run.
fn run<S: Strategy>(strategy: S, test: impl Fn(S::Value)) {
    let config = Config {
        failure_persistence: None,
        max_shrink_iters: 50_000,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(config, rng)
        .run(&strategy, |value| {
            test(value);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

fn names(tokens: &TokenStream, name: &str) -> bool {
    tokens.clone().into_iter().any(|token| match token {
        TokenTree::Group(group) => names(&group.stream(), name),
        TokenTree::Ident(ident) => ident == name,
        _ => false,
    })
}

/// Returns `true` if the tokens are items that may stand alone, in a trait or in an `impl`.
fn is_rust(tokens: &TokenStream) -> bool {
    syn::parse2::<syn::File>(tokens.clone()).is_ok()
        || syn::parse2::<syn::ItemTrait>(quote!(trait Trait { #tokens })).is_ok()
        || syn::parse2::<syn::ItemImpl>(quote!(impl Type { #tokens })).is_ok()
}

/// Checks the output for an item. A function with errors must keep its name for its callers. If the
/// input is not Rust, the output need not be Rust either. It must then contain an error, unless
/// rustc reports one.
fn check(item: &TokenStream, output: &TokenStream) {
    if let Ok(input) = syn::parse2::<Input>(item.clone()) {
        let name = input.signature.ident.to_string();
        assert!(names(output, &name), "the function is gone: {output}");
        if !matches!(input.body, Body::Unparsed { .. }) {
            assert!(is_rust(output), "not Rust: {output}");
        }
    } else {
        assert!(names(output, "compile_error"), "no error: {output}");
        assert!(!is_rust(item) || is_rust(output), "not Rust: {output}");
    }
}

#[test]
fn the_attribute_gives_a_function_or_an_error() {
    let corpus = Corpus::read();
    run((args(&corpus), functions(&corpus)), |(args, item)| {
        check(&item, &crate::attribute(args, &item));
    });
}

#[test]
fn within_gives_a_function_or_an_error() {
    let corpus = Corpus::read();
    run((args(&corpus), functions(&corpus)), |(args, item)| {
        check(&item, &crate::within::within(args, &item));
    });
}

#[test]
fn contexts_give_rust() {
    let corpus = Corpus::read();
    let items = prop_oneof![
        4 => changed(corpus.items.clone()),
        2 => proptest::collection::vec(functions(&corpus), 0..3)
            .prop_map(|functions| functions.into_iter().collect()),
        1 => tokens(),
    ];
    run(items, |items| {
        let output = crate::contexts::contexts(items);
        assert!(is_rust(&output), "not Rust: {output}");
    });
}

#[test]
fn what_the_corpus_has_is_taken_as_it_is() {
    let corpus = Corpus::read();
    for item in &corpus.functions {
        check(item, &crate::attribute(TokenStream::new(), item));
        check(
            item,
            &crate::within::within(quote!(context() => value), item),
        );
    }
    for items in corpus.items {
        assert!(is_rust(&crate::contexts::contexts(items)));
    }
}
