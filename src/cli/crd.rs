//! `crd`

use super::Verdict;
use super::out::stdout;
use crate::operator::crd::crd_yaml;

/// Prints the CustomResourceDefinition.
pub fn print() -> Verdict {
    let mut out = stdout();
    out.put(crd_yaml())?;
    out.finish()?;
    Ok(0)
}
