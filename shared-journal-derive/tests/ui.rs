//! What a wrong derive is told. Only errors of the derives, whose text does not depend on the
//! compiler; `TRYBUILD=overwrite cargo test -p shared-journal-derive --test ui` writes them anew.

#[test]
fn a_wrong_derive_is_told_what_to_write() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
