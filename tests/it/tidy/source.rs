//! The Rust sources of the workspace, parsed, and what the rules ask about them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// One source file.
pub(super) struct Source {
    /// From the root of the repository.
    pub(super) path: String,
    pub(super) text: String,
    pub(super) is_test: bool,
    pub(super) found: Found,
}

/// What was seen in a file, each with its line.
#[derive(Default)]
pub(super) struct Found {
    pub(super) functions: Vec<Function>,
    pub(super) types: Vec<(String, usize)>,
    pub(super) consts: Vec<Const>,
    /// Every path, `use` included, and every identifier in a macro call.
    pub(super) paths: Vec<PathUse>,
    /// Fields read or written through a dot, and fields named in patterns; not those of tests.
    pub(super) fields: Vec<String>,
    pub(super) unwraps: Vec<usize>,
    pub(super) allows: Vec<usize>,
    pub(super) unsafes: Vec<usize>,
    /// Calls without arguments of a function called `channel`, unless of one message.
    pub(super) bare_channels: Vec<usize>,
    /// String literals, those in macro calls included and those of tests not.
    pub(super) strings: Vec<String>,
    /// Structs with named fields: name, then field names and types.
    pub(super) structs: Vec<(String, Vec<(String, String)>)>,
}

pub(super) struct Function {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) lines: usize,
}

pub(super) struct Const {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) is_private: bool,
}

pub(super) struct PathUse {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
    pub(super) is_test: bool,
}

impl Source {
    pub(super) fn parse(path: &str, text: String) -> Self {
        let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let is_test = is_test_path(path);
        let mut walk = Walk { found: Found::default(), test_depth: usize::from(is_test) };
        walk.visit_file(&file);
        Self { path: path.to_owned(), text, is_test, found: walk.found }
    }

    /// The folder of the package: `router` of `router/src/config.rs`.
    pub(super) fn package(&self) -> &str {
        self.path.split('/').next().expect("split gives at least one part")
    }

    /// The module of the crate it belongs to: `config` of `router/src/config/check.rs`.
    pub(super) fn module(&self) -> Option<String> {
        let inside = self.path.split_once("/src/")?.1.strip_suffix(".rs")?;
        inside.split('/').next().map(str::to_owned)
    }
}

/// Every source under the folders of the workspace's packages, read once.
pub(super) fn all() -> &'static [Source] {
    static ALL: OnceLock<Vec<Source>> = OnceLock::new();
    ALL.get_or_init(load_all)
}

fn load_all() -> Vec<Source> {
    let root = root();
    let mut paths = Vec::new();
    for folder in super::PACKAGES {
        walk_folder(&root.join(folder), &mut paths);
    }
    paths.sort();
    let load = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("a listed file can be read");
        let name = path.strip_prefix(&root).expect("listed under the root");
        Source::parse(name.to_str().expect("our names are UTF-8"), text)
    };
    paths.iter().map(load).collect()
}

pub(super) fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the package is in the workspace").to_owned()
}

