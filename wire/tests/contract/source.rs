//! The messages as their source declares them: types, fields, numbers.
//!
//! Read with `syn` from the files of this crate, so that listing, document and encoder can be held
//! against each other and a forgotten one shows.

use std::{fmt::Write, fs, path::Path};

use syn::{Attribute, Fields, Item, LitInt, Type};

/// A type that travels.
pub(crate) struct Declared {
    pub(crate) name: String,
    pub(crate) kind: Shape,
}

pub(crate) enum Shape {
    /// A CBOR map.
    Map(Vec<Field>),
    /// A number with these meanings.
    Enum(Vec<(u64, String)>),
}

pub(crate) struct Field {
    pub(crate) number: u64,
    pub(crate) name: String,
    /// As [`type_text`] writes it.
    pub(crate) of: String,
    /// Whether a message without it is readable.
    pub(crate) optional: bool,
}

/// Every type with numbered fields in `src/{file}`, in order.
pub(crate) fn declared(file: &str) -> Vec<Declared> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
    let text = fs::read_to_string(&path).expect("a file of this crate");
    let parsed = syn::parse_file(&text).expect("it compiles, so it parses");
    parsed.items.iter().filter_map(of_item).collect()
}

/// The files that declare what travels as CBOR.
const FILES: [&str; 6] = ["limits.rs", "message.rs", "manifest.rs", "keyring.rs", "provision.rs", "ros.rs"];

/// Every type that travels as CBOR.
pub(crate) fn all() -> Vec<Declared> {
    FILES.into_iter().flat_map(declared).collect()
}

fn of_item(item: &Item) -> Option<Declared> {
    let declared = match item {
        Item::Struct(item) => {
            let Fields::Named(fields) = &item.fields else { return None };
            let fields: Vec<_> = fields.named.iter().filter_map(field).collect();
            Declared { name: item.ident.to_string(), kind: Shape::Map(fields) }
        }
        Item::Enum(item) => {
            let variants = item.variants.iter();
            let numbered = variants.filter_map(|v| Some((number(&v.attrs)?, kebab(&v.ident.to_string()))));
            Declared { name: item.ident.to_string(), kind: Shape::Enum(numbered.collect()) }
        }
        _ => return None,
    };
    let empty = match &declared.kind {
        Shape::Map(fields) => fields.is_empty(),
        Shape::Enum(variants) => variants.is_empty(),
    };
    (!empty).then_some(declared)
}

fn field(field: &syn::Field) -> Option<Field> {
    let of = type_text(&field.ty);
    let has_default = field.attrs.iter().any(|attr| cbor(attr, "default").is_some());
    Some(Field {
        number: number(&field.attrs)?,
        name: field.ident.as_ref()?.to_string(),
        optional: of.ends_with('?') || has_default,
        of,
    })
}

/// The number in `#[n(…)]`, `#[b(…)]` or `#[cbor(n(…))]`.
fn number(attrs: &[Attribute]) -> Option<u64> {
    let direct = |attr: &Attribute| {
        let numbered = attr.path().is_ident("n") || attr.path().is_ident("b");
        numbered.then(|| attr.parse_args::<LitInt>().ok())?
    };
    let literal = attrs.iter().find_map(|a| direct(a).or_else(|| cbor(a, "n")?).or_else(|| cbor(a, "b")?));
    literal?.base10_parse().ok()
}

/// Whether `#[cbor(…)]` says `word`, and the number it says with it.
fn cbor(attr: &Attribute, word: &str) -> Option<Option<LitInt>> {
    if !attr.path().is_ident("cbor") {
        return None;
    }
    let mut found = None;
    attr.parse_nested_meta(|meta| {
        let literal = match () {
            () if meta.input.peek(syn::token::Paren) => {
                let content;
                syn::parenthesized!(content in meta.input);
                Some(content.parse::<LitInt>()?)
            }
            () if meta.input.peek(syn::Token![=]) => {
                meta.value()?.parse::<syn::Lit>()?;
                None
            }
            () => None,
        };
        if meta.path.is_ident(word) {
            found = Some(literal);
        }
        Ok(())
    })
    .expect("attributes of this crate are of this form");
    found
}

