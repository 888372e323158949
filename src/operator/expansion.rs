//! What the kubelet makes of arguments, variables and subPathExpr: `$(NAME)` becomes the variable, where there is one, and `$$` one
//! dollar. Pure.

use crate::contract::env::POD_NAME;
use std::collections::BTreeSet;

/// What the kubelet puts the Pod's name in place of.
pub const NAME_REFERENCE: &str = "$(POD_NAME)";

/// The text with the variables that are known here; others stay as they are written.
pub fn expand<'a>(text: &'a str, mut variable: impl FnMut(&'a str) -> Option<String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let name = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        rest = if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            after
        } else if let Some((name, after)) = name {
            expanded.push_str(&variable(name).unwrap_or_else(|| format!("$({name})")));
            after
        } else {
            expanded.push('$');
            after
        };
    }
    expanded + rest
}

/// The text as it comes out in the Pod of that name.
pub fn in_pod(text: &str, name: &str) -> String {
    expand(text, |variable| (variable == POD_NAME).then(|| name.to_owned()))
}

/// Whether the Pod's name is part of the text.
pub fn has_pod_name(text: &str) -> bool {
    variables(text).contains(POD_NAME)
}

/// The variables that a text names.
pub fn variables(text: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    expand(text, |name| {
        names.insert(name);
        None
    });
    names
}

#[cfg(test)]
mod tests {
    use super::{expand, variables};

    #[test]
    fn a_text_becomes_what_the_kubelet_makes_of_it() {
        // The cases of Kubernetes' own test of its expansion.
        for (text, expanded, named) in [
            ("$(VAR_A)", "A", vec!["VAR_A"]),
            ("___$(VAR_B)___", "___B___", vec!["VAR_B"]),
            ("A $(VAR_A)A", "A AA", vec!["VAR_A"]),
            ("$(VAR_A)_$(NONE)", "A_$(NONE)", vec!["NONE", "VAR_A"]),
            ("$$(VAR_B)_$(VAR_A)", "$(VAR_B)_A", vec!["VAR_A"]),
            ("$$$(VAR_A)", "$A", vec!["VAR_A"]),
            ("$$$$$$$(VAR_A)", "$$$A", vec!["VAR_A"]),
            ("$VAR_A)", "$VAR_A)", vec![]),
            ("${VAR_A}", "${VAR_A}", vec![]),
            ("$(VAR_B_$(VAR_A", "$(VAR_B_$(VAR_A", vec![]),
            ("foo$", "foo$", vec![]),
            ("ü$ü$(VAR_A)", "ü$üA", vec!["VAR_A"]),
            ("", "", vec![]),
        ] {
            let variable = |name: &str| name.strip_prefix("VAR_").map(str::to_owned);
            assert_eq!(expand(text, variable), expanded, "{text}");
            assert_eq!(variables(text).into_iter().collect::<Vec<_>>(), named, "{text}");
        }
    }
}