fn walk_folder(folder: &Path, out: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    for entry in entries {
        let path = entry.expect("the folder can be listed").path();
        if path.is_dir() && !path.ends_with("target") {
            walk_folder(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// Tests, benchmarks and examples may do what product code may not.
fn is_test_path(path: &str) -> bool {
    path.starts_with("tests/")
        || path.ends_with("/tests.rs")
        || path.contains("/tests/")
        || path.contains("/benches/")
        || path.contains("/examples/")
}

struct Walk {
    found: Found,
    test_depth: usize,
}

impl Walk {
    fn path(&mut self, segments: Vec<String>, span: Span) {
        let is_test = 0 < self.test_depth;
        self.found.paths.push(PathUse { segments, line: line(span), is_test });
    }

    fn use_tree(&mut self, tree: &syn::UseTree, front: &mut Vec<String>) {
        match tree {
            syn::UseTree::Path(path) => {
                front.push(path.ident.to_string());
                self.use_tree(&path.tree, front);
                front.pop();
            }
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.use_tree(item, front));
            }
            syn::UseTree::Name(name) => self.use_end(&name.ident, front),
            syn::UseTree::Rename(rename) => self.use_end(&rename.ident, front),
            syn::UseTree::Glob(glob) => {
                let span = glob.star_token.spans[0];
                self.path(front.clone(), span);
            }
        }
    }

    fn use_end(&mut self, ident: &syn::Ident, front: &[String]) {
        let mut segments = front.to_vec();
        segments.push(ident.to_string());
        self.path(segments, ident.span());
    }

    /// A macro call is tokens: no paths, but names, strings and `.unwrap()`.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut is_after_dot = false;
        for token in tokens {
            match &token {
                TokenTree::Ident(ident) if is_after_dot && ident == "unwrap" => {
                    self.unwrap(ident.span());
                }
                TokenTree::Ident(ident) if is_after_dot => self.field(ident),
                TokenTree::Ident(ident) if ident == "unsafe" => {
                    self.unsafe_if(Some(ident.span()));
                }
                TokenTree::Ident(ident) => self.path(vec![ident.to_string()], ident.span()),
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Literal(literal) => {
                    if let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string()) {
                        self.string(&text);
                    }
                }
                TokenTree::Punct(_) => (),
            }
            is_after_dot = matches!(&token, TokenTree::Punct(dot) if dot.as_char() == '.');
        }
    }

    fn field(&mut self, name: &syn::Ident) {
        if self.test_depth == 0 {
            self.found.fields.push(name.to_string());
        }
    }

    fn string(&mut self, text: &syn::LitStr) {
        if self.test_depth == 0 {
            self.found.strings.push(text.value());
        }
    }

    fn unwrap(&mut self, span: Span) {
        if self.test_depth == 0 {
            self.found.unwraps.push(line(span));
        }
    }

    fn function(&mut self, name: &syn::Ident, block: &syn::Block) {
        let first = line(name.span());
        let last = block.brace_token.span.close().end().line;
        let name = name.to_string();
        self.found.functions.push(Function { name, line: first, lines: last - first + 1 });
    }

    fn unsafe_if(&mut self, token: Option<Span>) {
        self.found.unsafes.extend(token.map(line));
    }

    fn named(&mut self, ident: &syn::Ident) {
        self.found.types.push((ident.to_string(), line(ident.span())));
    }
}

fn line(span: Span) -> usize {
    span.start().line
}

fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::Path(path) => path.is_ident("test"),
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        _ => false,
    })
}

impl<'ast> Visit<'ast> for Walk {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let is_test = usize::from(is_test_only(&item.attrs));
        self.test_depth += is_test;
        visit::visit_item_mod(self, item);
        self.test_depth -= is_test;
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let is_test = usize::from(is_test_only(&item.attrs));
        self.test_depth += is_test;
        self.function(&item.sig.ident, &item.block);
        visit::visit_item_fn(self, item);
        self.test_depth -= is_test;
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig.ident, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.sig.ident, block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.named(&item.ident);
        if let syn::Fields::Named(fields) = &item.fields {
            let one = |field: &syn::Field| {
                let name = field.ident.as_ref().expect("the fields are named").to_string();
                let syn::Type::Path(kind) = &field.ty else { return (name, String::new()) };
                let last = kind.path.segments.last().expect("a path has segments");
                (name, last.ident.to_string())
            };
            let fields = fields.named.iter().map(one).collect();
            self.found.structs.push((item.ident.to_string(), fields));
        }
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.named(&item.ident);
        visit::visit_item_enum(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.named(&item.ident);
        visit::visit_item_type(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.named(&item.ident);
        self.unsafe_if(item.unsafety.map(|token| token.span));
        visit::visit_item_trait(self, item);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.found.consts.push(Const {
            name: item.ident.to_string(),
            line: line(item.ident.span()),
            is_private: matches!(item.vis, syn::Visibility::Inherited),
        });
        visit::visit_item_const(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.use_tree(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let span = path.segments[0].ident.span();
        self.path(segments, span);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if attribute.path().is_ident("allow") {
            self.found.allows.push(line(attribute.pound_token.span));
        }
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.unsafe_if(Some(block.unsafe_token.span));
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        self.unsafe_if(item.unsafety.map(|token| token.span));
        visit::visit_item_impl(self, item);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if let syn::Safety::Unsafe(token) = signature.safety {
            self.unsafe_if(Some(token.span));
        }
        visit::visit_signature(self, signature);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if call.method == "unwrap" {
            self.unwrap(call.method.span());
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let syn::Expr::Path(function) = &*call.func
            && call.args.is_empty()
            && let Some(last) = function.path.segments.last()
            && last.ident == "channel"
            && !function.path.segments.iter().any(|segment| segment.ident == "oneshot")
        {
            self.found.bare_channels.push(line(last.ident.span()));
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_field(&mut self, field: &'ast syn::ExprField) {
        if let syn::Member::Named(name) = &field.member {
            self.field(name);
        }
        visit::visit_expr_field(self, field);
    }

    fn visit_field_pat(&mut self, field: &'ast syn::FieldPat) {
        if let syn::Member::Named(name) = &field.member {
            self.field(name);
        }
        visit::visit_field_pat(self, field);
    }

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        self.string(text);
    }
}
