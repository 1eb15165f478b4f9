//! `#[derive(DurableState)]`.

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::punctuated::Punctuated;
use syn::{
    Attribute, Data, DeriveInput, Error, Fields, Generics, Ident, LitStr, Result, Token, Type,
    WherePredicate, parse_quote,
};

use crate::attr::{NameKey, TypeAttr, is_skipped, serde_of_field, serde_of_type};

const ACTOR_TYPE: NameKey = NameKey { key: "actor_type", max_bytes: 255 };

/// A field of the actor that is part of its stored state.
struct Stored<'a> {
    ident: &'a Ident,
    ty: &'a Type,
    serde: Vec<&'a Attribute>,
}

/// Writes three types and the impl:
///
/// - `__Fields` carries serde's remote derive, which reads the fields of the actor in
///   place. A struct of references would hand a `&&T` to the functions of `serialize_with`.
/// - `__Snapshot` is the borrowed state.
/// - `__State` is the owned one. It is as visible as the actor, since the impl shows it.
pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let stored = stored_fields(input)?;
    let carried = serde_of_type(input)?;
    let TypeAttr { name, journal } = TypeAttr::of(input, &ACTOR_TYPE)?;
    let serde = quote!(#journal::__private::serde);
    let bounds = bounds(&input.generics, &stored, &serde)?;

    let actor = &input.ident;
    let vis = &input.vis;

    let (declared, types, declared_where) = input.generics.split_for_impl();
    let turbofish = types.as_turbofish();
    let mut bounded = input.generics.clone();
    bounded.make_where_clause().predicates.extend(bounds.iter().cloned());
    let bounded_where = &bounded.where_clause;

    let remote = literal(actor);
    let serde_path = literal(&serde);
    let bounds = literal(&bounds);
    let expecting = format!("the state of `{}`", actor.unraw());
    let container = quote! {
        #[serde(crate = #serde_path, bound = #bounds, expecting = #expecting)]
        #(#carried)*
    };
    let marker = marker(&input.generics);
    let definitions =
        stored.iter().map(|Stored { ident, ty, serde }| quote!(#(#serde)* #ident: #ty,));
    let body = quote!({ #(#definitions)* #marker });
    let names = stored.iter().map(|field| field.ident);

    Ok(quote! {
        const _: () = {
            #[derive(#serde::Serialize)]
            #[serde(remote = #remote)]
            #container
            struct __Fields #declared #declared_where #body

            struct __Snapshot<'a, A>(&'a A);

            impl #declared #serde::Serialize for __Snapshot<'_, #actor #types> #bounded_where {
                fn serialize<__S: #serde::Serializer>(
                    &self,
                    serializer: __S,
                ) -> ::core::result::Result<__S::Ok, __S::Error> {
                    __Fields #turbofish::serialize(self.0, serializer)
                }
            }

            #[doc(hidden)]
            #[derive(#serde::Serialize, #serde::Deserialize)]
            #container
            #vis struct __State #declared #declared_where #body

            #[automatically_derived]
            impl #declared #journal::DurableState for #actor #types #bounded_where {
                const ACTOR_TYPE: &'static str = #name;
                type State = __State #types;

                fn snapshot(&self) -> impl #serde::Serialize {
                    __Snapshot(self)
                }

                fn restore(&mut self, __state: Self::State) {
                    #(self.#names = __state.#names;)*
                }
            }
        };
    })
}

fn stored_fields(input: &DeriveInput) -> Result<Vec<Stored<'_>>> {
    let kind = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(_) | Fields::Unit => {
                let mut stored = Vec::new();
                for field in &data.fields {
                    if let Some(ident) = &field.ident
                        && !is_skipped(field)?
                    {
                        stored.push(Stored { ident, ty: &field.ty, serde: serde_of_field(field)? });
                    }
                }
                return Ok(stored);
            }
            Fields::Unnamed(_) => "a tuple struct, whose fields have no names to be stored under",
        },
        Data::Enum(_) => "an enum",
        Data::Union(_) => "a union",
    };
    Err(Error::new_spanned(
        &input.ident,
        format!(
            "`DurableState` cannot be derived for {kind}: make it a struct with named fields, \
             or implement the trait by hand"
        ),
    ))
}

/// What the type parameters must be: those that occur in stored fields.
fn bounds(
    generics: &Generics,
    stored: &[Stored<'_>],
    serde: &TokenStream,
) -> Result<Punctuated<WherePredicate, Token![,]>> {
    if let Some(lifetime) = generics.lifetimes().next() {
        return Err(Error::new_spanned(
            lifetime,
            "a durable actor cannot borrow: it lives longer than the scope that starts it",
        ));
    }
    Ok(generics
        .type_params()
        .map(|param| &param.ident)
        .filter(|param| stored.iter().any(|field| mentions(field.ty.to_token_stream(), param)))
        .map(|param| -> WherePredicate {
            parse_quote!(#param: #serde::Serialize + #serde::de::DeserializeOwned)
        })
        .collect())
}

fn mentions(tokens: TokenStream, param: &Ident) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == *param,
        TokenTree::Group(group) => mentions(group.stream(), param),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

/// A field that uses every type parameter, since skipped fields are not there to do it. As the
/// result of a function type it makes the state neither borrow nor own anything.
fn marker(generics: &Generics) -> Option<TokenStream> {
    let params: Vec<_> = generics.type_params().map(|param| &param.ident).collect();
    (!params.is_empty()).then(|| {
        quote! {
            #[serde(skip)]
            __marker: ::core::marker::PhantomData<
                fn() -> (#(::core::marker::PhantomData<#params>,)*)
            >,
        }
    })
}

fn literal(tokens: &impl ToTokens) -> LitStr {
    LitStr::new(&tokens.to_token_stream().to_string(), proc_macro2::Span::call_site())
}