/// The name JSON uses.
fn kebab(name: &str) -> String {
    let mut out = String::new();
    for (at, c) in name.char_indices() {
        if c.is_uppercase() && at > 0 {
            out.push('-');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// A type as people read it: `text`, `bytes`, `[T]` for a list, `T?` for an optional one.
fn type_text(of: &Type) -> String {
    match of {
        Type::Reference(reference) => match &*reference.elem {
            Type::Slice(_) => "bytes".to_owned(),
            inner => type_text(inner),
        },
        Type::Path(path) => {
            let last = path.path.segments.last().expect("a path has a last part");
            let argument = match &last.arguments {
                syn::PathArguments::AngleBracketed(list) => {
                    list.args.iter().find_map(|argument| match argument {
                        syn::GenericArgument::Type(inner) => Some(type_text(inner)),
                        _ => None,
                    })
                }
                _ => None,
            };
            match (last.ident.to_string().as_str(), argument) {
                ("Option", Some(inner)) => format!("{inner}?"),
                ("Seq", Some(inner)) => format!("[{inner}]"),
                ("str", None) => "text".to_owned(),
                (name, None) => name.to_owned(),
                (name, Some(_)) => panic!("{name}<…> is not a type this reader knows"),
            }
        }
        _ => panic!("a field of a type this reader does not know"),
    }
}

/// The listing of `wire/schema.txt`.
pub(crate) fn listing() -> String {
    let mut out = String::from(
        "# What travels, by number. Written by `UPDATE_EXPECT=1 cargo test -p wasmbed-wire`;\n\
         # a line that changes or goes is a change devices in the field do not know.\n",
    );
    for file in FILES {
        for declared in declared(file) {
            let _ = writeln!(out, "\n{} ({file})", declared.name);
            match declared.kind {
                Shape::Map(fields) => fields.iter().for_each(|field| {
                    let default = if field.optional && !field.of.ends_with('?') { " or absent" } else { "" };
                    let _ = writeln!(out, "  {:>2} {}: {}{default}", field.number, field.name, field.of);
                }),
                Shape::Enum(variants) => variants.iter().for_each(|(number, name)| {
                    let _ = writeln!(out, "  {number:>2} {name}");
                }),
            }
        }
    }
    // An answer carries a fault's number, or that of success.
    let (operations, success): (Vec<_>, Vec<_>) =
        plain_numbers("nor.rs", None).into_iter().partition(|(number, _)| *number != 0);
    let statuses = success.into_iter().chain(plain_numbers("nor.rs", Some("Fault"))).collect();
    for (title, file, numbers) in [
        ("key roles, one bit each", "keyring.rs", plain_numbers("keyring.rs", Some("Role"))),
        ("bridge datagrams", "bridge.rs", plain_numbers("bridge.rs", None)),
        ("link frames", "link/frame.rs", plain_numbers("link/frame.rs", Some("Kind"))),
        ("nor operations", "nor.rs", operations),
        ("nor statuses", "nor.rs", statuses),
    ] {
        let _ = writeln!(out, "\n{title} ({file})");
        for (number, name) in numbers {
            let _ = writeln!(out, "  0x{number:02x} {name}");
        }
    }
    out
}

/// The `u8` constants of a file, or the discriminants of one enum in it.
fn plain_numbers(file: &str, in_enum: Option<&str>) -> Vec<(u8, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
    let parsed = syn::parse_file(&fs::read_to_string(path).expect("a file of this crate")).expect("parses");
    let value = |expr: &syn::Expr| match expr {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Int(int), .. }) => int.base10_parse::<u8>().ok(),
        _ => None,
    };
    let mut numbers = Vec::new();
    for item in &parsed.items {
        match (item, in_enum) {
            (Item::Const(item), None) if type_text(&item.ty) == "u8" => {
                numbers
                    .extend(value(&item.expr).map(|number| (number, item.ident.to_string().to_lowercase())));
            }
            (Item::Enum(item), Some(name)) if item.ident == name => {
                let numbered = |v: &syn::Variant| {
                    Some((value(&v.discriminant.as_ref()?.1)?, kebab(&v.ident.to_string())))
                };
                numbers.extend(item.variants.iter().filter_map(numbered));
            }
            _ => {}
        }
    }
    numbers
}
