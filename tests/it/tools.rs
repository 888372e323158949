//! Programs and rights that tests need. A program that no variable names fails its test: what was not asked may not look
//! like what holds. Rights that a machine does not give are not within a command's reach: that is said, past the harness,
//! which shows only failures.

use std::ffi::OsString;
use std::io::Write;

/// The program that this variable names.
pub fn tool(variable: &str) -> OsString {
    std::env::var_os(variable).unwrap_or_else(|| panic!("{}", unnamed(variable)))
}

fn unnamed(variable: &str) -> String {
    let tool = variable.trim_start_matches("IT_").to_lowercase().replace('_', "-");
    format!("this test needs a program: set {variable}=$(tests/tools.sh {tool}), or run `make test`, which sets it")
}

/// Says what this machine gives no right to try.
pub fn not_tested(what: &str, why: &str) {
    let _ = std::io::stderr().write_all(format!("\nNOT TESTED: {what}: {}\n", why.trim()).as_bytes());
}

#[test]
fn a_program_that_is_not_named_fails_the_test_with_words_that_name_it() {
    let said = std::panic::catch_unwind(|| tool("IT_NO_SUCH_PROGRAM")).expect_err("nobody names it");
    let said = said.downcast::<String>().expect("words");
    assert!(said.contains("set IT_NO_SUCH_PROGRAM=$(tests/tools.sh no-such-program)"), "{said}");
    let tools = include_str!("../tools.sh");
    for variable in ["IT_PYTHON", "IT_RCLONE", "IT_SSHD", "IT_FAKE_GCS", "IT_MC", "IT_AWS", "IT_TOXIPROXY", "IT_AZURITE"] {
        let said = unnamed(variable);
        let (_, command) = said.split_once("$(").expect("a command");
        let (command, _) = command.split_once(')').expect("its end");
        assert!(tools.contains(&format!("#   {command} ")), "{command}");
    }
}
