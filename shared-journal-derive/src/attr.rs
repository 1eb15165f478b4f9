//! Reads `#[durable(…)]`, and tells which `#[serde(…)]` a stored state can have.

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::punctuated::Punctuated;
use syn::{
    Attribute, DeriveInput, Error, Field, Ident, LitStr, Meta, Path, Result, Token, parse_quote,
};

/// The packages through which a crate may depend on `shared-journal`, and the way from each.
const PACKAGES: [(&str, Option<&str>); 3] = [
    ("shared-journal", None),
    ("duroxide-actix", Some("journal")),
    ("duroxide-tower", Some("journal")),
];

/// The key in `#[durable(…)]` whose value a derive needs.
pub(crate) struct NameKey {
    pub(crate) key: &'static str,
    pub(crate) max_bytes: usize,
}

/// What `#[durable(…)]` says on a type.
pub(crate) struct TypeAttr {
    /// The value of the [`NameKey`].
    pub(crate) name: LitStr,
    /// The crate `shared-journal`, as the crate of the type can name it.
    pub(crate) journal: Path,
}

impl TypeAttr {
    pub(crate) fn of(input: &DeriveInput, wanted: &NameKey) -> Result<Self> {
        let key = wanted.key;
        let mut name: Option<LitStr> = None;
        let mut journal: Option<Path> = None;
        for attr in named(&input.attrs, "durable") {
            attr.parse_nested_meta(|meta| {
                if meta.path.is_ident(key) {
                    set(&mut name, meta.value()?.parse()?, &meta)
                } else if meta.path.is_ident("crate") {
                    let path: LitStr = meta.value()?.parse()?;
                    set(&mut journal, path.parse_with(Path::parse_mod_style)?, &meta)
                } else {
                    Err(meta.error(format!("expected `{key} = \"…\"` or `crate = \"…\"`")))
                }
            })?;
        }

        let Some(name) = name else {
            let ident = &input.ident;
            return Err(Error::new_spanned(
                ident,
                format!(
                    "`{ident}` needs a name in the journal, one that never changes: \
                     `#[durable({key} = \"{}\")]`",
                    snake_case(ident),
                ),
            ));
        };
        let bytes = name.value().len();
        if bytes == 0 {
            return Err(Error::new_spanned(&name, "the name is empty"));
        }
        if bytes > wanted.max_bytes {
            return Err(Error::new_spanned(
                &name,
                format!("the name has {bytes} bytes, the limit is {}", wanted.max_bytes),
            ));
        }

        let journal = match journal {
            Some(path) => path,
            None => find_journal(&input.ident)?,
        };
        Ok(Self { name, journal })
    }
}

/// Whether the field has `#[durable(skip)]`.
pub(crate) fn is_skipped(field: &Field) -> Result<bool> {
    let mut skip = None;
    for attr in named(&field.attrs, "durable") {
        attr.parse_nested_meta(|meta| {
            if meta.path.is_ident("skip") {
                set(&mut skip, (), &meta)
            } else {
                Err(meta.error("expected `skip`"))
            }
        })?;
    }
    Ok(skip.is_some())
}

/// Refuses `#[durable(…)]` on a part of a type where it has no meaning.
pub(crate) fn refuse_durable(attrs: &[Attribute], why: &str) -> Result<()> {
    match named(attrs, "durable").next() {
        Some(attr) => Err(Error::new_spanned(attr, why)),
        None => Ok(()),
    }
}

/// The serde attributes of a stored field. What they write they must be able to read.
pub(crate) fn serde_of_field(field: &Field) -> Result<Vec<&Attribute>> {
    let metas = serde_metas(&field.attrs)?;
    let has_default = metas.iter().any(|meta| meta.path().is_ident("default"));
    for meta in &metas {
        let path = meta.path();
        let refusal = if ["skip", "skip_serializing", "skip_deserializing"]
            .iter()
            .any(|skip| path.is_ident(skip))
        {
            "recovery would lose this field; `#[durable(skip)]` leaves it out and keeps its value"
        } else if path.is_ident("skip_serializing_if") && !has_default {
            "a state without this field could not be read back; add `default`"
        } else if path.is_ident("rename") && matches!(meta, Meta::List(_)) {
            "what is written under one name must be read under it: `rename = \"…\"`, \
             with `alias = \"…\"` for the names in older states"
        } else {
            continue;
        };
        return Err(Error::new_spanned(meta, refusal));
    }
    Ok(named(&field.attrs, "serde").collect())
}

/// The serde attributes of the struct that its stored state can have, too.
pub(crate) fn serde_of_type(input: &DeriveInput) -> Result<Vec<&Attribute>> {
    for meta in serde_metas(&input.attrs)? {
        let carried = match &meta {
            Meta::Path(path) => path.is_ident("deny_unknown_fields"),
            Meta::NameValue(pair) => pair.path.is_ident("rename_all"),
            Meta::List(_) => false,
        };
        if !carried {
            return Err(Error::new_spanned(
                meta,
                "the stored state can only have `rename_all = \"…\"` and `deny_unknown_fields`; \
                 for anything else, implement `DurableState` by hand",
            ));
        }
    }
    Ok(named(&input.attrs, "serde").collect())
}

fn named<'a>(attrs: &'a [Attribute], name: &str) -> impl Iterator<Item = &'a Attribute> {
    attrs.iter().filter(move |attr| attr.path().is_ident(name))
}

fn serde_metas(attrs: &[Attribute]) -> Result<Vec<Meta>> {
    let mut metas = Vec::new();
    for attr in named(attrs, "serde") {
        metas.extend(attr.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)?);
    }
    Ok(metas)
}

fn set<T>(slot: &mut Option<T>, value: T, meta: &ParseNestedMeta<'_>) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(meta.error("given twice")),
    }
}

fn find_journal(ident: &Ident) -> Result<Path> {
    for (package, module) in PACKAGES {
        let Ok(found) = crate_name(package) else {
            continue;
        };
        let name = match found {
            // A test or an example of the package sees its library under the usual name.
            FoundCrate::Itself => package.replace('-', "_"),
            FoundCrate::Name(name) => name,
        };
        let root = Ident::new(&name, Span::call_site());
        return Ok(match module {
            None => parse_quote!(::#root),
            Some(module) => {
                let module = Ident::new(module, Span::call_site());
                parse_quote!(::#root::#module)
            }
        });
    }
    Err(Error::new_spanned(
        ident,
        "this crate depends on none of `shared-journal`, `duroxide-actix` and `duroxide-tower`; \
         say where the journal is: `#[durable(…, crate = \"path::to::journal\")]`",
    ))
}

/// `DepositMany` as `deposit_many`, for a suggestion.
fn snake_case(ident: &Ident) -> String {
    let mut snake = String::new();
    for c in ident.to_string().trim_start_matches("r#").chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}
