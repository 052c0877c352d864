//! `#[main]`: the function becomes the program, and a `main` is written around it.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, Expr, FnArg, Ident, ItemFn, LitStr, Path, Token};

/// What the attribute is given.
struct Arguments {
    source: Source,
    /// The variant of `RuntimeKind`, where one is named.
    runtime: Option<Ident>,
    /// Where the crate `dpdk-net` is, if not at `::dpdk_net`.
    krate: Path,
}

enum Source {
    /// The file that the command line or the environment names.
    Told,
    File(LitStr),
    Builder(Box<Expr>),
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut arguments = Self {
            source: Source::Told,
            runtime: None,
            krate: syn::parse_quote!(::dpdk_net),
        };
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            input.parse::<Token![=]>()?;
            let source = match key.to_string().as_str() {
                "file" => Source::File(input.parse()?),
                "builder" => Source::Builder(input.parse()?),
                "runtime" => {
                    arguments.runtime = Some(runtime(&input.parse()?)?);
                    Source::Told
                }
                "krate" => {
                    arguments.krate = input.call(Path::parse_mod_style)?;
                    Source::Told
                }
                _ => {
                    let known = "the attribute takes `file = \"...\"`, `builder = ...`, `runtime = \"...\"` and `krate = path`";
                    return Err(Error::new(key.span(), known));
                }
            };
            match (&arguments.source, source) {
                (_, Source::Told) => {}
                (Source::Told, source) => arguments.source = source,
                _ => {
                    let twice = "an application is that of one file or of one builder";
                    return Err(Error::new(key.span(), twice));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(arguments)
    }
}

/// The whole item, or the error with it, so that an editor sees the function all the same.
pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let expanded = syn::parse2::<Arguments>(arguments).and_then(|arguments| {
        let function: ItemFn = syn::parse2(item.clone())?;
        write(&arguments, function)
    });
    expanded.unwrap_or_else(|error| {
        let error = error.into_compile_error();
        quote! { #error #item }
    })
}

fn write(arguments: &Arguments, mut function: ItemFn) -> syn::Result<TokenStream> {
    check(&function)?;
    let krate = &arguments.krate;
    let (attributes, visibility) = (std::mem::take(&mut function.attrs), function.vis.clone());
    let name = function.sig.ident.clone();
    function.vis = syn::Visibility::Inherited;
    function.sig.ident = Ident::new("program", name.span());
    let called = if function.sig.inputs.is_empty() {
        quote! { |_| program() }
    } else {
        quote! { program }
    };
    let runtime = match &arguments.runtime {
        Some(kind) => {
            quote! { ::core::option::Option::Some(#krate::runtime::RuntimeKind::#kind) }
        }
        None => quote! { ::core::option::Option::None },
    };
    let run = match &arguments.source {
        Source::Told => {
            quote! { #krate::__private::file(::core::option::Option::None, #runtime, #called) }
        }
        Source::File(path) => {
            quote! { #krate::__private::file(::core::option::Option::Some(#path), #runtime, #called) }
        }
        Source::Builder(builder) => {
            // Types are checked where the expression stands.
            let builder = quote_spanned! { builder.span() => #builder };
            quote! { #krate::__private::builder(#builder, #runtime, #called) }
        }
    };
    Ok(quote! {
        #(#attributes)*
        #visibility fn #name() -> ::std::process::ExitCode {
            #function
            #run
        }
    })
}

/// The variant of a runtime's name. One without its feature is the compiler's to refuse.
fn runtime(name: &LitStr) -> syn::Result<Ident> {
    let variant = match name.value().as_str() {
        "tokio" => "Tokio",
        "local" => "Local",
        "smol" => "Smol",
        "compio" => "Compio",
        _ => {
            let known = "the runtimes are \"tokio\", \"local\", \"smol\" and \"compio\"";
            return Err(Error::new(name.span(), known));
        }
    };
    Ok(Ident::new(variant, name.span()))
}

/// What the function has to be.
fn check(function: &ItemFn) -> syn::Result<()> {
    let signature = &function.sig;
    if signature.asyncness.is_none() {
        let message = "the program has to be async: write `async fn`";
        return Err(Error::new(signature.fn_token.span(), message));
    }
    if !signature.generics.params.is_empty() {
        let message = "nobody says what a program is generic over";
        return Err(Error::new(signature.generics.span(), message));
    }
    let receiver = signature
        .inputs
        .iter()
        .find(|input| matches!(input, FnArg::Receiver(_)));
    if signature.inputs.len() > 1 || receiver.is_some() {
        let message = "a program takes a `dpdk_net::Context`, or nothing";
        return Err(Error::new_spanned(
            signature.inputs.to_token_stream(),
            message,
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of the error that a use of the attribute is, and the function behind it.
    fn refused(arguments: TokenStream, item: TokenStream) -> String {
        let text = expand(arguments, item.clone()).to_string();
        assert!(text.contains("compile_error"), "{text}");
        assert!(text.ends_with(&item.to_string()), "{text}");
        text
    }

    #[test]
    fn misuse_is_told() {
        let program = quote! { async fn main() {} };
        for (arguments, item, why) in [
            (quote! {}, quote! { fn main() {} }, "has to be async"),
            (quote! {}, quote! { async fn main<T>() {} }, "generic over"),
            (
                quote! {},
                quote! { async fn main(a: A, b: B) {} },
                "takes a `dpdk_net::Context`, or nothing",
            ),
            (
                quote! {},
                quote! { async fn main(self) {} },
                "takes a `dpdk_net::Context`, or nothing",
            ),
            (
                quote! { fiel = "a" },
                program.clone(),
                "the attribute takes",
            ),
            (
                quote! { runtime = "glommio" },
                program.clone(),
                "the runtimes are",
            ),
            (
                quote! { file = 5 },
                program.clone(),
                "expected string literal",
            ),
            (
                quote! { file = "a", builder = b() },
                program.clone(),
                "one file or of one builder",
            ),
            (
                quote! { file = "a", file = "b" },
                program.clone(),
                "one file or of one builder",
            ),
        ] {
            let told = refused(arguments, item);
            assert!(told.contains(why), "{why}: {told}");
        }
    }

    #[test]
    fn the_function_keeps_its_attributes_visibility_and_name() {
        let item = quote! { #[doc = "It serves."] pub async fn serve(ctx: Context) -> Result<()> { Ok(()) } };
        let made: ItemFn = syn::parse2(expand(
            quote! { file = "a.toml", runtime = "local", krate = other::place },
            item,
        ))
        .unwrap();
        assert_eq!(made.sig.ident, "serve");
        assert!(matches!(made.vis, syn::Visibility::Public(_)));
        assert_eq!(made.attrs.len(), 1);
        assert!(made.sig.asyncness.is_none() && made.sig.inputs.is_empty());
        let body = made.block.to_token_stream().to_string();
        assert!(
            body.contains("async fn program (ctx : Context) -> Result < () >"),
            "{body}"
        );
        assert!(
            body.contains("other :: place :: __private :: file"),
            "{body}"
        );
        assert!(body.contains("RuntimeKind :: Local"), "{body}");
    }
}
