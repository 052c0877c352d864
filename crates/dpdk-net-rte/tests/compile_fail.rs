//! What safe code must not be able to say. Each file of `ui/` breaks one rule, and must not compile for that reason.
//!
//! What the compiler says is kept beside each; `TRYBUILD=overwrite` writes it anew.

#[test]
fn compile_fail_programs_that_break_a_rule() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
