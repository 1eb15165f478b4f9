//! `#[derive(DurableMessage)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Result};

use crate::attr::{NameKey, TypeAttr, refuse_durable};

const NAME: NameKey = NameKey { key: "name", max_bytes: 200 };

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    if !input.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &input.generics,
            "one name cannot stand for many types: a message has no parameters",
        ));
    }
    refuse_skips(&input.data)?;
    let TypeAttr { name, journal } = TypeAttr::of(input, &NAME)?;

    let ident = &input.ident;
    Ok(quote! {
        #[automatically_derived]
        impl #journal::DurableMessage for #ident {
            const NAME: &'static str = #name;
        }
    })
}

fn refuse_skips(data: &Data) -> Result<()> {
    const WHY: &str = "a message is stored as serde writes it: use `#[serde(…)]` here";
    let of_fields =
        |fields: &Fields| fields.iter().try_for_each(|field| refuse_durable(&field.attrs, WHY));
    match data {
        Data::Struct(data) => of_fields(&data.fields),
        Data::Enum(data) => data.variants.iter().try_for_each(|variant| {
            refuse_durable(&variant.attrs, WHY)?;
            of_fields(&variant.fields)
        }),
        Data::Union(data) => {
            Err(Error::new_spanned(data.union_token, "a union cannot be stored as a message"))
        }
    }
}
